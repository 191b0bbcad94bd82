/** The operator's key: kept for the session of this tab alone, and what the server lets it do. */

import { ProblemError } from "@askew/client";

import { Api } from "./api/index.js";

/**
 * `open`: the server has no keys. `full`: an admin key without limits. `limited`: an admin key for some galleries.
 * `refused`: no key, an unknown one, or one without the scope admin.
 */
export type Access =
  | { readonly kind: "open" }
  | { readonly kind: "full" }
  | { readonly kind: "limited"; readonly galleries: readonly string[] }
  | { readonly kind: "refused"; readonly problem: ProblemError; readonly scopes?: readonly string[] };

export class KeyStorage {
  private readonly name: string;
  private kept: string | undefined;

  /** `path`: of this page's address, because several servers may share one origin. */
  constructor(path: string) {
    this.name = `askew-admin:${path}:key`;
  }

  read(): string | undefined {
    try {
      return sessionStorage.getItem(this.name) ?? this.kept;
    } catch {
      return this.kept;
    }
  }

  keep(key: string): void {
    this.kept = key;
    try {
      sessionStorage.setItem(this.name, key);
    } catch {
      // The browser refuses storage: kept until the page is reloaded.
    }
  }

  forget(): void {
    this.kept = undefined;
    try {
      sessionStorage.removeItem(this.name);
    } catch {
      // Refused: then nothing was kept.
    }
  }
}

/** The public part of a key, by which the server's lists and logs name it. */
export const idOfKey = (key: string): string => /^ask_([^_]+)_/.exec(key)?.[1] ?? "?";

/** Ask the server what a key may do. Throws ProblemError if it cannot say, because it is loading, for instance. */
export async function findAccess(api: Api, key: string | undefined): Promise<Access> {
  try {
    // The list needs an admin key without limits, and is short.
    await api.aliases.list();
    return { kind: key === undefined ? "open" : "full" };
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error;
    if (error.kind === "unauthorised") return { kind: "refused", problem: error };
    if (error.kind !== "forbidden") throw error;
    const { galleries, scopes } = error.members;
    if (isTexts(galleries)) return { kind: "limited", galleries };
    return { kind: "refused", problem: error, ...(isTexts(scopes) && { scopes }) };
  }
}

const isTexts = (value: unknown): value is readonly string[] =>
  Array.isArray(value) && value.every((each) => typeof each === "string");

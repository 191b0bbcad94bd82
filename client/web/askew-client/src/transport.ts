/** Requests to a server: addresses below its own, its key as a header, problems as errors. */

import { ProblemError, readProblem } from "./problems.js";

/** Query parameters; those that are undefined are left out. */
export type Parameters = Readonly<Record<string, string | number | boolean | undefined>>;

/** Called after each request with whether the server answered it, be it with a refusal. */
export type Contact = (isReached: boolean) => void;

/** What gateways answer when the server behind them does not. */
const GATEWAY_STATUSES = [502, 503, 504];

/** Whether an error means that no server answered, be it for want of a network. */
export const isUnreachable = (error: unknown): boolean =>
  error instanceof ProblemError &&
  (error.kind === "unreachable" || (error.kind === "http" && GATEWAY_STATUSES.includes(error.status)));

/** One server. Further calls of its API (docs/api.md) than those of `AskewClient` can be built on this. */
export class Transport {
  private readonly base: URL;

  /** `base`: what paths are resolved against, such as `document.baseURI`. `key`: sent as a header, never in an address. */
  constructor(
    base: string | URL,
    private readonly key?: string,
    private readonly onContact: Contact = () => {},
  ) {
    this.base = new URL(base);
    this.base.search = this.base.hash = "";
  }

  /** The address of a call. `path`: relative, with its parts percent-encoded. It never contains the key. */
  address(path: string, parameters: Parameters = {}): URL {
    const url = new URL(path, this.base);
    for (const [name, value] of Object.entries(parameters)) {
      if (value !== undefined) url.searchParams.set(name, String(value));
    }
    return url;
  }

  /** Headers with the key added, for requests that are not sent by `send`. */
  headers(headers?: HeadersInit): Headers {
    const complete = new Headers(headers);
    if (this.key) complete.set("Authorization", `Bearer ${this.key}`);
    return complete;
  }

  /** Send a request. Throws ProblemError for an answer that is not a success, or if no answer comes. */
  async send(path: string, parameters: Parameters = {}, init: RequestInit = {}): Promise<Response> {
    const complete: RequestInit = {
      ...init,
      headers: this.headers(init.headers),
      credentials: "omit",
      referrerPolicy: "no-referrer",
    };
    let response: Response;
    try {
      response = await fetch(this.address(path, parameters), complete);
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") throw error;
      this.onContact(false);
      throw unreachable();
    }
    if (response.ok) {
      this.onContact(true);
      return response;
    }
    const problem = await readProblem(response);
    this.onContact(!isUnreachable(problem));
    throw problem;
  }
}

/** The problem of a request that got no answer. */
export function unreachable(): ProblemError {
  return new ProblemError("unreachable", 0, "No connection", "The server did not answer. Is it running, and this device online?");
}

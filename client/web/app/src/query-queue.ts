/** Sends the searches that waited for a network, one after the other, and keeps what was found. */

import { type AskewClient, ProblemError, type Query, isUnreachable, packFloat16, unpackFloat16 } from "@askew/client";

import { MAX_HITS } from "./photo-search.js";
import type { EarlierQuery, QueryStore } from "./query-store.js";
import { EARLIER } from "./strings.js";

const MOST_QUERIES = 50;
/** Seconds to wait after a server that is busy; doubled each time. */
const FIRST_WAIT = 5;
const LONGEST_WAIT = 300;

/** So many searches wait already that no further one is taken. */
export class QueueFullError extends Error {
  override readonly name = "QueueFullError";
}

export interface Waiting extends Query {
  readonly encoder: string;
  readonly maxFalseMatch: number | undefined;
  readonly label: string;
}

export class QueryQueue {
  private isSending = false;
  private wait = FIRST_WAIT;
  private timer: ReturnType<typeof setTimeout> | undefined;

  /** `client`: the one to send with now. `onChange`: called with each query that was answered or refused. */
  constructor(
    readonly store: QueryStore,
    private readonly client: () => AskewClient,
    private readonly onChange: (query: EarlierQuery) => void,
  ) {}

  /**
   * Keep a query until it can be sent; its id. The oldest that was answered makes room. Throws QueueFullError, DOMException.
   */
  async add(gallery: string, { encoder, label, maxFalseMatch, space, vector }: Waiting): Promise<number> {
    const all = await this.store.all();
    if (all.length >= MOST_QUERIES) {
      const oldest = all.filter(({ state }) => state !== "waiting").at(-1);
      if (!oldest) throw new QueueFullError();
      await this.store.delete(oldest.id);
    }
    return this.store.put({
      ...{ gallery, space, encoder, maxFalseMatch, label },
      vector: packFloat16(vector),
      time: Date.now(),
      state: "waiting",
      hits: [],
      reason: undefined,
    });
  }

  /** Send what waits, as far as the server answers. */
  async send(): Promise<void> {
    if (this.isSending) return;
    this.isSending = true;
    clearTimeout(this.timer);
    try {
      // Another tab may be sending them.
      const { locks } = navigator as { readonly locks?: LockManager };
      if (!locks) await this.sendAll();
      else await locks.request("askew-queue", { ifAvailable: true }, (lock) => (lock ? this.sendAll() : undefined));
    } catch {
      // The browser refuses its storage: nothing waits there.
    } finally {
      this.isSending = false;
    }
  }

  private async sendAll(): Promise<void> {
    const waiting = (await this.store.all()).filter(({ state }) => state === "waiting").reverse();
    for (const query of waiting) {
      // It may have been deleted meanwhile.
      if ((await this.store.get(query.id)) && !(await this.sendOne(query))) return;
    }
    this.wait = FIRST_WAIT;
  }

  /** False if the server cannot take any now. */
  private async sendOne(query: EarlierQuery): Promise<boolean> {
    const { encoder, gallery, maxFalseMatch, space } = query;
    const vector = unpackFloat16(query.vector ?? new Uint8Array());
    const options = { limit: MAX_HITS, ...(maxFalseMatch !== undefined && { maxFalseMatch }) };
    try {
      const { hits } = await this.client().search(gallery, { vector, space, encoder }, options);
      await this.finish({ ...query, vector: undefined, state: "answered", hits });
      return true;
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error;
      if (isFinal(error)) {
        await this.finish({ ...query, vector: undefined, state: "refused", reason: explain(error) });
        return true;
      }
      if (!isUnreachable(error) && error.status !== 401 && error.status !== 403) this.sendLater(error.retryAfter);
      return false;
    }
  }

  private async finish(query: EarlierQuery): Promise<void> {
    // Deleted while it was under way: it stays deleted.
    if (!(await this.store.get(query.id))) return;
    await this.store.put(query);
    this.onChange(query);
  }

  private sendLater(seconds: number | undefined): void {
    this.timer = setTimeout(() => void this.send(), 1000 * Math.max(seconds ?? 0, this.wait));
    this.wait = Math.min(2 * this.wait, LONGEST_WAIT);
  }
}

/** Whether the server will never take the query. A missing key, or a server that is busy, is no such reason. */
function isFinal(problem: ProblemError): boolean {
  const { status } = problem;
  return !isUnreachable(problem) && status >= 400 && status < 500 && ![401, 403, 408, 425, 429].includes(status);
}

function explain({ kind, message }: ProblemError): string {
  return kind === "space-mismatch" || kind === "encoder-not-admitted" ? EARLIER.replaced : EARLIER.refused(message);
}

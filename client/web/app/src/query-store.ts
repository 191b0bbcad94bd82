/** Searches that wait for a network, and what became of them: kept in IndexedDB. Photos are never kept. */

import type { Hit } from "@askew/client";

/**
 * `vector`: float16, little-endian, as it will be sent; dropped once it was answered. `label`: by which the person knows
 * the photo again. `time`: in milliseconds since 1970. `maxFalseMatch`: the threshold that was asked for. `reason`: why the
 * server refused it.
 */
export interface EarlierQuery {
  readonly id: number;
  readonly gallery: string;
  readonly space: string;
  readonly encoder: string;
  readonly vector: Uint8Array<ArrayBuffer> | undefined;
  readonly maxFalseMatch: number | undefined;
  readonly label: string;
  readonly time: number;
  readonly state: "waiting" | "answered" | "refused";
  readonly hits: readonly Hit[];
  readonly reason: string | undefined;
}

const QUERIES = "queries";

export class QueryStore {
  private database: Promise<IDBDatabase> | undefined;

  /** `path`: of the app's address, because several servers may share one origin. */
  constructor(private readonly path: string) {}

  /** All of them, the latest first. Throws DOMException where the browser refuses its storage. */
  async all(): Promise<EarlierQuery[]> {
    const found = await this.run<EarlierQuery[]>("readonly", (queries) => queries.getAll());
    return found.sort((one, other) => other.time - one.time);
  }

  /** Add one, or replace the one with its id; its id. */
  async put(query: Omit<EarlierQuery, "id"> & { readonly id?: number }): Promise<number> {
    return (await this.run<IDBValidKey>("readwrite", (queries) => queries.put(query))) as number;
  }

  async get(id: number): Promise<EarlierQuery | undefined> {
    return this.run<EarlierQuery | undefined>("readonly", (queries) => queries.get(id));
  }

  async delete(id: number): Promise<void> {
    await this.run("readwrite", (queries) => queries.delete(id));
  }

  async deleteAll(): Promise<void> {
    await this.run("readwrite", (queries) => queries.clear());
  }

  private async run<Result>(
    mode: IDBTransactionMode,
    request: (queries: IDBObjectStore) => IDBRequest<Result>,
  ): Promise<Result> {
    const transaction = (await this.open()).transaction(QUERIES, mode);
    const asked = request(transaction.objectStore(QUERIES));
    return new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve(asked.result);
      transaction.onerror = transaction.onabort = () => reject(transaction.error ?? asked.error);
    });
  }

  private open(): Promise<IDBDatabase> {
    this.database ??= new Promise((resolve, reject) => {
      const opening = indexedDB.open(`askew:${this.path}`, 1);
      opening.onupgradeneeded = () => opening.result.createObjectStore(QUERIES, { keyPath: "id", autoIncrement: true });
      opening.onsuccess = () => resolve(opening.result);
      opening.onerror = () => reject(opening.error);
    });
    this.database.catch(() => (this.database = undefined));
    return this.database;
  }
}

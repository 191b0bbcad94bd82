/** Requests with JSON answers, and uploads with progress, on top of the library's transport. */

import { type Parameters, readProblem, type Transport, unreachable } from "@askew/client";

export type Progress = (sent: number, total: number) => void;

export class Server {
  constructor(readonly transport: Transport) {}

  /** Every method throws ProblemError for an answer that is not a success, or if no answer comes. */
  async get<Answer>(path: string, parameters: Parameters = {}, signal?: AbortSignal): Promise<Answer> {
    return this.call<Answer>("GET", path, { parameters, ...(signal && { signal }) });
  }

  async call<Answer>(
    method: string,
    path: string,
    options: { json?: unknown; body?: BodyInit; parameters?: Parameters; type?: string; signal?: AbortSignal } = {},
  ): Promise<Answer> {
    const { json, body, parameters, type, signal } = options;
    const headers = new Headers();
    if (json !== undefined) headers.set("Content-Type", "application/json");
    else if (type) headers.set("Content-Type", type);
    const init: RequestInit = { method, headers };
    if (json !== undefined) init.body = JSON.stringify(json);
    else if (body !== undefined) init.body = body;
    if (signal) init.signal = signal;
    return (await (await this.transport.send(path, parameters, init)).json()) as Answer;
  }

  /** Send a large body. `progress`: called while it is sent, which `fetch` cannot report. */
  upload<Answer>(
    method: string,
    path: string,
    body: FormData | Blob,
    progress: Progress,
    options: { type?: string; signal?: AbortSignal } = {},
  ): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open(method, this.transport.address(path));
      request.responseType = "text";
      this.transport
        .headers(options.type ? { "Content-Type": options.type } : {})
        .forEach((value, name) => request.setRequestHeader(name, value));
      request.upload.addEventListener("progress", ({ loaded, total }) => progress(loaded, total));
      request.addEventListener("error", () => reject(unreachable()));
      request.addEventListener("abort", () => reject(new DOMException("The upload was stopped.", "AbortError")));
      request.addEventListener("load", () => {
        if (request.status >= 200 && request.status < 300) {
          resolve(JSON.parse(request.responseText) as Answer);
        } else {
          const retryAfter = request.getResponseHeader("Retry-After");
          const headers = retryAfter === null ? {} : { "Retry-After": retryAfter };
          readProblem(new Response(request.responseText, { status: request.status, headers })).then(reject, reject);
        }
      });
      options.signal?.addEventListener("abort", () => request.abort());
      request.send(body);
    });
  }
}

export const segment = encodeURIComponent;

export const galleryPath = (gallery: string): string => `v1/galleries/${segment(gallery)}`;

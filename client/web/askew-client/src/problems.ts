/** What the server refuses: RFC 9457 problems (docs/api.md, "Problems"). */

/**
 * A refused request. `kind`: the problem's slug, such as `space-mismatch`; `unreachable` if no answer came. `status`: of
 * HTTP; 0 if no answer came. `message`: what was expected, what came, what to do. `members`: the members of its kind.
 */
export class ProblemError extends Error {
  override readonly name = "ProblemError";

  constructor(
    readonly kind: string,
    readonly status: number,
    readonly title: string,
    detail: string,
    readonly members: Readonly<Record<string, unknown>> = {},
    readonly retryAfter?: number,
  ) {
    super(detail);
  }
}

/** The problem in an answer that is not a success. */
export async function readProblem(response: Response): Promise<ProblemError> {
  let body: Record<string, unknown> = {};
  try {
    const parsed: unknown = await response.json();
    if (typeof parsed === "object" && parsed !== null) body = parsed as Record<string, unknown>;
  } catch {
    // A proxy in front of the server may answer with a page of its own.
  }
  const text = (value: unknown, instead: string) => (typeof value === "string" && value ? value : instead);
  const kind = /\/problems\/([a-z-]+)$/.exec(text(body["type"], ""))?.[1] ?? "http";
  const title = text(body["title"], `The server answered ${response.status}`);
  const detail = text(body["detail"], "It gave no reason. Try again later.");
  const seconds = Number(response.headers.get("Retry-After") ?? Number.NaN);
  return new ProblemError(kind, response.status, title, detail, body, Number.isFinite(seconds) ? seconds : undefined);
}

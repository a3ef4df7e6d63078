// What the service says when it refuses: a sentence, a code, the request's id, and when to come back.
import { say } from "../strings";

export class Problem extends Error {
  constructor(
    readonly sentence: string,
    readonly status: number,
    readonly code: string,
    readonly requestId: string | null,
    readonly retryAfter: number | null,
  ) {
    super(sentence);
  }

  /** What the reader may do next, where the status says it. */
  get next(): string | null {
    if (this.status === 0) return say.problem.offline;
    if (this.status === 401) return say.problem.key;
    if (this.status === 403) return say.problem.scope;
    if (this.status === 409) return say.problem.conflict;
    if (this.status === 503) return say.problem.busy;
    if (this.status >= 500) return say.problem.fault;
    return null;
  }
}

/** The problem document of a reply that is not 2xx. */
export function readProblem(status: number, body: string, header: (name: string) => string | null): Problem {
  let detail = "";
  let code = "";
  try {
    const document = JSON.parse(body) as { detail?: unknown; error?: { code?: unknown } };
    if (typeof document.detail === "string") detail = document.detail;
    if (typeof document.error?.code === "string") code = document.error.code;
  } catch {
    // a proxy's own page: the status has to do
  }
  const after = Number(header("Retry-After"));
  return new Problem(
    detail || say.problem.status(status),
    status,
    code || `http_${status}`,
    header("X-Request-ID"),
    Number.isFinite(after) && after > 0 ? after : null,
  );
}

export const noAnswer = () => new Problem(say.problem.noAnswer, 0, "no_answer", null, null);

export const isAbort = (error: unknown) => error instanceof DOMException && error.name === "AbortError";

// One job as it goes: its state, progress, curves and log, through reloads and lost networks.
import { signal, type Signal } from "@preact/signals";
import { call } from "../api/client";
import { followEvents, type ServerEvent } from "../api/events";
import { isAbort } from "../api/problems";
import type { JobPage } from "../api/schema";

export interface Curve {
  steps: number[];
  values: number[];
}

export interface Followed {
  job: Signal<JobPage | null>;
  curves: Signal<Record<string, Curve>>;
  log: Signal<string[]>;
  /** Whether the connection is lost at the moment. */
  lost: Signal<boolean>;
  error: Signal<unknown>;
  stop: () => void;
}

const MAX_LINES = 200;
const FINISHED = ["succeeded", "failed", "cancelled"];
export const isFinished = (job: { state: string }) => FINISHED.includes(job.state);

/** Follows the job `id` until `stop`; a job that is retried meanwhile is followed on. */
export function follow(id: string): Followed {
  const stopper = new AbortController();
  const followed: Followed = { job: signal(null), curves: signal({}), log: signal([]), lost: signal(false), error: signal(null), stop: () => stopper.abort() };
  void run(id, followed, stopper.signal).catch((error: unknown) => {
    if (!isAbort(error)) followed.error.value = error;
  });
  return followed;
}

async function run(id: string, followed: Followed, signal: AbortSignal): Promise<void> {
  const path = { job: id };
  followed.job.value = await call("GET /v1/jobs/{job}", { path, signal });
  const metrics = await call("GET /v1/jobs/{job}/metrics", { path, signal });
  followed.curves.value = Object.fromEntries(metrics.data.map((series) => [series.name, { steps: series.steps, values: series.values }]));
  const isOver = async () => {
    followed.job.value = await call("GET /v1/jobs/{job}", { path, signal });
    return isFinished(followed.job.value);
  };
  await followEvents(`/v1/jobs/${encodeURIComponent(id)}/events`, (event) => take(event, followed), isOver, signal, (lost) => (followed.lost.value = lost));
}

function take(event: ServerEvent, followed: Followed): void {
  const data = JSON.parse(event.data) as Record<string, unknown>;
  const job = followed.job.value;
  if (event.name === "log") followed.log.value = [...followed.log.value, String(data["line"] ?? "")].slice(-MAX_LINES);
  if (event.name === "metric") grow(followed, Number(data["step"]), data["values"] as Record<string, number>);
  if (event.name === "progress" && job && !isFinished(job)) {
    const progress = { step: Number(data["step"] ?? 0), of: Number(data["of"] ?? 0), eta_s: (data["eta_s"] as number | null | undefined) ?? null };
    followed.job.value = { ...job, progress, phase: (data["phase"] as string | undefined) ?? job.phase };
  }
  // an end among the events may be that of an attempt before: the job itself is read where the stream ends
  if (event.name === "state" && job && !isFinished(job) && !FINISHED.includes(String(data["state"]))) {
    followed.job.value = { ...job, state: data["state"] as JobPage["state"] };
  }
}

/** Steps that come again after a checkpoint replace those told before. */
function grow(followed: Followed, step: number, values: Record<string, number>): void {
  const curves = { ...followed.curves.value };
  for (const [name, value] of Object.entries(values)) {
    if (typeof value !== "number") continue;
    const before = curves[name] ?? { steps: [], values: [] };
    let kept = before.steps.length;
    while (kept > 0 && (before.steps[kept - 1] ?? 0) >= step) kept--;
    if (kept < before.steps.length && before.steps.at(-1) !== step && before.steps.includes(step)) continue; // told again by the stream
    curves[name] = { steps: [...before.steps.slice(0, kept), step], values: [...before.values.slice(0, kept), value] };
  }
  followed.curves.value = curves;
}

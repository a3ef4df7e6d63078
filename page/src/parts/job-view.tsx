// One job: where it is, its curves while they grow, and in the end what came of it.
import { useEffect, useMemo, useState } from "preact/hooks";
import { addressOf, call, headers } from "../api/client";
import { readProblem } from "../api/problems";
import type { ArtifactInfo, JobPage } from "../api/schema";
import { hrefOf } from "../router";
import { follow, isFinished, type Curve, type Followed } from "../state/following";
import { may } from "../state/session";
import { say } from "../strings";
import { Chart, type Series } from "./chart";
import { Icon } from "./icon";
import { Matrix } from "./matrix";
import { useOneAtATime } from "./one-at-a-time";
import { ProblemNote } from "./problem";
import { Progress } from "./progress";
import { ShowCall } from "./show-call";

export function JobView({ id }: { id: string }) {
  const [round, setRound] = useState(0);
  const [followed, setFollowed] = useState<Followed | null>(null);
  useEffect(() => {
    const started = follow(id);
    setFollowed(started);
    return started.stop;
  }, [id, round]);
  const job = followed?.job.value ?? null;
  useEffect(() => {
    const before = document.title;
    if (job && !isFinished(job) && job.progress.of > 0) document.title = say.jobs.tab(job.progress.step / job.progress.of, say.jobs.called(job));
    return () => {
      document.title = before;
    };
  }, [job?.progress.step, job?.state]);
  return (
    <>
      <header class="screen-head">
        <h1 dir="auto">{job ? say.jobs.called(job) : say.jobs.title}</h1>
        <a class="button quiet" href={hrefOf("jobs")}>{say.jobs.all}</a>
        <ShowCall />
      </header>
      {followed && followed.error.value !== null && <ProblemNote error={followed.error.value} />}
      {followed?.lost.value && <p class="banner" role="status">{say.jobs.lost}</p>}
      {job && followed ? <Parts job={job} followed={followed} onAgain={() => setRound(round + 1)} /> : followed?.error.value === null && <Progress label={say.app.loading} />}
    </>
  );
}

function Parts({ job, followed, onAgain }: { job: JobPage; followed: Followed; onAgain: () => void }) {
  return (
    <div class="stack">
      <Where job={job} onAgain={onAgain} />
      {isFinished(job) && <Outcome job={job} />}
      <Curves curves={followed.curves.value} />
      <Matrix job={job} />
      {followed.log.value.length > 0 && (
        <details class="card" open={!isFinished(job)}>
          <summary>{say.jobs.log}</summary>
          <pre class="log scroll" tabIndex={0} role="log" aria-label={say.jobs.log}>{followed.log.value.join("\n")}</pre>
        </details>
      )}
      {job.artifacts.length > 0 && (
        <section class="card stack" aria-labelledby="files">
          <h2 id="files">{say.jobs.files}</h2>
          <ul class="files">{job.artifacts.map((file) => <li key={file.name}><Download file={file} /></li>)}</ul>
        </section>
      )}
    </div>
  );
}

function Where({ job, onAgain }: { job: JobPage; onAgain: () => void }) {
  const [error, setError] = useState<unknown>(null);
  const act = async (name: "POST /v1/jobs/{job}/cancel" | "POST /v1/jobs/{job}/retry") => {
    setError(null);
    try {
      await call(name, { path: { job: job.id }, showCall: true });
      onAgain();
    } catch (problem) {
      setError(problem);
    }
  };
  return (
    <section class="card stack job-where" data-state={job.state}>
      <div class="row">
        <strong class="state" role="status">{say.jobs.state(job)}</strong>
        {job.phase && !isFinished(job) && <span>{job.phase}</span>}
        <span class="soft">{say.jobs.facts2(job)}</span>
      </div>
      {!isFinished(job) && (
        <div class="row">
          {job.progress.of > 0 ? <progress class="wide" value={job.progress.step} max={job.progress.of} aria-label={say.jobs.progress} /> : <progress class="wide" aria-label={say.jobs.progress} />}
          <span>{say.jobs.steps(job.progress.step, job.progress.of, job.progress.eta_s)}</span>
        </div>
      )}
      {job.state === "queued" && job.served === false && <p class="note"><Icon name="warning" /><span>{say.jobs.unserved(job.queue)}</span></p>}
      {job.error && <ProblemNote error={String((job.error as { detail?: unknown }).detail ?? "")} />}
      {error !== null && <ProblemNote error={error} />}
      {may("train") && job.state !== "succeeded" && (
        <div class="row">
          {!isFinished(job) && <button type="button" disabled={job.cancelling} onClick={() => void act("POST /v1/jobs/{job}/cancel")}><Icon name="stop" />{job.cancelling ? say.jobs.cancelling : say.app.cancel}</button>}
          {(job.state === "failed" || job.state === "cancelled") && <button type="button" onClick={() => void act("POST /v1/jobs/{job}/retry")}>{say.app.again}</button>}
        </div>
      )}
    </section>
  );
}

/** The result: which to use and why, beside chance; the model, and how to evaluate it. */
function Outcome({ job }: { job: JobPage }) {
  const [error, setError] = useState<unknown>(null);
  const comparison = (job.result as { comparison?: { sentence: string; use: string | null; chance: number | null; commonest: number | null; commonest_label: string | null; head: { accuracy: number } | null; trained: { accuracy: number } | null; images: number; evaluated_on: string | null } } | null)?.comparison;
  const figures = Object.entries(job.metrics).filter(([, value]) => typeof value === "number") as [string, number][];
  const model = job.kind === "train" ? job.model : null;
  const judge = useOneAtATime(async () => {
    try {
      const started = await call("POST /v1/models/{model}/evaluate", { path: { model: model ?? "" }, json: job.dataset ? { dataset: job.dataset, split: "all" } : { collection: job.collection, split: "all" }, showCall: true });
      location.hash = hrefOf("jobs", [started.id]);
    } catch (problem) {
      setError(problem);
    }
  });
  if (job.state !== "succeeded") return null;
  return (
    <section class="card stack" aria-labelledby="outcome">
      <h2 id="outcome">{say.jobs.outcome}</h2>
      {comparison && <p class="lead">{comparison.sentence}</p>}
      {comparison?.head && comparison.trained && (
        <table class="figures">
          <thead><tr><th scope="col">{say.jobs.onHeldOut(comparison.images, comparison.evaluated_on)}</th><th scope="col">{say.jobs.right}</th></tr></thead>
          <tbody>
            <tr><th scope="row">{say.jobs.head}</th><td>{say.scores.percent(comparison.head.accuracy)}</td></tr>
            <tr><th scope="row">{say.jobs.trained}</th><td>{say.scores.percent(comparison.trained.accuracy)}</td></tr>
            {comparison.commonest !== null && <tr><th scope="row">{say.jobs.commonest(comparison.commonest_label)}</th><td>{say.scores.percent(comparison.commonest)}</td></tr>}
            {comparison.chance !== null && <tr><th scope="row">{say.jobs.chance}</th><td>{say.scores.percent(comparison.chance)}</td></tr>}
          </tbody>
        </table>
      )}
      {!comparison && figures.length > 0 && <dl class="figure-row">{figures.map(([name, value]) => <div key={name}><dt>{name.replaceAll("_", " ")}</dt><dd>{say.jobs.figure(name, value)}</dd></div>)}</dl>}
      {error !== null && <ProblemNote error={error} />}
      {job.kind === "prepare" && job.dataset && job.dataset_name && <div><a class="button" href={hrefOf("datasets", [job.dataset])}>{say.jobs.openDataset(job.dataset_name)}</a></div>}
      {model && (
        <div class="row">
          <a class="button" href={hrefOf("models")}>{say.jobs.useIt}</a>
          {may("train") && <button type="button" onClick={judge}>{say.jobs.judge}</button>}
          <code>{model}</code>
        </div>
      )}
    </section>
  );
}

const DULL = /(^|_)(lr|learning_rate|epoch|seconds|per_s|per_second)$/;

function Curves({ curves }: { curves: Record<string, Curve> }) {
  const groups = useMemo(() => {
    const named = Object.entries(curves).filter(([name, curve]) => curve.steps.length > 1 && !DULL.test(name));
    const losses = named.filter(([name]) => name.includes("loss"));
    const others = named.filter(([name]) => !name.includes("loss"));
    return [losses, others].filter((group) => group.length).map((group) => join(group));
  }, [curves]);
  if (!groups.length) return null;
  return (
    <section class="charts" aria-labelledby="curves">
      <h2 id="curves" class="unseen">{say.jobs.curves}</h2>
      {groups.map((group, index) => (
        <div class="card" key={index}>
          <Chart title={group.series.map((series) => series.label).join(", ")} steps={group.steps} stepName={say.jobs.step} series={group.series} />
        </div>
      ))}
    </section>
  );
}

/** Curves with steps of their own on one axis. */
function join(group: [string, Curve][]): { steps: number[]; series: Series[] } {
  const steps = [...new Set(group.flatMap(([, curve]) => curve.steps))].sort((a, b) => a - b);
  const series = group.map(([name, curve], index) => {
    const values = new Map(curve.steps.map((step, at) => [step, curve.values[at] ?? null]));
    return { label: name.replaceAll("_", " "), hue: index % 8, points: steps.map((step) => values.get(step) ?? null) };
  });
  return { steps, series };
}

/** A file behind a key: fetched, then handed to the browser. */
export function Download({ file }: { file: ArtifactInfo | { name: string; size: number; url: string } }) {
  const [error, setError] = useState<unknown>(null);
  const fetchIt = async () => {
    setError(null);
    try {
      const reply = await fetch(addressOf(file.url), { headers: headers(), credentials: "omit" });
      if (!reply.ok) throw readProblem(reply.status, await reply.text(), (name) => reply.headers.get(name));
      const url = URL.createObjectURL(await reply.blob());
      const link = Object.assign(document.createElement("a"), { href: url, download: file.name.split("/").at(-1) ?? file.name });
      link.click();
      setTimeout(() => URL.revokeObjectURL(url), 60_000);
    } catch (problem) {
      setError(problem);
    }
  };
  return (
    <>
      <button type="button" class="quiet" onClick={() => void fetchIt()}><Icon name="download" />{file.name.split("/").at(-1)}</button>
      <small>{say.jobs.size(file.size)}</small>
      {error !== null && <ProblemNote error={error} />}
    </>
  );
}

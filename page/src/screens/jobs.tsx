// Train: what fits these pictures, in words, and the jobs that were started.
import { useEffect, useState } from "preact/hooks";
import { call } from "../api/client";
import { isAbort } from "../api/problems";
import type { JobInfo, Recommendation, RecommendedStrategy, StrategyInfo } from "../api/schema";
import { CollectionPicker } from "../parts/collection-picker";
import { Icon } from "../parts/icon";
import { JobView } from "../parts/job-view";
import { ProblemNote } from "../parts/problem";
import { Progress } from "../parts/progress";
import { ShowCall } from "../parts/show-call";
import { goTo, hrefOf, route } from "../router";
import { changes, collection, collectionName, isKnown, refresh } from "../state/collections";
import { isFinished } from "../state/following";
import { may } from "../state/session";
import { say } from "../strings";

const LOOK_AGAIN_MS = 3000;

export function Jobs() {
  const id = route.value.rest[0];
  const [error, setError] = useState<unknown>(null);
  const look = () => void refresh().then(() => setError(null), setError);
  useEffect(look, [collectionName.value]);
  if (id) return <JobView key={id} id={id} />;
  return (
    <>
      <header class="screen-head">
        <h1>{say.jobs.title}</h1>
        <CollectionPicker />
        <ShowCall />
      </header>
      {error === null ? <Advice /> : <ProblemNote error={error} onRetry={look} />}
      <JobTable />
    </>
  );
}

function Advice() {
  const [found, setFound] = useState<Recommendation | null>(null);
  const [error, setError] = useState<unknown>(null);
  const examples = collection.value?.examples ?? 0;
  useEffect(() => {
    if (!examples) return setFound(null);
    const stop = new AbortController();
    call("POST /v1/strategies/recommend", { json: { dataset_size: examples, task: "classification" }, signal: stop.signal }).then(
      (recommended) => (setFound(recommended), setError(null)),
      (problem: unknown) => isAbort(problem) || setError(problem),
    );
    return () => stop.abort();
  }, [examples, changes.value]);
  if (error !== null) return <ProblemNote error={error} />;
  if (!isKnown.value) return <Progress label={say.app.loading} />;
  if (!examples) {
    return <section class="card stack empty"><Icon name="teach" /><p>{say.jobs.nothingTaught(collectionName.value)}</p>{may("learn") && <p><a class="button" href={hrefOf("teach")}>{say.teach.title}</a></p>}</section>;
  }
  if (!found) return <Progress label={say.app.loading} />;
  const stays = found.data[0]?.method === null ? found.data[0] : null;
  const trains = found.data.filter((strategy) => strategy.method !== null);
  return (
    <section class="stack" aria-labelledby="advice">
      <h2 id="advice">{say.jobs.facts(examples, collection.value?.labels ?? 0, found.hardware.gpus ?? 0)}</h2>
      {stays && (
        <div class="card stack advice-stay">
          <h3><Icon name="check" /> {say.jobs.keepAsItIs}</h3>
          <p>{stays.reason}</p>
        </div>
      )}
      <div class="advice">{trains.map((strategy) => <Choice key={strategy.name} strategy={strategy} />)}</div>
      {!trains.length && <p class="soft">{say.jobs.nothingFits}</p>}
      {found.left_out.length > 0 && (
        <details>
          <summary>{say.jobs.leftOut(found.left_out.length)}</summary>
          <dl class="reasons">{found.left_out.map((left) => <div key={left.name}><dt>{left.name}</dt><dd>{left.reason}</dd></div>)}</dl>
        </details>
      )}
    </section>
  );
}

function Choice({ strategy }: { strategy: RecommendedStrategy }) {
  const [settings, setSettings] = useState<Record<string, string>>({});
  const [name, setName] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const train = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      const params = { ...strategy.params, ...Object.fromEntries(Object.entries(settings).filter(([, text]) => text !== "").map(([field, text]) => [field, valueOf(text)])) };
      const job = await call("POST /v1/jobs", { json: { strategy: strategy.name, collection: collectionName.value, params, name: name.trim() || undefined }, showCall: true });
      goTo("jobs", [job.id]);
    } catch (problem) {
      setError(problem);
      setBusy(false);
    }
  };
  return (
    <form class="card stack" onSubmit={(event) => void train(event)}>
      <h3>{strategy.name}</h3>
      <p>{strategy.reason}</p>
      <p class="soft">{strategy.expected_time_s === null ? strategy.expected_time_note : say.jobs.expected(strategy.expected_time_s)}</p>
      <details>
        <summary>{say.jobs.settings}</summary>
        <div class="stack">
          <label>{say.jobs.name}<input value={name} onInput={(event) => setName(event.currentTarget.value)} /></label>
          <Defaults strategy={strategy.name} values={settings} onChange={setSettings} />
        </div>
      </details>
      {error !== null && <ProblemNote error={error} />}
      <div><button type="submit" class="primary" disabled={busy}>{say.jobs.train}</button></div>
    </form>
  );
}

/** A number, a yes or no, or the text itself. */
function valueOf(text: string): unknown {
  const number = Number(text);
  if (Number.isFinite(number)) return number;
  return text === "true" ? true : text === "false" ? false : text;
}

/** The strategy's settings, empty where its own value holds. */
function Defaults({ strategy, values, onChange }: { strategy: string; values: Record<string, string>; onChange: (values: Record<string, string>) => void }) {
  const [info, setInfo] = useState<StrategyInfo | null>(null);
  useEffect(() => void call("GET /v1/strategies/{strategy}", { path: { strategy } }).then(setInfo, () => undefined), [strategy]);
  const simple = Object.entries(info?.defaults ?? {}).filter(([, value]) => ["number", "boolean", "string"].includes(typeof value));
  return (
    <div class="settings-grid">
      {simple.map(([field, value]) => (
        <label key={field}>
          {field.replaceAll("_", " ")}
          <input value={values[field] ?? ""} placeholder={String(value)} spellcheck={false} onInput={(event) => onChange({ ...values, [field]: event.currentTarget.value })} />
        </label>
      ))}
    </div>
  );
}

function JobTable() {
  /** `cursor` is where the older ones begin, null where the last of them is shown. */
  const [list, setList] = useState<{ jobs: JobInfo[]; cursor: string | null } | null>(null);
  const [error, setError] = useState<unknown>(null);
  useEffect(() => {
    let timer = 0;
    let gone = false;
    const look = async () => {
      try {
        const found = await call("GET /v1/jobs", { query: { limit: 50 } });
        if (gone) return;
        setList((before) => {
          const newest = new Set(found.data.map((job) => job.id));
          // more came than one look shows: those between would be missing, so the list begins anew
          if (!before?.jobs.some((job) => newest.has(job.id))) return { jobs: found.data, cursor: found.next };
          const oldest = found.data.at(-1)?.created_at ?? "";
          return { ...before, jobs: [...found.data, ...before.jobs.filter((job) => !newest.has(job.id) && job.created_at <= oldest)] };
        });
        setError(null);
      } catch (problem) {
        setError(problem);
      }
      if (!gone) timer = setTimeout(() => void look(), LOOK_AGAIN_MS);
    };
    void look();
    return () => {
      gone = true;
      clearTimeout(timer);
    };
  }, []);
  const more = async (cursor: string) => {
    const found = await call("GET /v1/jobs", { query: { limit: 50, cursor } });
    // as the list is by now: the newest may have been read again meanwhile
    setList((before) => {
      if (before?.cursor !== cursor) return before;
      const known = new Set(before.jobs.map((job) => job.id));
      return { jobs: [...before.jobs, ...found.data.filter((job) => !known.has(job.id))], cursor: found.next };
    });
  };
  const { jobs = null, cursor = null } = list ?? {};
  return (
    <section class="stack" aria-labelledby="jobs-list">
      <h2 id="jobs-list">{say.jobs.list}</h2>
      {error !== null && <ProblemNote error={error} />}
      {jobs === null ? <Progress label={say.app.loading} /> : jobs.length === 0 ? <p class="soft">{say.jobs.none}</p> : (
        <ul class="job-list">
          {jobs.map((job) => (
            <li key={job.id}>
              <a class="card" href={hrefOf("jobs", [job.id])} data-state={job.state}>
                <span class="job-name" dir="auto">{say.jobs.called(job)}</span>
                <span class="state">{say.jobs.state(job)}</span>
                {!isFinished(job) && job.progress.of > 0 && <progress value={job.progress.step} max={job.progress.of} aria-label={say.jobs.progress} />}
                <small>{say.jobs.when(job.created_at)}</small>
              </a>
            </li>
          ))}
        </ul>
      )}
      {cursor && <div><button type="button" onClick={() => void more(cursor).catch(setError)}>{say.jobs.older}</button></div>}
    </section>
  );
}

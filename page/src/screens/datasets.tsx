// Data sets: upload an archive, see its balance and what was refused, teach it, train on it.
import { useEffect, useState } from "preact/hooks";
import { addressOf, call, readAll } from "../api/client";
import { Problem } from "../api/problems";
import type { DatasetImageInfo, DatasetInfo, RecommendedStrategy } from "../api/schema";
import { CollectionPicker } from "../parts/collection-picker";
import { CopyBlock } from "../parts/copy";
import { PictureGrid } from "../parts/grid";
import { Icon } from "../parts/icon";
import { Download } from "../parts/job-view";
import { ProblemNote } from "../parts/problem";
import { Progress } from "../parts/progress";
import { ShowCall } from "../parts/show-call";
import { Thumb } from "../parts/thumb";
import { tell } from "../parts/toast";
import { UploadArchive } from "../parts/upload-archive";
import { goTo, hrefOf, route } from "../router";
import { collectionName, collections, ensureCollection } from "../state/collections";
import { may } from "../state/session";
import { say } from "../strings";

const LOOK_AGAIN_MS = 1500;
const MAX_BALANCE = 60;

interface Summary {
  examples?: number;
  labels?: Record<string, Record<string, number>>;
  splits?: Record<string, number>;
  refused?: Record<string, number>;
  refused_total?: number;
  remarks?: string[];
  duplicates?: number;
}

export function Datasets() {
  const id = route.value.rest[0];
  return id ? <Dataset key={id} id={id} /> : <List />;
}

function List() {
  const [found, setFound] = useState<DatasetInfo[] | null>(null);
  const [error, setError] = useState<unknown>(null);
  useEffect(() => lookAgain(() => readAll("GET /v1/datasets", {}), (rows) => (setFound([...rows]), rows.some((dataset) => dataset.state === "preparing")), setError), []);
  return (
    <>
      <header class="screen-head">
        <h1>{say.datasets.title}</h1>
        <ShowCall />
      </header>
      {may("train") && found !== null && found.length > 0 && <section class="card"><UploadArchive label={say.datasets.upload} send={upload}><p class="soft">{say.datasets.lead}</p></UploadArchive></section>}
      {error !== null && <ProblemNote error={error} />}
      {found === null ? error === null && <Progress label={say.app.loading} /> : found.length === 0 ? <Nothing /> : (
        <ul class="job-list">
          {found.map((dataset) => (
            <li key={dataset.id}>
              <a class="card" href={hrefOf("datasets", [dataset.id])} data-state={dataset.state}>
                <span class="job-name" dir="auto">{dataset.name}</span>
                <span class="state">{say.datasets.states[dataset.state]}</span>
                <small>{say.jobs.when(dataset.created_at)}</small>
              </a>
            </li>
          ))}
        </ul>
      )}
    </>
  );
}

/** None yet: what a data set is for, and the ways to make one. */
function Nothing() {
  return (
    <section class="card stack empty">
      <Icon name="datasets" />
      <p class="lead">{say.datasets.none}</p>
      <p class="purpose">{say.datasets.purpose}</p>
      {may("train") && (
        <div class="stack datasets-ways">
          <UploadArchive label={say.datasets.upload} send={upload} zone><span class="soft">{say.datasets.drop}</span></UploadArchive>
          <p class="soft">{say.datasets.lead}</p>
          <CopyBlock title={say.datasets.byCommand} text={`# pictures/mug/1.jpg, pictures/mug/2.jpg, pictures/cactus/1.jpg, ...\nvision manyshot prepare-dataset --data-dir pictures --name things --server ${addressOf("").href.replace(/\/$/, "")}`} />
        </div>
      )}
    </section>
  );
}

/** Reads again and again while `show` says that more is to come, also after the service was away; returns what ends it. */
function lookAgain<Found>(read: () => Promise<Found>, show: (found: Found) => boolean, onError: (error: unknown) => void): () => void {
  let timer = 0;
  let gone = false;
  const look = async () => {
    let more = false;
    try {
      const found = await read();
      if (gone) return;
      more = show(found);
      onError(null);
    } catch (error) {
      if (gone) return;
      onError(error);
      more = error instanceof Problem && (error.status === 0 || error.status >= 500);
    }
    if (more) timer = setTimeout(() => void look(), LOOK_AGAIN_MS);
  };
  void look();
  return () => {
    gone = true;
    clearTimeout(timer);
  };
}

const upload = async (archive: File, onProgress: (share: number) => void) => {
  const name = archive.name.replace(/\.(zip|tar|tgz|tar\.gz)$/i, "");
  const dataset = await call("POST /v1/datasets", { form: { archive, name }, onProgress, showCall: true });
  goTo("datasets", [dataset.id]);
};

function Dataset({ id }: { id: string }) {
  const [dataset, setDataset] = useState<DatasetInfo | null>(null);
  const [error, setError] = useState<unknown>(null);
  useEffect(() => lookAgain(() => call("GET /v1/datasets/{dataset}", { path: { dataset: id } }), (found) => (setDataset(found), found.state === "preparing"), setError), [id]);
  const summary = (dataset?.summary ?? {}) as Summary;
  return (
    <>
      <header class="screen-head">
        <h1 dir="auto">{dataset?.name ?? say.datasets.title}</h1>
        <a class="button quiet" href={hrefOf("datasets")}>{say.datasets.all}</a>
        <ShowCall />
      </header>
      {error !== null && <ProblemNote error={error} />}
      {dataset?.state === "preparing" && <div class="card row"><Progress label={say.datasets.preparing} />{dataset.job && <a href={hrefOf("jobs", [dataset.job])}>{say.datasets.followJob}</a>}</div>}
      {dataset?.error && <ProblemNote error={String((dataset.error as { detail?: unknown }).detail ?? "")} />}
      {dataset?.state === "ready" && (
        <>
          <Balance summary={summary} />
          <Refused dataset={dataset} summary={summary} />
          {dataset.task === "classification" && may("train") && <Actions dataset={dataset} />}
          <Pictures dataset={dataset} labels={Object.keys(summary.labels ?? {})} />
        </>
      )}
      {dataset && dataset.state !== "preparing" && may("train") && <Remove dataset={dataset} />}
    </>
  );
}

function Balance({ summary }: { summary: Summary }) {
  const rows = Object.entries(summary.labels ?? {}).map(([label, splits]) => ({ label, number: Object.values(splits).reduce((sum, count) => sum + count, 0) })).sort((a, b) => b.number - a.number);
  const most = Math.max(1, ...rows.map((row) => row.number));
  return (
    <section class="card stack" aria-labelledby="balance">
      <h2 id="balance">{say.datasets.facts(summary.examples ?? 0, rows.length)}</h2>
      <p class="soft">{say.datasets.splits(summary.splits ?? {})}</p>
      {summary.remarks?.map((remark) => <p class="soft" key={remark}>{remark}</p>)}
      <ul class="balance">
        {rows.slice(0, MAX_BALANCE).map((row) => (
          <li key={row.label}>
            <span class="bar-label" dir="auto">{row.label}</span>
            <span class="bar" aria-hidden="true"><span style={{ width: `${(row.number / most) * 100}%` }} /></span>
            <span>{row.number.toLocaleString("en")}</span>
          </li>
        ))}
      </ul>
      {rows.length > MAX_BALANCE && <p class="soft">{say.datasets.more(rows.length - MAX_BALANCE)}</p>}
    </section>
  );
}

function Refused({ dataset, summary }: { dataset: DatasetInfo; summary: Summary }) {
  const reasons = Object.entries(summary.refused ?? {});
  if (!summary.refused_total) return null;
  return (
    <section class="card stack" aria-labelledby="refused">
      <h2 id="refused">{say.datasets.refused(summary.refused_total)}</h2>
      <ul class="stack">{reasons.map(([reason, number]) => <li key={reason}>{say.datasets.reason(number, reason)}</li>)}</ul>
      <div><Download file={{ name: "refused.txt", size: 0, url: `/v1/datasets/${dataset.id}/report` }} /></div>
    </section>
  );
}

function Actions({ dataset }: { dataset: DatasetInfo }) {
  const [strategies, setStrategies] = useState<RecommendedStrategy[]>([]);
  const [chosen, setChosen] = useState("");
  const [error, setError] = useState<unknown>(null);
  const examples = (dataset.summary as Summary | null)?.examples ?? 0;
  useEffect(() => {
    void call("POST /v1/strategies/recommend", { json: { dataset_size: examples, task: "classification" } }).then((found) => {
      const trains = found.data.filter((strategy) => strategy.method !== null);
      setStrategies(trains);
      setChosen(trains[0]?.name ?? "");
    }, setError);
  }, [examples]);
  const [busy, setBusy] = useState(false);
  const begin = async (start: () => Promise<{ id: string }>) => {
    setBusy(true);
    setError(null);
    try {
      goTo("jobs", [(await start()).id]);
    } catch (problem) {
      setError(problem);
      setBusy(false);
    }
  };
  const teach = () => begin(async () => {
    const collection = collectionName.value;
    await ensureCollection(collection);
    return call("POST /v1/datasets/{dataset}/teach", { path: { dataset: dataset.id }, json: { collection }, showCall: true });
  });
  const train = () => begin(() => {
    const strategy = strategies.find((known) => known.name === chosen);
    return call("POST /v1/jobs", { json: { strategy: chosen, dataset: dataset.id, params: strategy?.params ?? {} }, showCall: true });
  });
  const canTeach = may("learn") || collections.value.some((known) => known.name === collectionName.value);
  const advice = strategies.find((known) => known.name === chosen);
  return (
    <section class="card stack" aria-labelledby="use">
      <h2 id="use">{say.datasets.use}</h2>
      {error !== null && <ProblemNote error={error} />}
      <div class="row">
        <CollectionPicker />
        {canTeach && <button type="button" class="primary" disabled={busy} onClick={() => void teach()}>{say.datasets.teach(collectionName.value)}</button>}
        <small>{canTeach ? say.datasets.trainOnly : say.datasets.noCollection(collectionName.value)}</small>
      </div>
      {strategies.length > 0 && (
        <div class="row">
          <label>{say.datasets.strategy}<select value={chosen} onChange={(event) => setChosen(event.currentTarget.value)}>{strategies.map((strategy) => <option key={strategy.name} value={strategy.name}>{strategy.name}</option>)}</select></label>
          <button type="button" disabled={busy} onClick={() => void train()}>{say.jobs.train}</button>
        </div>
      )}
      {advice && <p class="soft">{advice.reason} {advice.expected_time_s === null ? "" : say.jobs.expected(advice.expected_time_s)}</p>}
    </section>
  );
}

function Pictures({ dataset, labels }: { dataset: DatasetInfo; labels: string[] }) {
  const [label, setLabel] = useState("");
  const [rows, setRows] = useState<DatasetImageInfo[]>([]);
  const [error, setError] = useState<unknown>(null);
  useEffect(() => {
    const stopper = new AbortController();
    setRows([]);
    readAll("GET /v1/datasets/{dataset}/images", { path: { dataset: dataset.id }, query: label ? { label } : {}, signal: stopper.signal }, (read) => setRows([...read])).catch((problem: unknown) => stopper.signal.aborted || setError(problem));
    return () => stopper.abort();
  }, [dataset.id, label]);
  return (
    <section class="stack" aria-labelledby="pictures">
      <div class="row">
        <h2 id="pictures">{say.datasets.pictures}</h2>
        {labels.length > 0 && (
          <label class="inline">{say.datasets.label}<select value={label} onChange={(event) => setLabel(event.currentTarget.value)}><option value="">{say.datasets.every}</option>{labels.map((name) => <option key={name} value={name}>{name}</option>)}</select></label>
        )}
      </div>
      {error !== null && <ProblemNote error={error} />}
      <PictureGrid items={rows} keyOf={(row) => `${row.image_sha256}${row.label ?? row.question ?? ""}`} nameOf={(row) => row.label ?? row.question ?? ""} label={say.datasets.pictures} render={(row) => <Thumb path={row.image} size={160} alt={row.label ?? row.question ?? ""} />} />
    </section>
  );
}

function Remove({ dataset }: { dataset: DatasetInfo }) {
  const [sure, setSure] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const remove = async () => {
    if (!sure) return setSure(true);
    try {
      await call("DELETE /v1/datasets/{dataset}", { path: { dataset: dataset.id }, showCall: true });
      tell(say.datasets.removed(dataset.name));
      goTo("datasets");
    } catch (problem) {
      setError(problem);
    }
  };
  return (
    <section class="stack">
      {error !== null && <ProblemNote error={error} />}
      <div class="row"><button type="button" class="danger" onClick={() => void remove()}><Icon name="trash" />{sure ? say.models.reallyRemove : say.app.remove}</button>{sure && <span role="status">{say.models.noUndo}</span>}</div>
    </section>
  );
}

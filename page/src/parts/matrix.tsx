// The confusion matrix of an evaluation, whose cells open their pictures, and its worst mistakes.
import { useEffect, useMemo, useState } from "preact/hooks";
import { addressOf, call, headers, readAll } from "../api/client";
import type { JobPage } from "../api/schema";
import { refresh } from "../state/collections";
import { may } from "../state/session";
import { say } from "../strings";
import { Dialog } from "./dialog";
import { Icon } from "./icon";
import { ProblemNote } from "./problem";
import { Thumb } from "./thumb";
import { tell } from "./toast";

interface Cell { truth: string; said: string; count: number; images: string[] }
interface Confusion { labels: string[]; counts: number[][]; cells: Cell[] }
interface Mistake { image_sha256: string; truth: string; said: string; score: number | null; split: string }
interface Example { id: string; label: string }

const MAX_LABELS = 40;
const MAX_MISTAKES = 24;

export function Matrix({ job }: { job: JobPage }) {
  const [confusion, setConfusion] = useState<Confusion | null>(null);
  const [mistakes, setMistakes] = useState<Mistake[]>([]);
  const [open, setOpen] = useState<Cell | null>(null);
  const [error, setError] = useState<unknown>(null);
  const examples = useExamples(job.collection, confusion !== null);
  const names = job.artifacts.map((file) => file.name).join();
  useEffect(() => {
    const read = (name: string) => {
      const file = job.artifacts.find((found) => found.name === name || found.name.endsWith(`/${name}`));
      return file ? fetch(addressOf(file.url), { headers: headers(), credentials: "omit" }).then((reply) => (reply.ok ? reply.json() : null)) : Promise.resolve(null);
    };
    void read("confusion.json").then((found) => setConfusion(found as Confusion | null), setError);
    void read("mistakes.json").then((found) => setMistakes((found ?? []) as Mistake[]), setError);
  }, [names]);
  const picture = (sha: string) =>
    job.dataset ? `/v1/datasets/${job.dataset}/images/${sha}` : examples.get(sha) ? `/v1/collections/${encodeURIComponent(job.collection ?? "")}/examples/${examples.get(sha)?.id ?? ""}/image` : null;
  const counts = useMemo(() => new Map(confusion?.cells.map((cell) => [`${cell.truth}\n${cell.said}`, cell])), [confusion]);
  if (!confusion) return error === null ? null : <ProblemNote error={error} />;
  const labels = confusion.labels.slice(0, MAX_LABELS);
  const most = confusion.counts.flat().reduce((max, count) => Math.max(max, count), 1); // too many of them to be arguments
  return (
    <section class="stack" aria-labelledby="matrix">
      <h2 id="matrix">{say.jobs.matrix}</h2>
      <p class="soft">{say.jobs.matrixLead}</p>
      {job.collection && <p class="note"><Icon name="warning" /><span>{say.jobs.flatters}</span></p>}
      <div class="card scroll" tabIndex={0} role="group" aria-labelledby="matrix">
        <table class="matrix">
          <thead><tr><th scope="col">{say.jobs.truth}</th>{labels.map((label) => <th scope="col" key={label} dir="auto"><span>{label}</span></th>)}</tr></thead>
          <tbody>
            {labels.map((truth) => (
              <tr key={truth}>
                <th scope="row" dir="auto">{truth}</th>
                {labels.map((said) => {
                  const cell = counts.get(`${truth}\n${said}`);
                  return (
                    <td key={said} data-right={truth === said} style={{ "--share": `${Math.round(((cell?.count ?? 0) / most) * 70)}%` }}>
                      {cell ? <button type="button" aria-label={say.jobs.cell(truth, said, cell.count)} onClick={() => setOpen(cell)}>{cell.count}</button> : ""}
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {confusion.labels.length > MAX_LABELS && <p class="soft">{say.jobs.matrixCut(MAX_LABELS, confusion.labels.length)}</p>}
      {mistakes.length > 0 && (
        <>
          <h2>{say.jobs.mistakes}</h2>
          <ul class="mistakes">
            {mistakes.slice(0, MAX_MISTAKES).map((mistake) => <MistakeCard key={mistake.image_sha256 + mistake.said} mistake={mistake} path={picture(mistake.image_sha256)} example={job.dataset ? undefined : examples.get(mistake.image_sha256)} collection={job.collection} />)}
          </ul>
        </>
      )}
      <Dialog open={open !== null} title={open ? say.jobs.cell(open.truth, open.said, open.count) : ""} onClose={() => setOpen(null)} wide>
        <ul class="cell-pictures">
          {open?.images.map((sha) => <li key={sha}><Picture path={picture(sha)} alt={say.jobs.cell(open.truth, open.said, 1)} /></li>)}
        </ul>
        {open && open.images.length < open.count && <p class="soft">{say.jobs.firstOf(open.images.length, open.count)}</p>}
      </Dialog>
    </section>
  );
}

function Picture({ path, alt }: { path: string | null; alt: string }) {
  return path ? <Thumb path={path} size={256} alt={alt} /> : <span class="thumb"><span class="failed">{say.jobs.gone}</span></span>;
}

function MistakeCard({ mistake, path, example, collection }: { mistake: Mistake; path: string | null; example?: Example; collection: string | null }) {
  const [error, setError] = useState<unknown>(null);
  const [label, setLabel] = useState(example?.label ?? mistake.truth);
  useEffect(() => setLabel(example?.label ?? mistake.truth), [example?.label]);
  const relabel = async (name: string) => {
    if (!example || !collection) return;
    await call("PATCH /v1/collections/{collection}/examples/{id}", { path: { collection, id: example.id }, json: { label: name }, showCall: true });
    setLabel(name);
    await refresh(true);
  };
  const change = async () => {
    setError(null);
    const before = label;
    try {
      await relabel(mistake.said);
      tell(say.jobs.relabelled(mistake.said), () => relabel(before).catch(setError));
    } catch (problem) {
      setError(problem);
    }
  };
  return (
    <li class="card">
      <Picture path={path} alt={say.jobs.cell(mistake.truth, mistake.said, 1)} />
      <p><span class="soft">{say.jobs.isTruly}</span> <strong dir="auto">{mistake.truth}</strong></p>
      <p><span class="soft">{say.jobs.wasSaid}</span> <strong dir="auto">{mistake.said}</strong> {mistake.score !== null && say.scores.percent(mistake.score)}</p>
      {example && may("learn") && (label === mistake.said ? <p class="soft">{say.jobs.relabelled(label)}</p> : <button type="button" onClick={() => void change()}>{say.jobs.labelWasWrong}</button>)}
      {error !== null && <ProblemNote error={error} />}
    </li>
  );
}

/** The collection's examples by their picture's hash; empty until they are read. */
function useExamples(collection: string | null, wanted: boolean): Map<string, Example> {
  const [examples, setExamples] = useState(new Map<string, Example>());
  useEffect(() => {
    if (!collection || !wanted) return;
    readAll("GET /v1/collections/{collection}/examples", { path: { collection } }).then(
      (rows) => setExamples(new Map(rows.map((row) => [row.image_sha256, { id: row.id, label: row.label }]))),
      () => undefined,
    );
  }, [collection, wanted]);
  return examples;
}

// Many files as a table: filter by label, sort by least sure, download.
import { useEffect, useState } from "preact/hooks";
import { isAbort } from "../../api/problems";
import { FilePicture } from "../../parts/file-picture";
import { Icon } from "../../parts/icon";
import { ProblemNote } from "../../parts/problem";
import { Progress } from "../../parts/progress";
import { Choose } from "../../parts/ways-in";
import { classify } from "../../state/classifying";
import { changes, collectionName, hueOf } from "../../state/collections";
import { useObjectUrl } from "../../state/object-url";
import type { InputFile } from "../../state/pictures";
import { say } from "../../strings";
import { useAskedAgain } from "./asked-again";
import { read, saveCsv, type Row, type Seen } from "./rows";

const MAX_AT_ONCE = 4;
const PAGE = 200;

type Sort = keyof typeof say.try.table.sorts;

interface Props {
  files: File[];
  hidden: boolean;
  ownLabels: string[] | null;
  threshold: number | null;
  onOpen: (file: File) => void;
  onGiven: (given: InputFile[]) => void;
}

export function Many({ files, hidden, ownLabels, threshold, onOpen, onGiven }: Props) {
  const [rows, setRows] = useState<Row[]>([]);
  const [wanted, setWanted] = useState("");
  const [sort, setSort] = useState<Sort>("given");
  const [limit, setLimit] = useState(PAGE);
  const askedAgain = useAskedAgain();
  const collection = collectionName.value;
  useEffect(() => {
    const stop = new AbortController();
    const showCall = !askedAgain();
    const found: Row[] = files.map((file) => ({ file, answer: null, error: null }));
    setRows([...found]);
    let next = 0;
    const work = async () => {
      for (let index = next++; index < found.length && !stop.signal.aborted; index = next++) {
        const file = files[index];
        if (!file) return;
        try {
          const { answer } = await classify(file, { collection, labels: ownLabels ?? undefined, nearest: 0, signal: stop.signal, showCall });
          found[index] = { file, answer, error: null };
        } catch (error) {
          if (isAbort(error)) return;
          found[index] = { file, answer: null, error };
        }
        setRows([...found]);
      }
    };
    for (let worker = 0; worker < MAX_AT_ONCE; worker++) void work();
    return () => stop.abort();
  }, [files, ownLabels, collection, changes.value]);

  const seen = rows.map((row, index) => read(row, index, threshold));
  const done = seen.filter((row) => row.label !== null || row.error !== null).length;
  const labels = [...new Set(seen.map((row) => row.label).filter((label) => label !== null))].sort();
  const kept = seen.filter((row) => !wanted || row.label === wanted || (wanted === REFUSED && row.error !== null));
  kept.sort(orders[sort]);
  const rejected = seen.filter((row) => row.rejected).length;
  if (hidden) return null;
  return (
    <section class="card many">
      <div class="row">
        <span class="grow">
          {done < files.length ? <Progress label={say.try.table.done(done, files.length)} share={done / files.length} /> : <strong>{say.try.table.done(done, files.length)}</strong>}
        </span>
        <span class="soft" role="status">{say.try.table.rejected(rejected)}</span>
        <label class="inline">
          {say.try.table.filter}
          <select value={wanted} onChange={(event) => setWanted(event.currentTarget.value)}>
            <option value="">{say.try.table.all}</option>
            {labels.map((label) => <option key={label} value={label}>{label}</option>)}
            {seen.some((row) => row.error !== null) && <option value={REFUSED}>{say.try.table.failed}</option>}
          </select>
        </label>
        <label class="inline">
          {say.try.table.sort}
          <select value={sort} onChange={(event) => setSort(event.currentTarget.value as Sort)}>
            {Object.entries(say.try.table.sorts).map(([name, words]) => <option key={name} value={name}>{words}</option>)}
          </select>
        </label>
        <button type="button" disabled={done < files.length} onClick={() => saveCsv(kept)}><Icon name="download" />{say.try.table.csv}</button>
        <Choose onGiven={onGiven}><Icon name="picture" />{say.ways.choose}</Choose>
      </div>
      <div class="table-scroll" tabIndex={0} role="region" aria-label={say.try.table.caption}>
        <table>
          <thead>
            <tr>
              <th scope="col">{say.try.table.picture}</th>
              <th scope="col">{say.try.table.file}</th>
              <th scope="col">{say.try.table.label}</th>
              <th scope="col" class="number">{say.try.table.score}</th>
              <th scope="col" class="number">{say.try.table.lead}</th>
            </tr>
          </thead>
          <tbody>{kept.slice(0, limit).map((row) => <Line key={row.index} row={row} onOpen={onOpen} />)}</tbody>
        </table>
      </div>
      {kept.length > limit && <button type="button" onClick={() => setLimit(limit + PAGE)}>{say.try.table.more(Math.min(PAGE, kept.length - limit))}</button>}
    </section>
  );
}

const REFUSED = " refused"; // no name of a label

const orders: Record<Sort, (a: Seen, b: Seen) => number> = {
  given: (a, b) => a.index - b.index,
  unsure: (a, b) => a.lead - b.lead,
  label: (a, b) => (a.label ?? "").localeCompare(b.label ?? "") || a.lead - b.lead,
  name: (a, b) => a.file.name.localeCompare(b.file.name, undefined, { numeric: true }),
};

function Line({ row, onOpen }: { row: Seen; onOpen: (file: File) => void }) {
  return (
    <tr>
      <td><button type="button" class="row-picture" aria-label={say.try.table.open(row.file.name)} onClick={() => onOpen(row.file)}><RowPicture file={row.file} /></button></td>
      <th scope="row" class="file-name" dir="auto">{row.file.name}</th>
      {row.error !== null ? (
        <td colSpan={3}><ProblemNote error={row.error} compact /></td>
      ) : row.label === null ? (
        <td colSpan={3} class="soft">…</td>
      ) : (
        <>
          <td><span class={row.rejected ? "soft" : "tag"} data-hue={row.rejected ? undefined : hueOf(row.label)} dir="auto">{row.label}</span></td>
          <td class="number">{say.scores.percent(row.score)}</td>
          <td class="number">{say.scores.percent(row.lead)}</td>
        </>
      )}
    </tr>
  );
}

function RowPicture({ file }: { file: File }) {
  const url = useObjectUrl(file);
  return url && <FilePicture url={url} alt="" />;
}

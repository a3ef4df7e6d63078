// Every picture of one label: select some and forget them.
import { useEffect, useState } from "preact/hooks";
import { readAll } from "../../api/client";
import type { ExampleInfo } from "../../api/schema";
import { Dialog } from "../../parts/dialog";
import { PictureGrid } from "../../parts/grid";
import { Icon } from "../../parts/icon";
import { ProblemNote } from "../../parts/problem";
import { Progress } from "../../parts/progress";
import { Thumb } from "../../parts/thumb";
import { changes, collectionName } from "../../state/collections";
import { forget, leaving } from "../../state/forgetting";
import { say } from "../../strings";

export function LabelPictures({ label, count, open, onClose }: { label: string; count: number; open: boolean; onClose: () => void }) {
  return (
    <Dialog open={open} title={say.teach.open(label, count)} onClose={onClose} wide>
      <Pictures label={label} onEmpty={onClose} />
    </Dialog>
  );
}

function Pictures({ label, onEmpty }: { label: string; onEmpty: () => void }) {
  const [examples, setExamples] = useState<readonly ExampleInfo[] | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [picked, setPicked] = useState<ReadonlySet<string>>(new Set());
  const collection = collectionName.value;
  useEffect(() => {
    const stop = new AbortController();
    const show = (rows: readonly ExampleInfo[]) => stop.signal.aborted || setExamples([...rows]);
    readAll("GET /v1/collections/{collection}/examples", { path: { collection }, query: { label }, signal: stop.signal }, show).catch((problem: unknown) => stop.signal.aborted || setError(problem));
    return () => stop.abort();
  }, [collection, label, changes.value]);
  if (error !== null) return <ProblemNote error={error} />;
  if (!examples) return <Progress label={say.app.loading} />;
  const shown = examples.filter((example) => !leaving.value.has(example.id));
  const toggle = (range: ExampleInfo[]) => {
    const next = new Set(picked);
    const [only] = range;
    if (range.length === 1 && only && next.has(only.id)) next.delete(only.id);
    else for (const example of range) next.add(example.id);
    setPicked(next);
  };
  const drop = (ids: string[], sentence: string) => {
    forget(collection, ids, sentence);
    setPicked(new Set());
    if (ids.length === shown.length) onEmpty();
  };
  return (
    <>
      <div class="row">
        <span class="soft grow">{picked.size ? say.grid.selected(picked.size) : say.teach.pick}</span>
        {picked.size > 0 ? (
          <button type="button" class="danger" onClick={() => drop([...picked], say.teach.forgot(picked.size))}>
            <Icon name="trash" />
            {say.teach.forgetPicked(picked.size)}
          </button>
        ) : (
          <button type="button" class="danger" onClick={() => drop(shown.map((example) => example.id), say.teach.forgotLabel(label, shown.length))}>
            <Icon name="trash" />
            {say.teach.forget(label)}
          </button>
        )}
      </div>
      <PictureGrid
        items={shown} keyOf={(example) => example.id} label={label} selected={picked} onSelect={(_, range) => toggle(range)}
        nameOf={(example) => say.teach.picture(label, shown.indexOf(example) + 1)}
        render={(example) => <Thumb path={example.image} size={256} alt="" />}
      />
    </>
  );
}

// Every picture of one label: select some and move or forget them; rename the label or forget it whole.
import { useEffect, useRef, useState } from "preact/hooks";
import { readAll } from "../../api/client";
import { Problem } from "../../api/problems";
import type { ExampleInfo } from "../../api/schema";
import { Dialog, keepFocus } from "../../parts/dialog";
import { ExamplesGrid } from "../../parts/examples-grid";
import { Icon } from "../../parts/icon";
import { useOneAtATime } from "../../parts/one-at-a-time";
import { ProblemNote } from "../../parts/problem";
import { Progress } from "../../parts/progress";
import { changes, collectionName } from "../../state/collections";
import { forget } from "../../state/forgetting";
import { rename } from "../../state/relabelling";
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
  const collection = collectionName.value;
  useEffect(() => {
    const stop = new AbortController();
    const show = (rows: readonly ExampleInfo[]) => stop.signal.aborted || setExamples([...rows]);
    readAll("GET /v1/collections/{collection}/examples", { path: { collection }, query: { label }, signal: stop.signal }, show).catch((problem: unknown) => stop.signal.aborted || setError(problem));
    return () => stop.abort();
  }, [collection, label, changes.value]);
  if (error !== null) return <ProblemNote error={error} />;
  if (!examples) return <Progress label={say.app.loading} />;
  const dropAll = () => {
    forget(collection, examples, say.teach.forgotLabel(label, examples.length));
    onEmpty();
  };
  return (
    <ExamplesGrid examples={examples} label={label}>
      <button type="button" class="danger" onClick={dropAll}><Icon name="trash" />{say.teach.forget(label)}</button>
    </ExamplesGrid>
  );
}

/** The label's name, to be changed in place; where the name is taken, the two can become one. */
export function LabelName({ label }: { label: string }) {
  const [name, setName] = useState<string | null>(null);
  const [error, setError] = useState<unknown>(null);
  const change = useOneAtATime(async (merge?: boolean) => {
    const wanted = name?.trim() ?? "";
    if (!wanted || wanted === label) return setName(null);
    try {
      await rename(collectionName.value, label, wanted, merge);
      setName(null);
      setError(null);
    } catch (problem) {
      setError(problem);
    }
  });
  const button = useRef<HTMLButtonElement>(null);
  const wasOpen = useRef(false);
  useEffect(() => {
    if (wasOpen.current && name === null) button.current?.focus();
    wasOpen.current = name !== null;
  }, [name === null]);
  useEffect(() => () => void setTimeout(keepFocus), []);
  if (name === null) {
    return (
      <h2 dir="auto">
        <button type="button" ref={button} class="label-name" aria-label={say.teach.rename(label)} onClick={() => setName(label)}>{label}<Icon name="pencil" /></button>
      </h2>
    );
  }
  const taken = error instanceof Problem && error.status === 409;
  return (
    <form class="rename" onSubmit={(event) => (event.preventDefault(), change())}>
      <input
        value={name} autofocus aria-label={say.teach.newName} ref={(field) => void (field && document.activeElement !== field && error === null && field.select())}
        onInput={(event) => (setName(event.currentTarget.value), setError(null))}
        onKeyDown={(event) => event.key === "Escape" && (event.stopPropagation(), setName(null), setError(null))}
      />
      {error !== null && <ProblemNote error={taken ? say.teach.taken(name.trim()) : error} compact />}
      <div class="row">
        {taken ? <button type="button" class="primary" onClick={() => change(true)}>{say.teach.merge(name.trim())}</button> : <button type="submit" class="primary">{say.app.save}</button>}
        <button type="button" onClick={() => (setName(null), setError(null))}>{say.app.cancel}</button>
      </div>
    </form>
  );
}

// Examples in a grid: select some, then give them another label or forget them.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { collectionName, hueOf } from "../state/collections";
import { forget, leaving } from "../state/forgetting";
import { relabel, type Example } from "../state/relabelling";
import { may } from "../state/session";
import { say } from "../strings";
import { ChooseLabel } from "./choose-label";
import { PictureGrid } from "./grid";
import { Icon } from "./icon";
import { ProblemNote } from "./problem";
import { Thumb } from "./thumb";

interface Props<Item extends Example> {
  examples: readonly Item[];
  label: string;
  /** What stands on each picture. */
  note?: (example: Item) => string;
  /** What can be done while nothing is selected. */
  children?: ComponentChildren;
  onGone?: (ids: string[]) => void;
}

export function ExamplesGrid<Item extends Example>({ examples, label, note, children, onGone }: Props<Item>) {
  const [picked, setPicked] = useState<ReadonlySet<string>>(new Set());
  const [naming, setNaming] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const shown = examples.filter((example) => !leaving.value.has(example.id));
  const chosen = shown.filter((example) => picked.has(example.id));
  const toggle = (range: Item[]) => {
    const next = new Set(picked);
    const [only] = range;
    if (range.length === 1 && only && next.has(only.id)) next.delete(only.id);
    else for (const example of range) next.add(example.id);
    setPicked(next);
  };
  const move = async (name: string) => {
    try {
      await relabel(collectionName.value, chosen, name);
      onGone?.(chosen.map((example) => example.id));
      setPicked(new Set());
      setNaming(false);
      setError(null);
    } catch (problem) {
      setError(problem);
    }
  };
  const drop = () => {
    forget(collectionName.value, chosen, say.teach.forgot(chosen.length));
    onGone?.(chosen.map((example) => example.id));
    setPicked(new Set());
  };
  return (
    <>
      {may("learn") && (
        <div class="row">
          <span class="soft grow" role="status">{chosen.length ? say.grid.selected(chosen.length) : say.teach.pick}</span>
          {chosen.length > 0 && <button type="button" aria-expanded={naming} onClick={() => setNaming(!naming)}><Icon name="pencil" />{say.teach.move}</button>}
          {chosen.length > 0 ? <button type="button" class="danger" onClick={drop}><Icon name="trash" />{say.teach.forgetPicked(chosen.length)}</button> : children}
        </div>
      )}
      {naming && chosen.length > 0 && <div class="stack"><ChooseLabel action={say.teach.moveIt} onName={(name) => void move(name)} /></div>}
      {error !== null && <ProblemNote error={error} />}
      <PictureGrid
        items={shown} keyOf={(example) => example.id} label={label} selected={picked} onSelect={may("learn") ? (_, range) => toggle(range) : undefined}
        nameOf={(example) => say.teach.picture(example.label, shown.indexOf(example) + 1)}
        render={(example) => (
          <>
            <Thumb path={example.image} size={256} alt="" />
            {note && <span class="cell-note" data-hue={hueOf(example.label)} dir="auto">{note(example)}</span>}
          </>
        )}
      />
    </>
  );
}

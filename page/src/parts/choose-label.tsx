// A field for a label and, below it, those there are.
import { useState } from "preact/hooks";
import { hueOf, labels } from "../state/collections";
import { say } from "../strings";

const MAX_LABELS = 24;

export function ChooseLabel({ guess = "", action, onName }: { guess?: string; action: string; onName: (label: string) => void }) {
  const [typed, setTyped] = useState<string | null>(null);
  const name = typed ?? guess; // what was typed stays while more pictures come
  const all = labels.value.map((info) => info.label);
  const matching = all.filter((label) => label.toLowerCase().includes(name.trim().toLowerCase()));
  const offered = (matching.length ? matching : all).slice(0, MAX_LABELS);
  return (
    <>
      <form
        class="row" onSubmit={(event) => {
          event.preventDefault();
          if (name.trim()) onName(name.trim());
        }}
      >
        <label class="grow">
          <span class="unseen">{say.nameIt.field}</span>
          <input
            value={name} autofocus required placeholder={say.nameIt.field}
            onFocus={({ currentTarget }) => currentTarget.value === guess && currentTarget.select()} // typing replaces a guess
            onInput={(event) => setTyped(event.currentTarget.value)}
          />
        </label>
        <button type="submit" class="primary">{action}</button>
      </form>
      {offered.length > 0 && (
        <div class="chips" role="group" aria-label={say.nameIt.known}>
          {offered.map((label) => (
            <button type="button" key={label} class="chip" dir="auto" data-hue={hueOf(label)} onClick={() => onName(label)}>{label}</button>
          ))}
        </div>
      )}
    </>
  );
}

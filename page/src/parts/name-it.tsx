// "What is this?": the pictures, the labels there are, and a field for a new one.
import { useEffect, useState } from "preact/hooks";
import { hueOf, labels } from "../state/collections";
import { say } from "../strings";
import { Dialog } from "./dialog";

const MAX_SHOWN = 6;
const MAX_LABELS = 24;

/** A name for a label out of a file's name: `mug-3.jpg` is probably a mug; a camera's number is nothing. */
export function guessLabel(files: File[]): string {
  const stems = files.map((file) =>
    file.name.replace(/\.\w+$/, "").replace(/[\s_-]*\(?\d+\)?$/, "").replaceAll(/[_\s]+/g, " ").trim().toLowerCase(),
  );
  const first = stems[0] ?? "";
  const isCamera = /^(img|dsc|dscn|pxl|image|picture|photo|screenshot|camera|unnamed|download|pasted)\b/.test(first) || !/\p{L}{2}/u.test(first) || first.length > 40;
  return stems.every((stem) => stem === first) && !isCamera ? first : "";
}

export function NameIt({ files, onName, onClose, title }: { files: File[] | null; onName: (label: string) => void; onClose: () => void; title?: string }) {
  const [name, setName] = useState("");
  const [urls, setUrls] = useState<string[]>([]);
  useEffect(() => {
    if (!files) return;
    setName(guessLabel(files));
    const made = files.slice(0, MAX_SHOWN).map((file) => URL.createObjectURL(file));
    setUrls(made);
    return () => made.forEach((url) => URL.revokeObjectURL(url));
  }, [files]);
  const known = labels.value.map((one) => one.label).filter((label) => !name || label.toLowerCase().includes(name.toLowerCase())).slice(0, MAX_LABELS);
  const offered = known.length ? known : labels.value.map((one) => one.label).slice(0, MAX_LABELS);
  return (
    <Dialog open={files !== null} title={title ?? say.nameIt.title(files?.length ?? 1)} onClose={onClose} sheet>
      <div class="name-it-pictures">
        {urls.map((url) => <img key={url} src={url} alt="" />)}
        {(files?.length ?? 0) > MAX_SHOWN && <span class="soft">{say.nameIt.others((files?.length ?? 0) - MAX_SHOWN)}</span>}
      </div>
      <form
        class="row" onSubmit={(event) => {
          event.preventDefault();
          if (name.trim()) onName(name.trim());
        }}
      >
        <label class="grow">
          <span class="unseen">{say.nameIt.field}</span>
          <input value={name} autofocus required placeholder={say.nameIt.field} onInput={(event) => setName(event.currentTarget.value)} />
        </label>
        <button type="submit" class="primary">{say.nameIt.teach}</button>
      </form>
      {offered.length > 0 && (
        <div class="chips" role="group" aria-label={say.nameIt.known}>
          {offered.map((label) => (
            <button type="button" key={label} class="chip" dir="auto" data-hue={hueOf(label)} onClick={() => onName(label)}>{label}</button>
          ))}
        </div>
      )}
    </Dialog>
  );
}

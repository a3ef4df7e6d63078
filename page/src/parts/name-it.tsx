// "What is this?": the pictures, the labels there are, and a field for a new one.
import { useEffect, useState } from "preact/hooks";
import { release } from "../state/object-url";
import { say } from "../strings";
import { ChooseLabel } from "./choose-label";
import { Dialog } from "./dialog";
import { FilePicture } from "./file-picture";

const MAX_SHOWN = 6;

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
  const [urls, setUrls] = useState<string[]>([]);
  useEffect(() => {
    if (!files) return;
    const made = files.slice(0, MAX_SHOWN).map((file) => URL.createObjectURL(file));
    setUrls(made);
    return () => made.forEach(release);
  }, [files]);
  const guess = files ? guessLabel(files) : "";
  return (
    <Dialog open={files !== null} title={title ?? say.nameIt.title(files?.length ?? 1)} onClose={onClose} sheet>
      <div class="name-it-pictures">
        {urls.map((url) => <FilePicture key={url} url={url} alt="" />)}
        {(files?.length ?? 0) > MAX_SHOWN && <span class="soft">{say.nameIt.others((files?.length ?? 0) - MAX_SHOWN)}</span>}
      </div>
      {files && <ChooseLabel guess={guess} action={say.nameIt.teach} onName={onName} />}
    </Dialog>
  );
}

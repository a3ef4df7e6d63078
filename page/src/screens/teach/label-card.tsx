// One label: its name, its pictures, and every way to add more.
import { useEffect, useRef, useState } from "preact/hooks";
import { call } from "../../api/client";
import type { ExampleInfo, LabelInfo } from "../../api/schema";
import { FilePicture } from "../../parts/file-picture";
import { Icon } from "../../parts/icon";
import { ProblemNote } from "../../parts/problem";
import { Record } from "../../parts/record";
import { Thumb } from "../../parts/thumb";
import { Choose, useDrop } from "../../parts/ways-in";
import { cameraOn } from "../../state/camera";
import { changes, collectionName, hueOf } from "../../state/collections";
import { countLeaving, leaving } from "../../state/forgetting";
import { cardReadings, dismiss, Recording, retry, teach, uploads, type Upload } from "../../state/teaching";
import { say } from "../../strings";
import { LabelName, LabelPictures } from "./label-pictures";

const SHOWN = 8;
/** Pictures on their way that are drawn: each is a whole photo in memory. */
const MAX_COMING = 12;
const FEW = 3;

export function LabelCard({ label: { label, examples } }: { label: LabelInfo }) {
  const [newest, setNewest] = useState<ExampleInfo[]>([]);
  const [open, setOpen] = useState(false);
  const recording = useRef(new Recording());
  const collection = collectionName.value;
  useEffect(() => {
    if (!examples) return;
    const stop = new AbortController();
    const reading = { collection, label };
    cardReadings.add(reading);
    const arrived = uploads.value.filter((upload) => upload.label === label && upload.collection === collection && upload.example !== null);
    call("GET /v1/collections/{collection}/examples", { path: { collection }, query: { label, limit: SHOWN }, signal: stop.signal }).then(
      (page) => (setNewest(page.data), arrived.forEach(dismiss)),
      () => undefined,
    ).finally(() => cardReadings.delete(reading));
    return () => stop.abort();
  }, [collection, label, examples, changes.value]);
  const add = (files: File[]) => void teach(label, files);
  const { over, handlers } = useDrop((given) => add(given.map((picture) => picture.file)));
  const coming = uploads.value.filter((upload) => upload.label === label && upload.collection === collection);
  const here = newest.filter((example) => !leaving.value.has(example.id));
  const gone = countLeaving(collection, label);
  const count = Math.max(0, examples - gone);
  if (!count && !coming.length && gone) return null;
  // one that arrived stands as an example, as soon as that is read
  const onTheirWay = coming.filter((upload) => upload.error === null && !here.some((example) => example.id === upload.example));
  const shown = here.slice(0, count > SHOWN ? SHOWN - 1 : SHOWN);
  return (
    <section class="card label-card" data-hue={hueOf(label)} data-over={over} aria-label={label} {...handlers}>
      <header>
        {count > 0 ? <LabelName label={label} /> : <h2 dir="auto">{label}</h2>}
        <span class="count">{count}</span>
        <Choose class="quiet square" aria-label={say.teach.add(label)} onGiven={(given) => add(given.map((picture) => picture.file))}>
          <Icon name="plus" />
        </Choose>
      </header>
      <div class="label-pictures">
        {shown.map((example, at) => (
          <button type="button" key={example.id} class="picture" aria-label={say.teach.picture(label, at + 1)} onClick={() => setOpen(true)}>
            <Thumb path={example.image} size={160} alt="" />
          </button>
        ))}
        {count > SHOWN && (
          <button type="button" class="picture rest" aria-label={say.teach.open(label, count)} onClick={() => setOpen(true)}>
            {say.teach.more(count - shown.length)}
          </button>
        )}
        {onTheirWay.slice(0, MAX_COMING).map((upload) => <Coming key={upload.id} upload={upload} />)}
      </div>
      {onTheirWay.length > MAX_COMING && <p class="soft hint" role="status">{say.teach.onTheirWay(onTheirWay.length)}</p>}
      {coming.filter((upload) => upload.error !== null).map((upload) => <Refused key={upload.id} upload={upload} />)}
      {count > 0 && count < FEW && !coming.length && <p class="soft hint">{say.teach.few}</p>}
      {cameraOn.value && <Record label={say.teach.record(label)} onPicture={(file) => recording.current.take(label, file)} onEnd={() => void recording.current.end(label)} />}
      <LabelPictures label={label} count={count} open={open} onClose={() => setOpen(false)} />
    </section>
  );
}

function Coming({ upload }: { upload: Upload }) {
  return (
    <span class="picture coming">
      <FilePicture url={upload.url} alt="" />
      <progress value={upload.share} max={1} aria-label={say.teach.sending(upload.file.name)} />
    </span>
  );
}

function Refused({ upload }: { upload: Upload }) {
  return (
    <div class="refused">
      <FilePicture url={upload.url} alt="" />
      <div>
        <strong class="file-name" dir="auto">{say.teach.refused(upload.file.name)}</strong>
        <ProblemNote error={upload.error} compact />
        <div class="row">
          <button type="button" class="quiet" onClick={() => retry(upload)}>{say.app.again}</button>
          <button type="button" class="quiet" onClick={() => dismiss(upload)}>{say.teach.dismiss}</button>
        </div>
      </div>
    </div>
  );
}

// Teach: a card for each label, every way in for pictures, and beside it what the service makes of one.
import { useEffect, useState } from "preact/hooks";
import { CollectionPicker } from "../../parts/collection-picker";
import { FinderButton } from "../../parts/finder";
import { NameIt } from "../../parts/name-it";
import { ProblemNote } from "../../parts/problem";
import { ShowCall } from "../../parts/show-call";
import { useDrop, usePaste } from "../../parts/ways-in";
import { cameraOn } from "../../state/camera";
import { collectionName, labels, refresh } from "../../state/collections";
import type { InputFile } from "../../state/pictures";
import { teach, teachFolders, uploads } from "../../state/teaching";
import { say } from "../../strings";
import { Hero, SampleStrip } from "./samples";
import { Hints } from "./hints";
import { LabelCard } from "./label-card";
import { NewLabel } from "./new-label";
import { Preview } from "./preview";
import "./teach.css";

const MAX_CARDS = 60;
const FILTER_FROM = 12;

export function Teach() {
  const [unnamed, setUnnamed] = useState<File[] | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [ready, setReady] = useState(false);
  const [wanted, setWanted] = useState("");
  const [limit, setLimit] = useState(MAX_CARDS);
  const load = () => refresh(true).then(() => (setReady(true), setError(null)), setError);
  useEffect(() => void load(), [collectionName.value]);
  useEffect(() => () => void (cameraOn.value = false), []);
  // what comes while the name is asked for gets the same one
  const askName = (files: File[]) => setUnnamed((before) => [...(before ?? []), ...files]);
  const take = (given: InputFile[]) => {
    const folders = new Map<string, File[]>();
    for (const { folder, file } of given) if (folder) folders.set(folder, [...(folders.get(folder) ?? []), file]);
    void teachFolders(folders);
    const loose = given.filter((picture) => !picture.folder).map((picture) => picture.file);
    if (loose.length) askName(loose);
  };
  const { over, handlers } = useDrop(take);
  usePaste(take);

  const coming = uploads.value.filter((upload) => upload.collection === collectionName.value).map((upload) => upload.label);
  const known = labels.value.map((label) => label.label);
  const all = [...labels.value, ...[...new Set(coming)].filter((label) => !known.includes(label)).map((label) => ({ label, description: "", examples: 0 }))];
  const matching = all.filter((label) => label.label.toLowerCase().includes(wanted.toLowerCase()));
  const total = labels.value.reduce((sum, label) => sum + label.examples, 0);
  return (
    <div class="teach droppable" data-over={over} {...handlers}>
      <header class="screen-head">
        <h1>{say.teach.title}</h1>
        <CollectionPicker />
        {total > 0 && <span class="soft">{say.teach.summary(labels.value.length, total)}</span>}
        <FinderButton />
        <ShowCall />
      </header>
      {error !== null && <ProblemNote error={error} onRetry={() => void load()} />}
      {ready && all.length === 0 && <Hero />}
      <Hints />
      <div class="teach-columns">
        <div class="stack">
          {all.length > FILTER_FROM && (
            <input type="search" aria-label={say.teach.filter} placeholder={say.teach.filter} value={wanted} onInput={(event) => setWanted(event.currentTarget.value)} />
          )}
          <div class="label-cards">
            {matching.slice(0, limit).map((label) => <LabelCard key={label.label} label={label} />)}
            <NewLabel onGiven={take} onUnnamed={askName} />
          </div>
          {matching.length > limit && (
            <button type="button" onClick={() => setLimit(limit + MAX_CARDS)}>{say.teach.showMore(Math.min(MAX_CARDS, matching.length - limit))}</button>
          )}
          {ready && <SampleStrip />}
        </div>
        <Preview />
      </div>
      <NameIt
        files={unnamed} onClose={() => setUnnamed(null)}
        onName={(label) => {
          void teach(label, unnamed ?? []);
          setUnnamed(null);
        }}
      />
    </div>
  );
}


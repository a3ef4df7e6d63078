// Try: one picture, the camera or many files, and what the service says of them.
import { signal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { CollectionPicker } from "../../parts/collection-picker";
import { FinderButton } from "../../parts/finder";
import { ShowCall } from "../../parts/show-call";
import { useDrop, usePaste } from "../../parts/ways-in";
import { cameraOn } from "../../state/camera";
import { refresh } from "../../state/collections";
import type { InputFile } from "../../state/pictures";
import { say } from "../../strings";
import { Controls } from "./controls";
import { Many } from "./many";
import { Single } from "./single";
import "./try.css";

/** The files asked about; they stay while another screen is open. */
const files = signal<File[]>([]);
const opened = signal<File | null>(null);

export function Try() {
  const [ownLabels, setOwnLabels] = useState<string[] | null>(null);
  const [threshold, setThreshold] = useState<number | null>(null);
  useEffect(() => {
    void refresh().catch(() => undefined);
    return () => void (cameraOn.value = false);
  }, []);
  const take = (given: InputFile[]) => {
    if (!given.length) return;
    cameraOn.value = false;
    opened.value = null;
    files.value = given.map((picture) => picture.file);
  };
  const { over, handlers } = useDrop(take);
  usePaste(take);
  const many = files.value.length > 1;
  const single = many ? opened.value : (files.value[0] ?? null);
  return (
    <div class="try droppable" data-over={over} {...handlers}>
      <header class="screen-head">
        <h1>{say.try.title}</h1>
        <CollectionPicker />
        <FinderButton />
        <ShowCall />
      </header>
      <Controls ownLabels={ownLabels} onOwnLabels={setOwnLabels} threshold={threshold} onThreshold={setThreshold} />
      {many && <Many files={files.value} hidden={opened.value !== null && !cameraOn.value} ownLabels={ownLabels} threshold={threshold} onOpen={(file) => (opened.value = file)} onGiven={take} />}
      {(!many || opened.value || cameraOn.value) && (
        <Single file={single} ownLabels={ownLabels} threshold={threshold} onGiven={take} onBack={many ? () => (opened.value = null) : undefined} />
      )}
    </div>
  );
}

// The card for the next label: drop, choose, a folder, the camera.
import { useRef, useState } from "preact/hooks";
import { hasCamera } from "../../parts/camera";
import { Icon } from "../../parts/icon";
import { Record } from "../../parts/record";
import { Choose, useDrop } from "../../parts/ways-in";
import { cameraOn } from "../../state/camera";
import type { InputFile } from "../../state/pictures";
import { Recording, teach } from "../../state/teaching";
import { say } from "../../strings";

export function NewLabel({ onGiven, onUnnamed }: { onGiven: (given: InputFile[]) => void; onUnnamed: (files: File[]) => void }) {
  const [name, setName] = useState("");
  const recording = useRef(new Recording());
  const take = (given: InputFile[]) => {
    const label = name.trim();
    if (!label || given.some((picture) => picture.folder)) return onGiven(given);
    void teach(label, given.map((picture) => picture.file));
    setName("");
  };
  const { over, handlers } = useDrop(take);
  return (
    <section class="new-label drop-zone" data-over={over} aria-label={say.teach.newLabel} {...handlers}>
      <Choose onGiven={take} class="drop-target">
        <Icon name="picture" />
        <strong>{say.teach.newLabel}</strong>
        <span class="soft">{say.teach.newLead}</span>
      </Choose>
      <div class="row">
        <Choose folder onGiven={take} class="quiet"><Icon name="folder" />{say.ways.chooseFolder}</Choose>
        {hasCamera() ? (
          <button type="button" class="quiet" aria-pressed={cameraOn.value} onClick={() => (cameraOn.value = !cameraOn.value)}>
            <Icon name="camera" />
            {cameraOn.value ? say.ways.stopCamera : say.ways.camera}
          </button>
        ) : (
          <Choose photo onGiven={(given) => onUnnamed(given.map((picture) => picture.file))} class="quiet"><Icon name="camera" />{say.ways.takePhoto}</Choose>
        )}
      </div>
      {!hasCamera() && <p class="soft hint">{say.ways.insecureCamera}</p>}
      {cameraOn.value && (
        <div class="stack">
          <label><span class="unseen">{say.nameIt.field}</span><input value={name} placeholder={say.nameIt.field} onInput={(event) => setName(event.currentTarget.value)} /></label>
          <Record label={say.teach.newHold} disabled={!name.trim()} onPicture={(file) => recording.current.take(name.trim(), file)} onEnd={() => void recording.current.end(name.trim())} />
        </div>
      )}
    </section>
  );
}

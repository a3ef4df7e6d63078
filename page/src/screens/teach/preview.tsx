// What the service makes of a picture or of the camera, at once and again after each thing it is taught.
import { useEffect, useRef, useState } from "preact/hooks";
import { isAbort, Problem } from "../../api/problems";
import { Answer } from "../../parts/answer";
import { Camera, hasCamera } from "../../parts/camera";
import { FilePicture } from "../../parts/file-picture";
import { Icon } from "../../parts/icon";
import { ProblemNote } from "../../parts/problem";
import { Choose, useDrop } from "../../parts/ways-in";
import { cameraOn, cameraVideo } from "../../state/camera";
import { changes, collection, collectionName, labels } from "../../state/collections";
import { classify, type Prediction } from "../../state/classifying";
import { useObjectUrl } from "../../state/object-url";
import type { InputFile } from "../../state/pictures";
import { lastTaught } from "../../state/teaching";
import { watch } from "../../state/watching";
import { say } from "../../strings";
import { SAMPLES, sampleUrl, withSample } from "./samples";

const NEAREST = 3;

export function Preview() {
  const [picture, setPicture] = useState<File | null>(null);
  const [prediction, setPrediction] = useState<Prediction | null>(null);
  const [error, setError] = useState<unknown>(null);
  const place = useRef<HTMLElement>(null);
  const shown = picture ?? lastTaught.value;
  const url = useObjectUrl(shown);
  const can = collection.value !== null && labels.value.length > 0;

  useEffect(() => {
    setPrediction(null);
    setError(null);
    setPicture(null);
    lastTaught.value = null;
  }, [collectionName.value]);
  useEffect(() => {
    if (!can || cameraOn.value || !shown) return;
    const stop = new AbortController();
    classify(shown, { collection: collectionName.value, nearest: NEAREST, signal: stop.signal, showCall: picture !== null }).then(
      (found) => (setPrediction(found), setError(null)),
      (problem: unknown) => isAbort(problem) || (setPrediction(null), setError(problem)),
    );
    return () => stop.abort();
  }, [shown, changes.value, can, cameraOn.value]);
  useEffect(() => {
    if (!can || !cameraOn.value) return;
    const stop = new AbortController();
    void watch(NEAREST, stop.signal, (found) => (setPrediction(found), setError(null)), setError);
    return () => stop.abort();
  }, [can, cameraOn.value, collectionName.value]);

  const ask = (given: InputFile[]) => {
    const [first] = given;
    if (!first) return;
    cameraOn.value = false;
    setPicture(first.file);
    place.current?.scrollIntoView({ block: "nearest", behavior: "smooth" });
  };
  const { over, handlers } = useDrop(ask);
  const offersSample = !picture && !cameraOn.value && labels.value.length > 1 && labels.value.every((label) => SAMPLES.includes(label.label) && label.examples === 1);
  return (
    <aside ref={place} class="card preview" data-over={over} data-camera={cameraOn.value} data-asks={can} aria-label={say.preview.title} {...handlers}>
      <h2>{say.preview.title}</h2>
      {cameraOn.value ? <Camera video={cameraVideo} /> : shown && url ? <FilePicture class="preview-picture" url={url} alt={say.preview.picture} /> : <p class="preview-empty soft"><Icon name="try" />{can ? say.preview.lead : say.preview.teachFirst}</p>}
      {error !== null && !(error instanceof Problem && error.code === "empty_collection") && <ProblemNote error={error} />}
      {prediction && can && <Answer prediction={prediction} live />}
      {prediction && labels.value.length === 1 && <p class="soft">{say.preview.oneLabel}</p>}
      {offersSample && (
        <button type="button" class="ask-sample" onClick={() => void withSample("other-mug", setPicture)}>
          <img src={sampleUrl("other-mug")} alt="" width={56} height={56} />
          {say.preview.sample}
        </button>
      )}
      {can && (
        <div class="row">
          <Choose single onGiven={ask} class="grow"><Icon name="picture" />{say.preview.choose}</Choose>
          {hasCamera() && (
            <button type="button" class="camera-switch" aria-pressed={cameraOn.value} aria-label={cameraOn.value ? say.ways.stopCamera : say.ways.startCamera} onClick={() => (cameraOn.value = !cameraOn.value)}>
              <Icon name="camera" />
              {cameraOn.value && say.ways.stopCamera}
            </button>
          )}
        </div>
      )}
    </aside>
  );
}

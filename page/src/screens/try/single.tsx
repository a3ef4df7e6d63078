// One picture, or the camera: what it shows, why, and the way to put it right.
import { useEffect, useState } from "preact/hooks";
import { isAbort, Problem } from "../../api/problems";
import { Answer } from "../../parts/answer";
import { Camera, hasCamera } from "../../parts/camera";
import { Icon } from "../../parts/icon";
import { NameIt } from "../../parts/name-it";
import { ProblemNote } from "../../parts/problem";
import { Progress } from "../../parts/progress";
import { Choose, DropZone } from "../../parts/ways-in";
import { hrefOf } from "../../router";
import { cameraOn, cameraVideo } from "../../state/camera";
import { classify, type Told } from "../../state/classifying";
import { changes, collectionName, hueOf, labels } from "../../state/collections";
import { useObjectUrl } from "../../state/object-url";
import type { Given } from "../../state/pictures";
import { may } from "../../state/session";
import { teach } from "../../state/teaching";
import { watch } from "../../state/watching";
import { say } from "../../strings";

const NEAREST = 5;
const MAX_OFFERED = 8;

interface Props {
  file: File | null;
  ownLabels: string[] | null;
  threshold: number | null;
  onGiven: (given: Given[]) => void;
  onBack?: () => void;
}

export function Single({ file, ownLabels, threshold, onGiven, onBack }: Props) {
  const [told, setTold] = useState<Told | null>(null);
  const [frame, setFrame] = useState<File | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const [attempt, setAttempt] = useState(0);
  const url = useObjectUrl(file);
  const [naming, setNaming] = useState<File[] | null>(null);
  const live = cameraOn.value;
  const own = ownLabels ?? undefined;

  useEffect(() => {
    setTold(null);
    setError(null);
  }, [file, live]);
  useEffect(() => {
    if (!file || live) return;
    const stop = new AbortController();
    setBusy(true);
    classify(file, { collection: collectionName.value, labels: own, threshold, nearest: NEAREST, signal: stop.signal, shown: true }).then(
      (found) => (setTold(found), setError(null), setBusy(false)),
      (problem: unknown) => isAbort(problem) || (setTold(null), setError(problem), setBusy(false)),
    );
    return () => stop.abort();
    // a threshold alone asks nothing again: what it would reject is known
  }, [file, live, ownLabels, changes.value, attempt]);
  useEffect(() => {
    if (!live) return;
    const stop = new AbortController();
    void watch(NEAREST, stop.signal, (found, seen) => (setTold(found), setFrame(seen), setError(null)), setError, own);
    return () => stop.abort();
  }, [live, ownLabels, collectionName.value]);

  const correct = (label: string, picture: File) => void teach(label, [picture], { replace: true });
  const subject = live ? frame : file;
  const empty = error instanceof Problem && (error.code === "empty_collection" || error.code === "collection_not_found");
  return (
    <div class="try-columns">
      <section class="stage" aria-label={say.try.picture}>
        {live ? <Camera video={cameraVideo} /> : file && url ? <img src={url} alt={say.try.picture} /> : <DropZone onGiven={onGiven} lead={say.try.drop} />}
        <div class="row">
          {onBack && <button type="button" onClick={onBack}><Icon name="undo" />{say.try.table.back}</button>}
          {(file || live) && <Choose onGiven={onGiven}><Icon name="picture" />{say.try.another}</Choose>}
          {hasCamera() ? (
            <button type="button" aria-pressed={live} onClick={() => (cameraOn.value = !live)}><Icon name="camera" />{live ? say.ways.stopCamera : say.ways.camera}</button>
          ) : (
            <Choose photo onGiven={onGiven}><Icon name="camera" />{say.ways.takePhoto}</Choose>
          )}
        </div>
        {!hasCamera() && <p class="soft hint">{say.ways.insecureCamera}</p>}
      </section>
      {(subject || error !== null) && (
        <section class="card said" aria-live={live ? "off" : "polite"} aria-busy={busy}>
          {empty ? (
            <>
              <p>{say.try.nothing}</p>
              {may("learn") && <a class="button" href={hrefOf("teach")}>{say.try.toTeach}</a>}
            </>
          ) : error !== null ? (
            <ProblemNote error={error} onRetry={() => setAttempt(attempt + 1)} />
          ) : told ? (
            <Answer told={told} threshold={threshold} live={live} />
          ) : (
            <Progress label={say.try.looking} />
          )}
          {told && subject && !ownLabels && may("learn") && (
            <div class="correct" role="group" aria-label={say.try.no}>
              <p class="soft">{say.try.no}</p>
              <div class="chips">
                {offered(told).map((label) => (
                  <button type="button" key={label} class="chip" dir="auto" data-hue={hueOf(label)} title={say.try.corrected(label)} onClick={() => correct(label, subject)}>{label}</button>
                ))}
                <button type="button" class="chip other" onClick={() => setNaming([subject])}>{say.try.other}</button>
              </div>
            </div>
          )}
        </section>
      )}
      <NameIt
        files={naming} onClose={() => setNaming(null)}
        onName={(label) => {
          if (naming?.[0]) correct(label, naming[0]);
          setNaming(null);
        }}
      />
    </div>
  );
}

/** The likeliest labels, then others, that the picture was not said to show. */
function offered({ answer }: Told): string[] {
  const likely = answer.scores.map((score) => score.label);
  const others = labels.value.map((one) => one.label).filter((label) => !likely.includes(label));
  return [...likely, ...others].filter((label) => label !== answer.label).slice(0, MAX_OFFERED);
}

// One picture, or the camera: what it shows, why, and the way to put it right.
import { useEffect, useState } from "preact/hooks";
import { isAbort, Problem } from "../../api/problems";
import { Answer, labelOf } from "../../parts/answer";
import { Camera, hasCamera } from "../../parts/camera";
import { FilePicture } from "../../parts/file-picture";
import { Icon } from "../../parts/icon";
import { NameIt } from "../../parts/name-it";
import { ProblemNote } from "../../parts/problem";
import { Progress } from "../../parts/progress";
import { Choose, DropZone } from "../../parts/ways-in";
import { hrefOf } from "../../router";
import { cameraOn, cameraVideo } from "../../state/camera";
import { classify, type Prediction } from "../../state/classifying";
import { changes, collectionName, hueOf, labels } from "../../state/collections";
import { useObjectUrl } from "../../state/object-url";
import { giveFeedback, type Word } from "../../state/feedback";
import type { InputFile } from "../../state/pictures";
import { may } from "../../state/session";
import { watch } from "../../state/watching";
import { say } from "../../strings";
import { useAskedAgain } from "./asked-again";

const NEAREST = 5;
const MAX_OFFERED = 8;

interface Props {
  file: File | null;
  ownLabels: string[] | null;
  threshold: number | null;
  onGiven: (given: InputFile[]) => void;
  onBack?: () => void;
}

export function Single({ file, ownLabels, threshold, onGiven, onBack }: Props) {
  const [prediction, setPrediction] = useState<Prediction | null>(null);
  const [frame, setFrame] = useState<File | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const [attempt, setAttempt] = useState(0);
  const url = useObjectUrl(file);
  const [naming, setNaming] = useState<File[] | null>(null);
  const [giving, setGiving] = useState(false);
  const [refused, setRefused] = useState<unknown>(null);
  const askedAgain = useAskedAgain();
  const live = cameraOn.value;
  const own = ownLabels ?? undefined;

  useEffect(() => {
    setPrediction(null);
    setError(null);
    setRefused(null);
  }, [file, live, collectionName.value]);
  useEffect(() => {
    if (!file || live) return;
    const stop = new AbortController();
    setBusy(true);
    classify(file, { collection: collectionName.value, labels: own, threshold, nearest: NEAREST, signal: stop.signal, showCall: !askedAgain() }).then(
      (found) => (setPrediction(found), setError(null), setBusy(false)),
      (problem: unknown) => isAbort(problem) || (setPrediction(null), setError(problem), setBusy(false)),
    );
    return () => stop.abort();
    // a threshold alone asks nothing again: what it would reject is known
  }, [file, live, ownLabels, collectionName.value, changes.value, attempt]);
  useEffect(() => {
    if (!live) return;
    const stop = new AbortController();
    void watch(NEAREST, stop.signal, (found, seen) => (setPrediction(found), setFrame(seen), setError(null)), setError, own);
    return () => stop.abort();
  }, [live, ownLabels, collectionName.value]);

  const give = async (picture: File, word: Word) => {
    setGiving(true);
    setRefused(null);
    await giveFeedback(picture, word).catch(setRefused);
    setGiving(false);
  };
  const subject = live ? frame : file;
  const empty = error instanceof Problem && (error.code === "empty_collection" || error.code === "collection_not_found");
  return (
    <div class="try-columns">
      <section class="stage" aria-label={say.try.picture}>
        {live ? <Camera video={cameraVideo} /> : file && url ? <FilePicture url={url} alt={say.try.picture} class="stage-picture" /> : <DropZone onGiven={onGiven} lead={say.try.drop} />}
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
          ) : prediction ? (
            <Answer prediction={prediction} threshold={threshold} live={live} />
          ) : (
            <Progress label={say.try.looking} />
          )}
          {prediction && subject && !ownLabels && may("learn") && (
            <Feedback prediction={prediction} threshold={threshold} busy={giving} onWord={(word) => void give(subject, word)} onOther={() => setNaming([subject])} />
          )}
          {refused !== null && <ProblemNote error={refused} />}
        </section>
      )}
      <NameIt
        files={naming} onClose={() => setNaming(null)}
        onName={(label) => {
          if (naming?.[0]) void give(naming[0], { label, replace: true });
          setNaming(null);
        }}
      />
    </div>
  );
}

interface FeedbackProps {
  prediction: Prediction;
  threshold: number | null;
  busy: boolean;
  onWord: (word: Word) => void;
  onOther: () => void;
}

/** Right, or what it is instead: one click each. */
function Feedback({ prediction, threshold, busy, onWord, onOther }: FeedbackProps) {
  const label = labelOf(prediction, threshold);
  return (
    <div class="correct">
      <div>
        <button type="button" class="confirm" disabled={busy} title={label === null ? undefined : say.try.corrected(label)} onClick={() => onWord(label === null ? { none: true } : { label })}>
          <Icon name="check" /><span dir="auto">{label === null ? say.try.yesNone : say.try.yes(label)}</span>
        </button>
      </div>
      <div role="group" aria-label={say.try.no}>
        <p class="soft">{say.try.no}</p>
        <div class="chips">
          {listOffers(prediction, label).map((other) => (
            <button type="button" key={other} class="chip" dir="auto" data-hue={hueOf(other)} disabled={busy} title={say.try.corrected(other)} onClick={() => onWord({ label: other, replace: true })}>{other}</button>
          ))}
          {label !== null && <button type="button" class="chip none" disabled={busy} onClick={() => onWord({ none: true })}>{say.scores.none}</button>}
          <button type="button" class="chip other" disabled={busy} onClick={onOther}>{say.try.other}</button>
        </div>
      </div>
    </div>
  );
}

/** The likeliest labels, then others, that the picture was not said to show. */
function listOffers({ answer }: Prediction, predicted: string | null): string[] {
  const likely = answer.scores.map((score) => score.label);
  const others = labels.value.map((info) => info.label).filter((label) => !likely.includes(label));
  return [...likely, ...others].filter((label) => label !== predicted).slice(0, MAX_OFFERED);
}

// Ask: a picture stays in view, a question is answered word by word, a wrong answer is taught right.
import { useEffect, useRef, useState } from "preact/hooks";
import type { AnswerReply } from "../api/schema";
import { useShortcuts } from "../keyboard";
import { Camera, hasCamera, takeFrame } from "../parts/camera";
import { CollectionPicker } from "../parts/collection-picker";
import { FilePicture } from "../parts/file-picture";
import { Icon } from "../parts/icon";
import { useOneAtATime } from "../parts/one-at-a-time";
import { ProblemNote } from "../parts/problem";
import { ShowCall } from "../parts/show-call";
import { Thumb } from "../parts/thumb";
import { tell } from "../parts/toast";
import { Choose, DropZone, useDrop, usePaste } from "../parts/ways-in";
import { ask, canAnswer, chosenModel, correct, currentModel, loadModels, picture, running, show, stop, turns, usesTaught, vlms, type Turn } from "../state/asking";
import { collection, collectionName, refresh } from "../state/collections";
import type { InputFile } from "../state/pictures";
import { may } from "../state/session";
import { say } from "../strings";

const SPOKEN_EVERY_MS = 1000;

export function Ask() {
  const [error, setError] = useState<unknown>(null);
  const look = () => void Promise.all([loadModels(), refresh()]).then(() => setError(null), setError);
  useEffect(look, []);
  return (
    <>
      <header class="screen-head">
        <h1>{say.ask.title}</h1>
        <CollectionPicker />
        <ShowCall />
      </header>
      {error !== null && <ProblemNote error={error} onRetry={look} />}
      <div class="ask">
        <InView />
        <section class="stack ask-talk" aria-label={say.ask.answers}>
          <Question />
          <Spoken />
          {turns.value.map((turn) => <Answer key={turn.id} turn={turn} />)}
        </section>
      </div>
    </>
  );
}

function InView() {
  const [filming, setFilming] = useState(false);
  const video = useRef<HTMLVideoElement>(null);
  const take = (given: InputFile[]) => {
    const first = given[0];
    if (!first) return;
    setFilming(false);
    show(first.file);
  };
  const { over, handlers } = useDrop(take);
  usePaste(take);
  const shoot = async () => {
    const frame = await takeFrame(video.current);
    if (frame) take([{ file: frame, folder: null }]);
  };
  const camera = hasCamera() ? (
    <button type="button" aria-pressed={filming} onClick={() => setFilming(!filming)}><Icon name="camera" />{filming ? say.ways.stopCamera : say.ways.startCamera}</button>
  ) : (
    <Choose onGiven={take} photo><Icon name="camera" />{say.ways.takePhoto}</Choose>
  );
  return (
    <section class="stack ask-picture" aria-label={say.ask.picture}>
      {filming && (
        <Camera video={video}>
          <button type="button" class="primary shoot" onClick={() => void shoot()}>{say.ways.takePhoto}</button>
        </Camera>
      )}
      {!filming && !picture.value && <DropZone onGiven={take} lead={say.ask.drop} single />}
      {!filming && picture.value && (
        <div class="ask-shown droppable" data-over={over} {...handlers}>
          <FilePicture url={picture.value.url} alt={say.ask.pictureAlt(picture.value.file.name)} />
        </div>
      )}
      <div class="row">
        {picture.value && <Choose onGiven={take} single><Icon name="picture" />{say.ask.other}</Choose>}
        {camera}
      </div>
    </section>
  );
}

function Question() {
  const [question, setQuestion] = useState("");
  const field = useRef<HTMLInputElement>(null);
  const model = currentModel.value;
  const busy = running.value !== null;
  useShortcuts([{ keys: "/", does: say.ask.toQuestion, run: () => field.current?.focus() }]);
  const send = (event: Event) => {
    event.preventDefault();
    if (!question.trim()) return;
    if (matchMedia("(pointer: coarse)").matches) field.current?.blur(); // a phone's keyboard would lie over the answer
    void ask("question", question.trim());
  };
  return (
    <form class="card stack" onSubmit={send}>
      {vlms.value.length > 1 && (
        <label>
          {say.ask.model}
          <select value={model?.id} onChange={(event) => (chosenModel.value = event.currentTarget.value)}>
            {vlms.value.map((known) => <option key={known.id} value={known.id}>{known.id}</option>)}
          </select>
        </label>
      )}
      {model?.knows && <p class="note"><Icon name="warning" /><span>{say.ask.knows(model.id, model.knows)}</span></p>}
      <label>
        {say.ask.question}
        <input ref={field} value={question} placeholder={say.ask.example} enterkeyhint="send" onInput={(event) => setQuestion(event.currentTarget.value)} />
      </label>
      {(collection.value?.answers ?? 0) > 0 && (
        <label class="check">
          <input type="checkbox" checked={usesTaught.value} onChange={(event) => (usesTaught.value = event.currentTarget.checked)} />
          <span>{say.ask.useTaught(collection.value?.answers ?? 0, collectionName.value)}</span>
        </label>
      )}
      <div class="row">
        {/* the keys keep them two elements: else the click that stops would submit what the button becomes */}
        {busy ? (
          <button key="stop" type="button" class="primary" onClick={() => (stop(), field.current?.focus())}><Icon name="stop" />{say.ask.stop}</button>
        ) : (
          <button key="ask" type="submit" class="primary" disabled={!picture.value || !question.trim() || !canAnswer(model, "vqa")}>{say.ask.ask}</button>
        )}
        <button type="button" disabled={busy || !picture.value || !canAnswer(model, "caption")} onClick={() => void ask("caption", "")}>{say.ask.caption}</button>
        {!picture.value && <small>{say.ask.pictureFirst}</small>}
      </div>
    </form>
  );
}

/** What a screen reader hears of a streamed answer: at most once a second. */
function Spoken() {
  const [spoken, setSpoken] = useState("");
  const latest = turns.value[0];
  const text = latest ? latest.text : "";
  const last = useRef(0);
  useEffect(() => {
    const wait = Math.max(0, last.current + SPOKEN_EVERY_MS - performance.now());
    const timer = setTimeout(() => {
      last.current = performance.now();
      setSpoken(text);
    }, wait);
    return () => clearTimeout(timer);
  }, [text]);
  return <p class="unseen" aria-live="polite">{spoken}</p>;
}

function Answer({ turn }: { turn: Turn }) {
  const isRunning = turn.state === "waiting" || turn.state === "streaming";
  const place = useRef<HTMLElement>(null);
  useEffect(() => {
    if (isRunning) place.current?.scrollIntoView({ block: "nearest" });
  }, [isRunning, turn.text]);
  const used = turn.reply && "examples_used" in turn.reply ? (turn.reply as AnswerReply).examples_used : [];
  return (
    <article ref={place} class="card stack ask-answer" data-state={turn.state}>
      <h2 dir="auto">{turn.kind === "caption" ? say.ask.captionOf : turn.question}</h2>
      {(turn.text || isRunning) && <p class="ask-text" dir="auto">{turn.text}{isRunning && <span class="caret" aria-hidden="true" />}</p>}
      {turn.state === "stopped" && <p class="soft">{say.ask.stopped}</p>}
      {turn.state === "failed" && <ProblemNote error={turn.error} />}
      {turn.reply?.warnings.map((warning) => <p class="note" key={warning.code}><Icon name="warning" /><span>{warning.sentence}</span></p>)}
      {turn.reply && turn.reply.finish_reason === "length" && <p class="soft">{say.ask.cut}</p>}
      {used.length > 0 && turn.collection && (
        <div>
          <h3>{say.ask.shownToIt}</h3>
          <ul class="ask-used">
            {used.map((example) => (
              <li key={example.id}>
                <Thumb path={`/v1/collections/${encodeURIComponent(turn.collection ?? "")}/answers/${example.id}/image`} size={128} alt={example.question} />
                <span dir="auto">{say.ask.taughtAnswer(example.question, example.answer)}</span>
              </li>
            ))}
          </ul>
        </div>
      )}
      {!isRunning && (
        <div class="row">
          {turn.reply && <small>{say.ask.answeredBy(turn.reply.model, turn.reply.timing_ms.total)}</small>}
          <button type="button" class="quiet" disabled={running.value !== null || turn.picture !== picture.value} onClick={() => void ask(turn.kind, turn.question)}>{say.ask.again}</button>
        </div>
      )}
      {turn.kind === "question" && !isRunning && turn.state !== "failed" && may("learn") && <Correction turn={turn} />}
    </article>
  );
}

function Correction({ turn }: { turn: Turn }) {
  const [open, setOpen] = useState(false);
  const [answer, setAnswer] = useState("");
  const [error, setError] = useState<unknown>(null);
  const place = useRef<HTMLElement | null>(null);
  const field = useRef<HTMLInputElement>(null);
  const wasOpen = useRef(false);
  useEffect(() => {
    if (open) field.current?.focus(); // a browser heeds autofocus once
    else if (wasOpen.current) place.current?.focus(); // the field that had the focus is gone
    wasOpen.current = open;
  }, [open]);
  const teach = useOneAtATime(async () => {
    try {
      const takeBack = await correct(turn, answer.trim());
      setOpen(false);
      tell(say.ask.corrected(answer.trim()), takeBack);
    } catch (problem) {
      setError(problem);
    }
  });
  const hold = (part: HTMLElement | null) => void (place.current = part);
  if (turn.correction !== null) return <p class="soft" dir="auto" tabIndex={-1} ref={hold}><Icon name="check" /> {say.ask.corrected(turn.correction)}</p>;
  if (!open) return <div><button type="button" ref={hold} onClick={() => setOpen(true)}><Icon name="pencil" />{say.ask.correct}</button></div>;
  return (
    <form class="stack" onSubmit={(event) => (event.preventDefault(), teach())}>
      <label>
        {say.ask.rightAnswer}
        <input ref={field} value={answer} required onInput={(event) => setAnswer(event.currentTarget.value)} />
      </label>
      {error !== null && <ProblemNote error={error} />}
      <div class="row">
        <button type="submit" class="primary" disabled={!answer.trim()}>{say.ask.teach(collectionName.value)}</button>
        <button type="button" onClick={() => setOpen(false)}>{say.app.cancel}</button>
      </div>
    </form>
  );
}

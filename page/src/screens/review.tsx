// Review: the pictures that were least sure, one key a label; each decision is taught at once and the rest guessed anew.
import { useEffect, useRef, useState } from "preact/hooks";
import type { ReviewPictureInfo } from "../api/schema";
import { useShortcuts, type Shortcut } from "../keyboard";
import { Chart } from "../parts/chart";
import { ChooseLabel } from "../parts/choose-label";
import { CollectionPicker } from "../parts/collection-picker";
import { Dialog } from "../parts/dialog";
import { PictureGrid } from "../parts/grid";
import { Icon } from "../parts/icon";
import { ProblemNote } from "../parts/problem";
import { Progress } from "../parts/progress";
import { ShowCall } from "../parts/show-call";
import { Thumb } from "../parts/thumb";
import { tell } from "../parts/toast";
import { hrefOf } from "../router";
import { changes, collection, collectionName, hueOf, isKnown, refresh } from "../state/collections";
import { canUndo, decide, keepPictures, loadQueue, order, sending, stats, undo, waitingPictures, type Decision, type Order } from "../state/reviewing";
import { may } from "../state/session";
import { say } from "../strings";

const MAX_GUESSES = 9;

export function Review() {
  const [error, setError] = useState<unknown>(null);
  const [unread, setUnread] = useState<unknown>(null); // apart: a look that succeeds does not take back that a decision failed
  const [grid, setGrid] = useState(false);
  const load = () => void loadQueue().then(() => setUnread(null), setUnread);
  const lookAgain = () => (setError(null), void refresh().then(load, setUnread));
  const problem = error ?? unread;
  useEffect(() => void refresh().catch(setUnread), []);
  useEffect(() => setError(null), [collectionName.value]);
  useEffect(load, [changes.value, order.value, collectionName.value]);
  useEffect(() => {
    // another tab may have decided something that taught nothing, so that the collection's version stays
    addEventListener("focus", load);
    return () => removeEventListener("focus", load);
  }, []);
  const act = async (ids: string[], decision: Decision): Promise<boolean> => {
    setError(null);
    try {
      await decide(ids, decision);
      return true;
    } catch (problem) {
      setError(problem);
      return false;
    }
  };
  const isOn = Boolean(collection.value?.review);
  return (
    <>
      <header class="screen-head">
        <h1>{say.review.title}</h1>
        <CollectionPicker />
        {isOn && <Controls grid={grid} onGrid={setGrid} />}
        <ShowCall />
      </header>
      {problem !== null && <ProblemNote error={problem} onRetry={lookAgain} />}
      {!isKnown.value ? problem === null && <Progress label={say.app.loading} /> : !isOn ? <Off onError={setError} /> : waitingPictures.value === null ? problem === null && <Progress label={say.app.loading} /> : waitingPictures.value.length === 0 ? <Nothing onError={setError} /> : grid ? <Many onDecide={act} onError={setError} /> : <OneByOne onDecide={act} onError={setError} />}
      {isOn && <Agreement />}
      {isOn && may("learn") && <Kept onError={setError} />}
    </>
  );
}

function Controls({ grid, onGrid }: { grid: boolean; onGrid: (grid: boolean) => void }) {
  return (
    <>
      <label class="inline">
        {say.review.order}
        <select value={order.value} onChange={(event) => (order.value = event.currentTarget.value as Order)}>
          <option value="margin">{say.review.leastSure}</option>
          <option value="newest">{say.review.newest}</option>
        </select>
      </label>
      <button type="button" aria-pressed={grid} onClick={() => onGrid(!grid)}><Icon name="grid" />{say.review.grid}</button>
    </>
  );
}

function Left() {
  const figures = stats.value;
  return (
    <p class="review-left" role="status">
      <strong>{say.review.left(waitingPictures.value?.length ?? 0)}</strong>
      {sending.value > 0 && <span>{say.review.saving(sending.value)}</span>}
      {figures && figures.agreement !== null && <span>{say.review.agreement(figures.agreement, figures.decided)}</span>}
    </p>
  );
}

function OneByOne({ onDecide, onError }: { onDecide: (ids: string[], decision: Decision) => Promise<boolean>; onError: (error: unknown) => void }) {
  const [naming, setNaming] = useState(false);
  const picture = waitingPictures.value?.[0];
  const decides = may("learn");
  const guesses = picture?.scores.slice(0, MAX_GUESSES) ?? [];
  const choose = (decision: Decision) => picture && void onDecide([picture.id], decision);
  const confirm = () => picture && (picture.rejected ? choose({ decision: "none" }) : choose({ decision: "right", guess: picture.guess }));
  const takeBack = () => (onError(null), void undo().then((done) => tell(done ? say.review.undone : say.review.nothingToUndo), onError));
  const keys: Shortcut[] = !decides ? [] : [
    ...guesses.map((guess, index) => ({ keys: String(index + 1), does: say.review.itIs(guess.label), run: () => choose({ label: guess.label }) })),
    { keys: "0", does: say.scores.none, run: () => choose({ decision: "none" }) },
    { keys: "Enter", does: say.review.right, run: confirm },
    { keys: "n", does: say.review.newLabel, run: () => setNaming(true) },
    { keys: "s", does: say.review.skip, run: () => choose({ decision: "skip" }) },
    { keys: "u", does: say.app.undo, run: takeBack },
  ];
  useShortcuts(keys, [picture?.id, picture?.scored_version, picture?.guess, guesses.map((guess) => guess.label).join("\n"), decides]);
  if (!picture) return null;
  return (
    <div class="review">
      <figure class="card review-picture"><Thumb key={picture.id} path={picture.image} size={1024} alt={say.review.pictureAlt(picture.guess)} /></figure>
      <section class="stack" aria-label={say.review.what} onClick={leaveButton}>
        <Left />
        <p class="lead">{picture.rejected ? say.review.wasRejected(picture.guess) : say.review.wasGuessed(picture.guess, picture.margin)}</p>
        <ul class="review-guesses">
          {guesses.map((guess, index) => (
            <li key={guess.label}>
              <Choice mark={String(index + 1)} hue={hueOf(guess.label)} onChoose={decides ? () => choose({ label: guess.label }) : undefined} name={guess.label} score={guess.score} />
            </li>
          ))}
          {decides && <li><Choice mark="0" onChoose={() => choose({ decision: "none" })} name={say.scores.none} /></li>}
        </ul>
        {decides ? (
          <div class="row">
            <button type="button" class="primary" onClick={confirm}><kbd>Enter</kbd>{picture.rejected ? say.review.rightNone : say.review.right}</button>
            <button type="button" onClick={() => setNaming(true)}><kbd>N</kbd>{say.review.newLabel}</button>
            <button type="button" onClick={() => choose({ decision: "skip" })}><kbd>S</kbd>{say.review.skip}</button>
            <button type="button" disabled={!canUndo.value} onClick={takeBack}><kbd>U</kbd>{say.app.undo}</button>
          </div>
        ) : <p class="soft">{say.review.onlyReading}</p>}
        <p class="soft">{say.review.asked(picture.created_at)}</p>
      </section>
      <Dialog open={naming} title={say.review.newLabel} onClose={() => setNaming(false)} sheet>
        <ChooseLabel action={say.nameIt.teach} onName={(label) => (setNaming(false), choose({ label }))} />
      </Dialog>
    </div>
  );
}

/** After a click the keys decide again: else Enter would press the button that was clicked, of another picture. */
function leaveButton(event: MouseEvent): void {
  if (event.detail > 0 && document.activeElement instanceof HTMLElement) document.activeElement.blur();
}

/** A guess; without `onChoose` it is only shown. */
function Choice({ mark, name, score, hue, onChoose }: { mark: string; name: string; score?: number; hue?: number; onChoose?: () => void }) {
  const parts = (
    <>
      {onChoose && <kbd>{mark}</kbd>}
      <span class="bar-label" dir="auto">{name}</span>
      {score !== undefined && <span class="bar-score">{say.scores.percent(score)}</span>}
      {score !== undefined && <span class="bar" aria-hidden="true"><span style={{ width: `${Math.max(score * 100, 0.5)}%` }} /></span>}
    </>
  );
  return onChoose ? <button type="button" class="review-choice" data-hue={hue} onClick={onChoose}>{parts}</button> : <div class="review-choice reading" data-hue={hue}>{parts}</div>;
}

function Many({ onDecide, onError }: { onDecide: (ids: string[], decision: Decision) => Promise<boolean>; onError: (error: unknown) => void }) {
  const [selected, setSelected] = useState<ReadonlySet<string>>(new Set());
  const [naming, setNaming] = useState(false);
  const pictures = waitingPictures.value ?? [];
  const ids = pictures.filter((picture) => selected.has(picture.id)).map((picture) => picture.id);
  const last = useRef<string | null>(null);
  const toggle = (picture: ReviewPictureInfo, range: ReviewPictureInfo[]) => {
    const next = new Set(selected);
    if (range.length > 1) range.forEach((between) => next.add(between.id));
    else if (!next.delete(picture.id)) next.add(picture.id);
    last.current = picture.id;
    setSelected(next);
  };
  const act = (decision: Decision) => void onDecide(ids, decision).then((done) => done && setSelected(new Set()));
  const takeBack = () => (onError(null), void undo().catch(onError));
  useShortcuts([
    { keys: "n", does: say.review.labelThem, run: () => ids.length > 0 && setNaming(true) },
    { keys: "0", does: say.scores.none, run: () => ids.length > 0 && act({ decision: "none" }) },
    { keys: "s", does: say.review.skip, run: () => ids.length > 0 && act({ decision: "skip" }) },
    { keys: "u", does: say.app.undo, run: takeBack },
  ], [ids.join()]);
  return (
    <section class="stack" aria-label={say.review.grid}>
      <div class="row review-bar">
        <Left />
        {may("learn") && (
          <>
            <span role="status">{say.grid.selected(ids.length)}</span>
            <button type="button" onClick={() => setSelected(ids.length === pictures.length ? new Set() : new Set(pictures.map((picture) => picture.id)))}>{ids.length === pictures.length ? say.review.selectNone : say.review.selectAll}</button>
            <button type="button" class="primary" disabled={!ids.length} onClick={() => setNaming(true)}><kbd>N</kbd>{say.review.labelThem}</button>
            <button type="button" disabled={!ids.length} onClick={() => act({ decision: "none" })}><kbd>0</kbd>{say.scores.none}</button>
            <button type="button" disabled={!ids.length} onClick={() => act({ decision: "skip" })}><kbd>S</kbd>{say.review.skip}</button>
            <button type="button" disabled={!canUndo.value} onClick={takeBack}><kbd>U</kbd>{say.app.undo}</button>
          </>
        )}
      </div>
      <PictureGrid
        items={pictures} keyOf={(picture) => picture.id} label={say.review.grid} cell={150} below={30} selected={selected} onSelect={may("learn") ? toggle : undefined}
        nameOf={(picture) => say.review.cell(picture.guess, picture.scores[0]?.score ?? 0, picture.rejected)}
        render={(picture) => (
          <>
            <span class="review-cell"><Thumb path={picture.image} size={200} alt="" /></span>
            <span class="review-name" dir="auto">{picture.rejected ? say.scores.none : picture.guess} {say.scores.percent(picture.scores[0]?.score ?? 0)}</span>
          </>
        )}
      />
      <Dialog open={naming} title={say.review.labelThem} onClose={() => setNaming(false)} sheet>
        <ChooseLabel action={say.nameIt.teach} onName={(label) => (setNaming(false), act({ label }))} />
      </Dialog>
    </section>
  );
}

function Agreement() {
  const figures = stats.value;
  if (!figures || figures.curve.length < 2) return null;
  return (
    <section class="card stack" aria-label={say.review.curve}>
      <Chart title={say.review.curve} steps={figures.curve.map((point) => point.decided)} stepName={say.review.decided} series={[{ label: say.review.agreementShort, hue: 0, points: figures.curve.map((point) => point.agreement) }]} controls={false} />
      <p class="soft">{say.review.tally(figures)}</p>
    </section>
  );
}

function Nothing({ onError }: { onError: (error: unknown) => void }) {
  return (
    <section class="card stack empty">
      <Icon name="check" />
      <p class="lead" role="status">{sending.value > 0 ? say.review.saving(sending.value) : say.review.done}</p>
      <p class="soft">{say.review.doneLead}</p>
      <div class="row">
        <a class="button" href={hrefOf("try")}>{say.try.title}</a>
        {canUndo.value && <button type="button" onClick={() => (onError(null), void undo().catch(onError))}><Icon name="undo" />{say.app.undo}</button>}
      </div>
    </section>
  );
}

/** Off: what it does and what it stores, and the switch. */
function Off({ onError }: { onError: (error: unknown) => void }) {
  const [keep, setKeep] = useState(500);
  const [days, setDays] = useState(30);
  if (!collection.value) return <section class="card stack empty"><Icon name="teach" /><p>{say.jobs.nothingTaught(collectionName.value)}</p>{may("learn") && <a class="button" href={hrefOf("teach")}>{say.teach.title}</a>}</section>;
  return (
    <section class="card stack review-off">
      <h2>{say.review.offTitle}</h2>
      <p>{say.review.offLead}</p>
      <p class="note"><Icon name="warning" /><span>{say.review.privacy}</span></p>
      {!may("learn") && <p class="soft">{say.review.offForReaders}</p>}
      {may("learn") && (
        <form class="row" onSubmit={(event) => (event.preventDefault(), onError(null), void keepPictures({ keep, days }).catch(onError))}>
          <label>{say.review.keep}<input type="number" min={1} required value={keep} onInput={(event) => setKeep(Number(event.currentTarget.value))} /></label>
          <label>{say.review.days}<input type="number" min={1} required value={days} onInput={(event) => setDays(Number(event.currentTarget.value))} /></label>
          <button type="submit" class="primary">{say.review.on}</button>
        </form>
      )}
    </section>
  );
}

function Kept({ onError }: { onError: (error: unknown) => void }) {
  const [sure, setSure] = useState(false);
  useEffect(() => setSure(false), [collectionName.value]); // sure of one collection is not sure of the next
  const span = collection.value?.review;
  if (!span) return null;
  const off = () => (sure ? (onError(null), void keepPictures(null).catch(onError)) : setSure(true));
  return (
    <p class="row soft">
      {say.review.keeps(span.keep ?? 0, span.days ?? 0)}
      <button type="button" class="quiet" onClick={off}>{sure ? say.review.reallyOff : say.review.off}</button>
    </p>
  );
}

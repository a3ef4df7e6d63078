// The pictures that a collection was unsure of: read, decided, undone; the rest is guessed anew after each decision.
import { signal } from "@preact/signals";
import { call, readAll } from "../api/client";
import { Problem } from "../api/problems";
import type { ReviewDecisionInfo, ReviewPictureInfo, ReviewStats } from "../api/schema";
import { collection, collectionName, refresh } from "./collections";

export type Decision = { label: string } | { decision: "right"; guess: string } | { decision: "none" | "skip" };
export type Order = "margin" | "newest";

export const waitingPictures = signal<ReviewPictureInfo[] | null>(null);
export const stats = signal<ReviewStats | null>(null);
export const order = signal<Order>("margin");
/** What was decided here, the newest last, to be undone. */
const history: { collection: string; ids: string[] }[] = [];
export const canUndo = signal(false);

/** As many as the service decides in one call. */
const MAX_AT_ONCE = 500;
let round = 0;
/** The collection whose pictures `waitingPictures` holds. */
let shownOf = "";
let shownOrder: Order | null = null;
/** Each picture's place in the queue as it was read last: what was decided since may come back. */
let places = new Map<string, number>();
/** The picture whose decision was taken back: it is decided next. */
let takenBack = "";
/** Decisions on their way: the queue is read again after the last of them. */
export const sending = signal(0);
let line: Promise<unknown> = Promise.resolve();

/** One after the other in the order of the keys: who undoes at once undoes what is still on its way. */
function inTurn<Result>(act: () => Promise<Result>): Promise<Result> {
  const mine = line.then(act);
  line = mine.catch(() => undefined);
  return mine;
}

/** Reads the queue and its figures; what comes late for another collection is dropped. */
export async function loadQueue(): Promise<void> {
  const name = collectionName.value;
  if (!collection.value?.review || shownOf !== name) {
    waitingPictures.value = null; // of another collection, or not known
    stats.value = null;
  }
  shownOf = name;
  if (sending.value) return;
  const mine = ++round;
  if (!collection.value?.review) return;
  const path = { collection: name };
  const isFirst = waitingPictures.value === null;
  // the first page is shown at once: each waits a moment for scores by what was taught last
  const onPage = (read: readonly ReviewPictureInfo[]) => void (isFirst && mine === round && show([...read]));
  const [rows, figures] = await Promise.all([
    readAll("GET /v1/collections/{collection}/review", { path, query: { order: order.value } }, onPage),
    call("GET /v1/collections/{collection}/review/stats", { path }),
  ]);
  if (mine !== round) return;
  show(shownOrder === order.value ? keepFirst(rows) : [...rows]);
  shownOrder = order.value;
  stats.value = figures;
}

function show(rows: ReviewPictureInfo[]): void {
  waitingPictures.value = rows;
  places = new Map(rows.map((picture, at) => [picture.id, at]));
}

/** The picture that is looked at stays the first, whatever the new guesses: the next key is meant for it. */
function keepFirst(rows: readonly ReviewPictureInfo[]): ReviewPictureInfo[] {
  const id = rows.some((picture) => picture.id === takenBack) ? takenBack : waitingPictures.value?.[0]?.id;
  return [...rows.filter((picture) => picture.id === id), ...rows.filter((picture) => picture.id !== id)];
}

addEventListener("beforeunload", (event) => sending.value && event.preventDefault());

/** Decides pictures, all or none; raises `Problem`, after which the queue shows what is true now. */
export function decide(ids: string[], decision: Decision): Promise<ReviewDecisionInfo[]> {
  const name = collectionName.value;
  round++; // a reading under way would bring them back
  takenBack = "";
  const before = waitingPictures.value ?? [];
  waitingPictures.value = before.filter((picture) => !ids.includes(picture.id));
  sending.value++;
  return inTurn(() => send(name, ids, decision, before.filter((picture) => ids.includes(picture.id))));
}

async function post(collection: string, ids: string[], decision: Decision): Promise<ReviewDecisionInfo[]> {
  const [id = ""] = ids;
  if (ids.length === 1) return [await call("POST /v1/collections/{collection}/review/{id}", { path: { collection, id }, json: decision, showCall: true })];
  const decided: ReviewDecisionInfo[] = [];
  for (let from = 0; from < ids.length; from += MAX_AT_ONCE) {
    const some = ids.slice(from, from + MAX_AT_ONCE);
    decided.push(...(await call("POST /v1/collections/{collection}/review", { path: { collection }, json: { ids: some, ...decision }, showCall: true })).data);
  }
  return decided;
}

async function send(name: string, ids: string[], decision: Decision, decided: ReviewPictureInfo[]): Promise<ReviewDecisionInfo[]> {
  try {
    const done = await post(name, ids, decision).catch((error: unknown) => {
      // the guess moved on while the picture was looked at: what was seen and confirmed is still what it shows
      if (error instanceof Problem && error.code === "guess_changed" && "guess" in decision) return post(name, ids, { label: decision.guess });
      throw error;
    });
    history.push({ collection: name, ids });
    canUndo.value = true;
    return done;
  } catch (error) {
    // somebody else was first, or the guess is another by now: what the service has is shown again
    if (!(error instanceof Problem) || error.status !== 409) putBack(name, decided);
    throw error;
  } finally {
    sending.value--;
    if (!sending.value) void Promise.all([refresh(), loadQueue()]).catch(() => undefined);
  }
}

/** Shows pictures again whose decision failed, at their old place among those that are shown by now. */
function putBack(name: string, decided: ReviewPictureInfo[]): void {
  const now = waitingPictures.value;
  if (name !== collectionName.value || !now) return;
  const back = decided.filter((picture) => !now.includes(picture));
  waitingPictures.value = [...now, ...back].sort((one, other) => (places.get(one.id) ?? 0) - (places.get(other.id) ?? 0));
}

/** Lets the pictures decided last wait again; false where nothing is left to undo. */
export function undo(): Promise<boolean> {
  return inTurn(takeBack);
}

async function takeBack(): Promise<boolean> {
  while (history.length && history.at(-1)?.collection !== collectionName.value) history.pop();
  const last = history.pop();
  canUndo.value = history.length > 0;
  if (!last) return false;
  const left = [...last.ids];
  let gone: Problem | null = null;
  for (let id = left[0]; id; left.shift(), id = left[0]) {
    try {
      await call("DELETE /v1/collections/{collection}/review/{id}/decision", { path: { collection: last.collection, id }, showCall: true });
    } catch (error) {
      // one that another tab took back (409) or that is gone stops none of the others
      if (error instanceof Problem && error.status === 404) gone = error;
      else if (!(error instanceof Problem) || error.status !== 409) {
        history.push({ collection: last.collection, ids: left });
        canUndo.value = true;
        throw error;
      }
    }
  }
  takenBack = last.ids[0] ?? "";
  await refresh();
  await loadQueue();
  if (gone) throw gone;
  return true;
}

/** Keeps unsure pictures of the collection from now on; null keeps none and forgets those there are. */
export async function keepPictures(span: { keep: number; days: number } | null): Promise<void> {
  await call("PATCH /v1/collections/{collection}", { path: { collection: collectionName.value }, json: { review: span }, showCall: true });
  await refresh(true);
  await loadQueue();
}

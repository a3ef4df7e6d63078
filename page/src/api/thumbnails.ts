// Pictures of the service as blob: addresses, since <img> cannot carry a key. The 300 used last are kept.
import { addressOf, headers } from "./client";
import { noAnswer, readProblem } from "./problems";

const MAX_KEPT = 300;
const MAX_AT_ONCE = 8;

const kept = new Map<string, Promise<string>>();
const shown = new Map<string, number>();
const queue: (() => void)[] = [];
let running = 0;

/** The blob: address of the picture at `path`; hold it by `hold` while it is shown. */
export function thumbnail(path: string): Promise<string> {
  const found = kept.get(path);
  if (found) {
    kept.delete(path);
    kept.set(path, found);
    return found;
  }
  const made = turn().then(() => load(path)).finally(leave);
  kept.set(path, made);
  made.catch(() => kept.delete(path));
  forgetOldest();
  return made;
}

/** Keeps a picture's address good while it is on the screen; returns what lets go of it. */
export function hold(path: string): () => void {
  shown.set(path, (shown.get(path) ?? 0) + 1);
  return () => {
    const left = (shown.get(path) ?? 1) - 1;
    if (left > 0) shown.set(path, left);
    else shown.delete(path);
  };
}

export function forgetThumbnails(): void {
  for (const path of [...kept.keys()]) drop(path);
}

function forgetOldest(): void {
  for (const path of kept.keys()) {
    if (kept.size <= MAX_KEPT) return;
    if (!shown.has(path)) drop(path);
  }
}

function drop(path: string): void {
  void kept.get(path)?.then((url) => URL.revokeObjectURL(url), () => undefined);
  kept.delete(path);
}

async function load(path: string): Promise<string> {
  const reply = await fetch(addressOf(path), { headers: headers(), credentials: "omit" }).catch(() => {
    throw noAnswer();
  });
  if (!reply.ok) throw readProblem(reply.status, await reply.text(), (name) => reply.headers.get(name));
  return URL.createObjectURL(await reply.blob());
}

function turn(): Promise<void> {
  return new Promise((resolve) => {
    queue.push(resolve);
    start();
  });
}

function start(): void {
  while (running < MAX_AT_ONCE && queue.length) {
    running++;
    queue.pop()?.(); // the newest first: what is on the screen now
  }
}

function leave(): void {
  running--;
  start();
}

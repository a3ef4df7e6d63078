// Forgetting with ten seconds to think again: pictures leave the screen at once and the service when the time is over.
import { signal } from "@preact/signals";
import { headers, urlOf } from "../api/client";
import { tell } from "../parts/toast";
import { say } from "../strings";
import { collection, refresh } from "./collections";
import { changeExamples, chunks } from "./relabelling";

const WAIT_MS = 10_000;

/** Ids of examples that are about to be forgotten: they are not shown. */
export const leaving = signal<ReadonlySet<string>>(new Set());

interface Going {
  collection: string;
  ids: string[];
  labels: string[];
  /** The version of the collection from which on they are not counted there any more. */
  goneAt: number;
  timer: number;
}

const going = new Set<Going>();

/** How many of a label's pictures are about to be forgotten. */
export const countLeaving = (name: string, label: string) =>
  leaving.value.size && [...going].filter((entry) => entry.collection === name && entry.goneAt > (collection.value?.version ?? 0)).flatMap((entry) => entry.labels).filter((other) => other === label).length;

export function forget(collection: string, examples: readonly { id: string; label: string }[], sentence: string): void {
  const ids = examples.map((example) => example.id);
  const entry: Going = { collection, ids, labels: examples.map((example) => example.label), goneAt: Infinity, timer: window.setTimeout(() => void carryOut(entry), WAIT_MS) };
  going.add(entry);
  leaving.value = new Set([...leaving.value, ...ids]);
  tell(sentence, () => {
    clearTimeout(entry.timer);
    settle(entry);
  });
}

function settle(entry: Going): void {
  going.delete(entry);
  leaving.value = new Set([...leaving.value].filter((id) => !entry.ids.includes(id)));
}

async function carryOut(entry: Going): Promise<void> {
  try {
    const replies = await changeExamples(entry.collection, entry.ids, { delete: true });
    entry.goneAt = replies.at(-1)?.collection_version ?? Infinity;
  } catch (error) {
    tell(say.teach.notForgotten(String(error instanceof Error ? error.message : error)));
  }
  await refresh().catch(() => undefined);
  settle(entry);
}

// who leaves the page meant it: what waits is sent without waiting for the answers
addEventListener("pagehide", () => {
  for (const entry of going) {
    clearTimeout(entry.timer);
    const url = urlOf("POST /v1/collections/{collection}/examples/bulk", { path: { collection: entry.collection } });
    for (const ids of chunks(entry.ids)) {
      const body = JSON.stringify({ ids, delete: true });
      void fetch(url, { method: "POST", body, headers: headers({ "Content-Type": "application/json" }), keepalive: true, credentials: "omit" }).catch(() => undefined);
    }
  }
  going.clear();
});

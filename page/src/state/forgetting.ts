// Forgetting with ten seconds to think again: pictures leave the screen at once and the service when the time is over.
import { signal } from "@preact/signals";
import { call, headers, urlOf } from "../api/client";
import { tell } from "../parts/toast";
import { refresh } from "./collections";

const WAIT_MS = 10_000;

/** Ids of examples that are about to be forgotten: they are not shown. */
export const leaving = signal<ReadonlySet<string>>(new Set());

interface Going {
  collection: string;
  ids: string[];
  timer: number;
}

const going = new Set<Going>();

export function forget(collection: string, ids: string[], sentence: string): void {
  const entry: Going = { collection, ids, timer: window.setTimeout(() => void carryOut(entry), WAIT_MS) };
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
  for (const id of entry.ids) {
    await call("DELETE /v1/collections/{collection}/examples/{id}", { path: { collection: entry.collection, id }, shown: true }).catch(() => undefined);
  }
  await refresh().catch(() => undefined);
  settle(entry);
}

// who leaves the page meant it: what waits is sent without waiting for the answers
addEventListener("pagehide", () => {
  for (const entry of going) {
    clearTimeout(entry.timer);
    for (const id of entry.ids) {
      const url = urlOf("DELETE /v1/collections/{collection}/examples/{id}", { path: { collection: entry.collection, id } });
      void fetch(url, { method: "DELETE", headers: headers(), keepalive: true, credentials: "omit" }).catch(() => undefined);
    }
  }
  going.clear();
});

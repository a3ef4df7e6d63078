// Other labels for examples that are there, and other names for labels; both can be taken back.
import { call } from "../api/client";
import type { ChangedExamples } from "../api/schema";
import { tell } from "../parts/toast";
import { say } from "../strings";
import { refresh } from "./collections";

const MAX_IDS = 200;

export interface Example {
  id: string;
  label: string;
  image: string;
}

export const chunks = (ids: string[]) => Array.from({ length: Math.ceil(ids.length / MAX_IDS) }, (_, at) => ids.slice(at * MAX_IDS, (at + 1) * MAX_IDS));

/** Changes examples in one call, or in several where there are many; raises `Problem`. */
export async function changeExamples(collection: string, ids: string[], change: { label: string } | { delete: true }): Promise<ChangedExamples[]> {
  const replies: ChangedExamples[] = [];
  for (const some of chunks(ids)) {
    replies.push(await call("POST /v1/collections/{collection}/examples/bulk", { path: { collection }, json: { ids: some, ...change }, showCall: true }));
  }
  return replies;
}

/** Gives examples another label; raises `Problem`, such as where the very picture has that label already. */
export async function relabel(collection: string, examples: Example[], label: string): Promise<void> {
  const changed = (await changeExamples(collection, examples.map((example) => example.id), { label })).flatMap((reply) => reply.changed);
  await refresh();
  const before = new Map<string, string[]>();
  for (const example of examples) {
    if (changed.includes(example.id)) before.set(example.label, [...(before.get(example.label) ?? []), example.id]);
  }
  tell(say.teach.moved(changed.length, label), async () => {
    for (const [old, ids] of before) await changeExamples(collection, ids, { label: old });
    await refresh();
  });
}

/** Renames a label; raises `Problem` where the name is taken and `merge` is not set. */
export async function rename(collection: string, label: string, name: string, merge = false): Promise<void> {
  await call("PATCH /v1/collections/{collection}/labels/{label}", { path: { collection, label }, json: { name, ...(merge ? { merge } : {}) }, showCall: true });
  await refresh();
  if (merge) return tell(say.teach.merged(label, name));
  tell(say.teach.renamed(label, name), async () => {
    await call("PATCH /v1/collections/{collection}/labels/{label}", { path: { collection, label: name }, json: { name: label }, showCall: true });
    await refresh();
  });
}

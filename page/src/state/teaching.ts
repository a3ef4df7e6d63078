// Pictures on their way into the collection: four at a time, each with its own bar and, where it is refused, the
// service's sentence. They go on while another screen is open.
import { signal } from "@preact/signals";
import { call } from "../api/client";
import { isAbort } from "../api/problems";
import { tell } from "../parts/toast";
import { say } from "../strings";
import { collectionName, ensureCollection, refresh } from "./collections";
import { release } from "./object-url";
import { prepare } from "./pictures";

const MAX_AT_ONCE = 4;
const REFRESH_MS = 250;

export interface Upload {
  id: number;
  label: string;
  collection: string;
  file: File;
  /** A blob: address of the picture. */
  url: string;
  share: number;
  error: unknown;
}

export const uploads = signal<Upload[]>([]);
/** The picture taught last, for the preview. */
export const lastTaught = signal<File | null>(null);

let next = 1;
let running = 0;
let refreshTimer = 0;
const queue: (() => Promise<void>)[] = [];

interface TaughtExample {
  collection: string;
  id: string;
}

/** Teaches `files` one label; offers to take back what went well when all are through. Resolves to the examples made. */
export async function teach(label: string, files: File[], { quiet = false } = {}): Promise<TaughtExample[]> {
  const collection = collectionName.value;
  const made = await Promise.all(
    files.map((file) => {
      const upload: Upload = { id: next++, label, collection, file, url: URL.createObjectURL(file), share: 0, error: null };
      uploads.value = [...uploads.value, upload];
      return enqueue(upload);
    }),
  );
  const taught = made.filter((example) => example !== null);
  if (taught.length && !quiet) tell(say.teach.taught(label, taught.length), () => takeBack(taught));
  return taught;
}

/** Forgets examples that were just taught. */
export async function takeBack(taught: TaughtExample[]): Promise<void> {
  for (const { collection, id } of taught) {
    await call("DELETE /v1/collections/{collection}/examples/{id}", { path: { collection, id }, showCall: true }).catch(failed);
  }
  await refresh().catch(() => undefined);
}

const failed = (error: unknown) => tell(say.teach.notUndone(error instanceof Error ? error.message : String(error)));

export function dismiss(upload: Upload): void {
  release(upload.url);
  uploads.value = uploads.value.filter((waiting) => waiting.id !== upload.id);
}

export function retry(upload: Upload): void {
  dismiss(upload);
  void teach(upload.label, [upload.file]);
}

function enqueue(upload: Upload): Promise<TaughtExample | null> {
  return new Promise((resolve) => {
    queue.push(async () => resolve(await send(upload)));
    start();
  });
}

function start(): void {
  while (running < MAX_AT_ONCE && queue.length) {
    running++;
    void queue.shift()?.().finally(() => {
      running--;
      start();
    });
  }
}

async function send(upload: Upload): Promise<TaughtExample | null> {
  try {
    await ensureCollection();
    const file = await prepare(upload.file);
    const reply = await call("POST /v1/collections/{collection}/examples", {
      path: { collection: upload.collection },
      form: { label: upload.label, images: [file] },
      onProgress: (share) => change(upload.id, { share }),
      showCall: true,
    });
    lastTaught.value = file;
    dismiss(upload);
    refreshSoon();
    const [added] = reply.data;
    if (!added) return null;
    if (added.other_labels.length) tell(say.teach.alsoUnder(upload.label, added.other_labels));
    return added.created ? { collection: upload.collection, id: added.id } : null;
  } catch (error) {
    if (!isAbort(error)) change(upload.id, { error });
    refreshSoon();
    return null;
  }
}

function change(id: number, fields: Partial<Upload>): void {
  uploads.value = uploads.value.map((upload) => (upload.id === id ? { ...upload, ...fields } : upload));
}

/** One look for the many pictures that arrive within a moment. */
function refreshSoon(): void {
  refreshTimer ||= window.setTimeout(() => {
    refreshTimer = 0;
    void refresh().catch(() => undefined);
  }, REFRESH_MS);
}

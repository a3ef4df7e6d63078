// Pictures on their way into the collection: four at a time, each with its own bar and, where it is refused, the
// service's sentence. They go on while another screen is open.
import { signal } from "@preact/signals";
import { call } from "../api/client";
import { isAbort } from "../api/problems";
import { MAX_TOASTS, tell } from "../parts/toast";
import { say } from "../strings";
import { collectionName, ensureCollection, refresh } from "./collections";
import { release } from "./object-url";
import { sendPicture } from "./pictures";
import { changeExamples } from "./relabelling";

const MAX_AT_ONCE = 4;
const REFRESH_MS = 250;
/** How long a picture that arrived is still drawn from its file, where no card reads the example before. */
const SHOWN_ON_MS = 3000;

export interface Upload {
  id: number;
  label: string;
  collection: string;
  file: File;
  /** A blob: address of the picture. */
  url: string;
  share: number;
  error: unknown;
  /** The id of the example that it became. */
  example: string | null;
}

export const uploads = signal<Upload[]>([]);
/** The picture taught last, for the preview. */
export const lastTaught = signal<File | null>(null);

/** What cards are reading right now: pictures that arrived for them stand until that is through. */
export const cardReadings = new Set<{ collection: string; label: string }>();

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
      const upload: Upload = { id: next++, label, collection, file, url: URL.createObjectURL(file), share: 0, error: null, example: null };
      uploads.value = [...uploads.value, upload];
      return enqueue(upload);
    }),
  );
  const taught = made.filter((example) => example !== null);
  if (taught.length && !quiet) tell(say.teach.taught(label, taught.length), () => takeBack(taught));
  return taught;
}

/** Teaches each folder's pictures its name; many folders are taken back at once. */
export async function teachFolders(folders: Map<string, File[]>): Promise<void> {
  const isTold = folders.size <= MAX_TOASTS; // each by itself, to be taken back by itself
  const each = await Promise.all([...folders].map(([folder, files]) => teach(folder, files, { quiet: !isTold })));
  const taught = each.flat();
  if (taught.length && !isTold) tell(say.teach.taughtFolders(each.filter((examples) => examples.length).length, taught.length), () => takeBack(taught));
}

/** Forgets examples that were just taught; raises `Problem`. */
async function takeBack(taught: TaughtExample[]): Promise<void> {
  for (const collection of new Set(taught.map((example) => example.collection))) {
    await changeExamples(collection, taught.filter((example) => example.collection === collection).map((example) => example.id), { delete: true });
  }
  const ids = taught.map((example) => example.id);
  uploads.value.filter((upload) => upload.example !== null && ids.includes(upload.example)).forEach(dismiss);
  await refresh();
}

/** Pictures of the camera taught one label: all of one recording are taken back at once. */
export class Recording {
  private frames: Promise<TaughtExample[]>[] = [];

  take(label: string, file: File): void {
    this.frames.push(teach(label, [file], { quiet: true }));
  }

  async end(label: string): Promise<void> {
    const frames = this.frames;
    this.frames = [];
    const taught = (await Promise.all(frames)).flat();
    if (taught.length) tell(say.teach.taught(label, taught.length), () => takeBack(taught));
  }
}

// what is still on its way would be lost
addEventListener("beforeunload", (event) => running && event.preventDefault());

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
    await ensureCollection(upload.collection);
    const { reply, file } = await sendPicture(upload.file, async (file) => {
      const reply = await call("POST /v1/collections/{collection}/examples", {
        path: { collection: upload.collection },
        form: { label: upload.label, images: [file] },
        onProgress: (share) => change(upload.id, { share }),
        showCall: true,
      });
      return { reply, file };
    });
    lastTaught.value = file;
    const [added] = reply.data;
    change(upload.id, { share: 1, example: added?.id ?? null });
    refreshSoon(upload);
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

let arrived: Upload[] = [];

/** One look for the many pictures that arrive within a moment; until it is over they stand where they were dropped. */
function refreshSoon(upload?: Upload): void {
  if (upload) arrived.push(upload);
  refreshTimer ||= window.setTimeout(() => {
    refreshTimer = 0;
    const looked = arrived;
    arrived = [];
    void refresh().catch(() => undefined).finally(() => dropLater(looked));
  }, REFRESH_MS);
}

/** Drops pictures that arrived, but none whose card is only just reading its example. */
function dropLater(looked: Upload[]): void {
  if (!looked.length) return;
  setTimeout(() => {
    const readings = [...cardReadings];
    const isAwaited = (upload: Upload) => readings.some((reading) => reading.label === upload.label && reading.collection === upload.collection);
    looked.filter((upload) => !isAwaited(upload)).forEach(dismiss);
    dropLater(looked.filter(isAwaited));
  }, SHOWN_ON_MS);
}

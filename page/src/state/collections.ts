// The collection that the page works in, its labels, and whether somebody else changed it meanwhile.
import { batch, computed, effect, signal } from "@preact/signals";
import { call, readAll } from "../api/client";
import type { CollectionInfo, LabelInfo } from "../api/schema";
import { Problem } from "../api/problems";

const PLACE = "vision.collection";
export const DEFAULT_COLLECTION = "default";

const stored = () => {
  try {
    return localStorage.getItem(PLACE) ?? DEFAULT_COLLECTION;
  } catch {
    return DEFAULT_COLLECTION;
  }
};

export const collectionName = signal(stored());
export const collections = signal<CollectionInfo[]>([]);
/** The current collection; null while it is not known, or not made yet. */
export const collection = signal<CollectionInfo | null>(null);
export const labels = signal<LabelInfo[]>([]);
/** Counts up with each change of the collection that the page hears of, by itself or by others. */
export const changes = signal(0);
export const collectionsLoaded = signal(false);
/** Whether `collection` says what is there: before, null does not mean that there is none. */
export const isKnown = computed(() => collection.value?.name === collectionName.value || (collectionsLoaded.value && !collections.value.some((listed) => listed.name === collectionName.value)));

effect(() => {
  try {
    localStorage.setItem(PLACE, collectionName.value);
  } catch {
    // it lasts as long as the page
  }
});

let listings = 0;
let lastListed = 0;

/** Reads which collections there are. */
export async function loadCollections(): Promise<void> {
  const mine = ++listings;
  const found = await readAll("GET /v1/collections", {});
  // a later look was answered first, or one was made meanwhile, which this one does not know
  if (mine < lastListed) return collectionsLoaded.value ? undefined : loadCollections();
  lastListed = mine;
  collections.value = [...found];
  collectionsLoaded.value = true;
}

let readings = 0;
let shown = 0;

/** Reads the current collection and its labels where its version is another than what the page shows. */
export async function refresh(force = false): Promise<void> {
  const mine = ++readings;
  const name = collectionName.value;
  if (collection.value?.name !== name) await loadCollections(); // asking for one that does not exist would be an error
  if (!collections.value.some((listed) => listed.name === name)) return show(name, null, [], mine);
  try {
    const found = await call("GET /v1/collections/{collection}", { path: { collection: name } });
    if (name !== collectionName.value) return;
    const same = collection.value?.name === name && collection.value.version === found.version;
    if (same && !force) return;
    const rows = await readAll("GET /v1/collections/{collection}/labels", { path: { collection: name } });
    show(name, found, [...rows], mine);
  } catch (error) {
    if (!(error instanceof Problem) || error.status !== 404) throw error;
    collections.value = collections.value.filter((listed) => listed.name !== name); // removed meanwhile
    show(name, null, [], mine);
  }
}

function show(name: string, found: CollectionInfo | null, rows: LabelInfo[], reading: number): void {
  if (name !== collectionName.value || reading < shown) return; // a later look was answered first
  shown = reading;
  batch(() => {
    labels.value = rows;
    collection.value = found;
    changes.value++;
  });
}

export function choose(name: string): void {
  if (name === collectionName.value) return;
  collectionName.value = name;
  collection.value = null;
  labels.value = [];
  void refresh().catch(() => undefined);
}

const making = new Map<string, Promise<void>>();

/** Makes sure that the collection exists before something is taught into it. */
export async function ensureCollection(name: string): Promise<void> {
  if (collections.value.some((listed) => listed.name === name)) return;
  const made = making.get(name) ?? make(name).finally(() => making.delete(name));
  making.set(name, made);
  await made;
}

async function make(name: string): Promise<void> {
  try {
    const made = await call("POST /v1/collections", { json: { name } });
    lastListed = ++listings;
    collections.value = [...collections.value.filter((other) => other.name !== name), made];
  } catch (error) {
    if (!(error instanceof Problem) || error.status !== 409) throw error;
    await loadCollections(); // somebody else made it
  }
}

/** The colour that a label keeps: its place among the labels, by name. */
export const hueOf = (label: string) => Math.max(0, labels.value.findIndex((info) => info.label === label)) % 8;

addEventListener("focus", () => void refresh().catch(() => undefined));
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && void refresh().catch(() => undefined));

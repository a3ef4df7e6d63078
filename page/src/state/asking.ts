// The questions about the picture in view: asked, streamed, stopped, corrected. They outlive a look at another screen.
import { computed, signal } from "@preact/signals";
import { call, formOf, lastCall, retryBusy } from "../api/client";
import { curlOf } from "../api/curl";
import { openStream } from "../api/events";
import { isAbort, noAnswer, Problem } from "../api/problems";
import type { AnswerReply, CaptionReply, Model } from "../api/schema";
import { collection, collectionName, ensureCollection, refresh } from "./collections";
import { sendPicture } from "./pictures";

export interface Picture {
  file: File;
  url: string;
}

export interface Turn {
  id: number;
  kind: "question" | "caption";
  question: string;
  text: string;
  state: "waiting" | "streaming" | "done" | "stopped" | "failed";
  reply: AnswerReply | CaptionReply | null;
  error: unknown;
  picture: Picture;
  /** The collection whose taught answers the model saw. */
  collection: string | null;
  correction: string | null;
}

export const picture = signal<Picture | null>(null);
export const turns = signal<Turn[]>([]);
export const vlms = signal<Model[]>([]);
export const chosenModel = signal<string | null>(null);
export const usesTaught = signal(true);
export const running = computed(() => turns.value.find((turn) => turn.state === "waiting" || turn.state === "streaming") ?? null);
export const currentModel = computed(() => vlms.value.find((model) => model.id === chosenModel.value) ?? vlms.value.find((model) => model.default) ?? vlms.value[0] ?? null);

let stopper: AbortController | null = null;
let next = 1;

export async function loadModels(): Promise<void> {
  const found = await call("GET /v1/models");
  vlms.value = found.data.filter((model) => model.kind === "vlm" && model.alias_of === null);
}

/** Without a list of its own a model does both. */
export const canAnswer = (model: Model | null, task: "vqa" | "caption") => model !== null && (model.tasks?.includes(task) ?? true);

/** Puts another picture into view; answers about the one before go with it. */
export function show(file: File): void {
  stop();
  if (picture.value) URL.revokeObjectURL(picture.value.url);
  picture.value = { file, url: URL.createObjectURL(file) };
  turns.value = [];
}

export function stop(): void {
  stopper?.abort();
}

export async function ask(kind: Turn["kind"], question: string): Promise<void> {
  const shown = picture.value;
  if (!shown || running.value) return;
  const taught = kind === "question" && usesTaught.value && (collection.value?.answers ?? 0) > 0 ? collectionName.value : null;
  const turn: Turn = { id: next++, kind, question, text: "", state: "waiting", reply: null, error: null, picture: shown, collection: taught, correction: null };
  turns.value = [turn, ...turns.value];
  const mine = new AbortController();
  stopper = mine;
  const { signal } = mine;
  try {
    const model = currentModel.value && !currentModel.value.default ? currentModel.value.id : undefined;
    const fields = kind === "question" ? { question, model, collection: taught ?? undefined } : { model };
    const [name, path] = kind === "question" ? (["POST /v1/vqa", "/v1/vqa"] as const) : (["POST /v1/caption", "/v1/caption"] as const);
    const events = await sendPicture(shown.file, (image) => {
      lastCall.value = curlOf(name, { form: { image, ...fields } });
      return retryBusy(() => openStream(path, formOf({ image, ...fields, stream: true }), signal), signal);
    });
    for await (const event of events) {
      if (event.name === "token") {
        const { text } = JSON.parse(event.data) as { text: string };
        change(turn.id, (before) => ({ state: "streaming", text: before.text + text }));
      } else if (event.name === "done") {
        const reply = JSON.parse(event.data) as AnswerReply | CaptionReply;
        change(turn.id, () => ({ state: "done", reply, text: "answer" in reply ? reply.answer : reply.caption }));
        return;
      } else if (event.name === "error") throw problemOf(event.data);
    }
    throw noAnswer(); // the stream ended without saying how
  } catch (error) {
    change(turn.id, () => (isAbort(error) || signal.aborted ? { state: "stopped" } : { state: "failed", error }));
  } finally {
    if (stopper === mine) stopper = null; // else it stops the question after this one
  }
}

/** Teaches the right answer to a turn's question; returns what takes it back. */
export async function correct(turn: Turn, answer: string): Promise<() => Promise<void>> {
  const name = collectionName.value;
  await ensureCollection(name);
  const added = await sendPicture(turn.picture.file, (image) => call("POST /v1/collections/{collection}/answers", { path: { collection: name }, form: { question: turn.question, answer, image }, showCall: true }));
  change(turn.id, () => ({ correction: added.answer }));
  await refresh(true);
  return async () => {
    await call("DELETE /v1/collections/{collection}/answers/{id}", { path: { collection: name, id: added.id } });
    change(turn.id, () => ({ correction: null }));
    await refresh(true);
  };
}

function change(id: number, changed: (turn: Turn) => Partial<Turn>): void {
  turns.value = turns.value.map((turn) => (turn.id === id ? { ...turn, ...changed(turn) } : turn));
}

function problemOf(data: string): Problem {
  const document = JSON.parse(data) as { detail?: string; status?: number; error?: { code?: string }; request_id?: string };
  return new Problem(document.detail ?? "", document.status ?? 500, document.error?.code ?? "", document.request_id ?? null, null);
}

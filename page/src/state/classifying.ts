// One picture and what the service says of it, asked again whenever the collection has changed.
import { call } from "../api/client";
import type { Classification, Hit } from "../api/schema";
import { sendPicture } from "./pictures";

export interface Prediction {
  answer: Classification;
  /** The taught pictures it is nearest to; empty where labels were named. */
  nearest: Hit[];
}

interface Question {
  collection: string;
  labels?: string[];
  threshold?: number | null;
  /** How many near pictures to bring. */
  nearest: number;
  signal?: AbortSignal;
  showCall?: boolean;
}

export const TOP_K = 5;

/** Raises `Problem`, also where nothing was taught yet. */
export async function classify(file: File, { collection, labels, threshold, nearest, signal, showCall }: Question): Promise<Prediction> {
  const from = labels ? { labels } : { collection, ...(nearest ? { neighbours: nearest } : {}) };
  const fields = { top_k: TOP_K, ...from, ...(threshold == null ? {} : { threshold }) };
  const answer = (await sendPicture(file, (image) => call("POST /v1/classify", { form: { image: [image], ...fields }, signal, showCall }))) as Classification;
  return { answer, nearest: answer.neighbours ?? [] };
}

// What a person says of an answer: the service teaches it and counts how often it was right; it can be taken back.
import { call } from "../api/client";
import { tell } from "../parts/toast";
import { say } from "../strings";
import { collectionName, refresh } from "./collections";
import { sendPicture } from "./pictures";
import { lastTaught } from "./teaching";

/** A label that the picture shows, or none of the collection's; `replace`: in place of those it has. */
export type Word = { label: string; replace?: true } | { none: true };

/** Says what a picture shows that was asked about; raises `Problem`. */
export async function giveFeedback(file: File, word: Word): Promise<void> {
  const collection = collectionName.value;
  const { label, lost, image } = await sendPicture(file, async (image) => {
    const { label, replaced_labels: lost } = await call("POST /v1/feedback", { form: { collection, image, ...word }, showCall: true });
    return { label, lost, image };
  });
  if (label !== null) lastTaught.value = image;
  await refresh().catch(() => undefined);
  tell(label === null ? say.try.noted : say.teach.taught(label, 1), () => takeBack(collection, image, lost));
}

/** Takes back what was said of a picture, and gives it back the labels that it lost by it. */
async function takeBack(collection: string, image: File, lost: string[]): Promise<void> {
  try {
    await call("POST /v1/feedback", { form: { collection, image, undo: true }, showCall: true });
    for (const label of lost) await call("POST /v1/collections/{collection}/examples", { path: { collection }, form: { label, images: [image] } });
  } catch (error) {
    tell(say.teach.notUndone(error instanceof Error ? error.message : String(error)));
  }
  await refresh().catch(() => undefined);
}

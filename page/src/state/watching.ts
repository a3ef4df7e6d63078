// The camera's picture, asked about again and again.
import { pause } from "../api/client";
import { isAbort } from "../api/problems";
import { takeFrame } from "../parts/camera";
import { cameraVideo } from "./camera";
import { classify, type Prediction } from "./classifying";
import { collectionName } from "./collections";

const EVERY_MS = 250;

/** Asks at most four times a second, the next time only after the last answer, until `signal` aborts. */
export async function watch(
  nearest: number, signal: AbortSignal, onPrediction: (prediction: Prediction, frame: File) => void, onError: (error: unknown) => void, labels?: string[],
): Promise<void> {
  while (!signal.aborted) {
    const began = performance.now();
    try {
      const frame = await takeFrame(cameraVideo.current);
      if (frame) onPrediction(await classify(frame, { collection: collectionName.value, labels, nearest, signal }), frame);
    } catch (error) {
      if (!isAbort(error)) onError(error);
    }
    await pause(Math.max(EVERY_MS - (performance.now() - began), 10), signal).catch(() => undefined);
  }
}

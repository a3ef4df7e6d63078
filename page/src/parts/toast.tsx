// Short messages at the bottom edge; what was done can be undone for ten seconds, instead of being asked about before.
import { signal } from "@preact/signals";
import { useLayoutEffect, useState } from "preact/hooks";
import { say } from "../strings";
import { Icon } from "./icon";

const UNDO_MS = 10_000;
const TOLD_MS = 5000;
/** As many stand at once. */
export const MAX_TOASTS = 3;

interface Toast {
  id: number;
  text: string;
  undo?: () => void | Promise<unknown>;
}

const toasts = signal<Toast[]>([]);
let next = 1;

/** Tells what happened; with `undo`, a button takes it back while the message stands. */
export function tell(text: string, undo?: Toast["undo"]): void {
  const toast = { id: next++, text, undo };
  toasts.value = [...toasts.value.slice(1 - MAX_TOASTS), toast];
  setTimeout(() => dismiss(toast.id), undo ? UNDO_MS : TOLD_MS);
}

const dismiss = (id: number) => (toasts.value = toasts.value.filter((toast) => toast.id !== id));

async function takeBack(toast: Toast): Promise<void> {
  dismiss(toast.id);
  try {
    await toast.undo?.();
  } catch (error) {
    tell(say.teach.notUndone(error instanceof Error ? error.message : String(error)));
  }
}

/** The page and the dialogs that are open over it, the newest last. */
const places = signal<object[]>([]);

/** The messages, over the newest dialog where one is open: nothing below a modal dialog can be clicked. */
export function Toasts() {
  const [place] = useState({});
  useLayoutEffect(() => {
    places.value = [...places.value, place];
    return () => void (places.value = places.value.filter((other) => other !== place));
  }, []);
  if (places.value.at(-1) !== place) return null;
  return (
    <div class="toasts" role="status">
      {toasts.value.map((toast) => (
        <div class="toast" key={toast.id}>
          <span>{toast.text}</span>
          {toast.undo && (
            <button type="button" onClick={() => void takeBack(toast)}>
              <Icon name="undo" />
              {say.app.undo}
            </button>
          )}
          <button type="button" class="square" aria-label={say.app.close} onClick={() => dismiss(toast.id)}>
            <Icon name="close" />
          </button>
        </div>
      ))}
    </div>
  );
}

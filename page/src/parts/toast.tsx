// Short messages at the bottom edge; what was done can be undone for ten seconds, instead of being asked about before.
import { signal } from "@preact/signals";
import { say } from "../strings";
import { Icon } from "./icon";

const UNDO_MS = 10_000;
const TOLD_MS = 5000;

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
  toasts.value = [...toasts.value.slice(-2), toast];
  setTimeout(() => dismiss(toast.id), undo ? UNDO_MS : TOLD_MS);
}

const dismiss = (id: number) => (toasts.value = toasts.value.filter((toast) => toast.id !== id));

/** Takes back what the newest message offers to; false where nothing can be. */
export function undoLast(): boolean {
  const toast = toasts.value.findLast((message) => message.undo);
  if (!toast) return false;
  dismiss(toast.id);
  void toast.undo?.();
  return true;
}

export function Toasts() {
  return (
    <div class="toasts" role="status">
      {toasts.value.map((toast) => (
        <div class="toast" key={toast.id}>
          <span>{toast.text}</span>
          {toast.undo && (
            <button type="button" onClick={() => (dismiss(toast.id), void toast.undo?.())}>
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

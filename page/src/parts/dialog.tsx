// A modal <dialog>: Esc and a click beside it close it, focus returns to where it was. Messages stand over it.
import type { ComponentChildren } from "preact";
import { useEffect, useId, useLayoutEffect, useRef } from "preact/hooks";
import { say } from "../strings";
import { Icon } from "./icon";
import { Toasts } from "./toast";

interface Props {
  open: boolean;
  title: string;
  onClose: () => void;
  /** Comes from the bottom edge of a phone. */
  sheet?: boolean;
  wide?: boolean;
  /** Only a button closes it: what it shows is not shown again. */
  stays?: boolean;
  children: ComponentChildren;
}

export function Dialog({ open, title, onClose, sheet, wide, stays, children }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const pressed = useRef<EventTarget | null>(null);
  const id = useId();
  useEffect(() => {
    const shown = dialog.current;
    if (!shown || !open) return;
    const before = document.activeElement;
    shown.showModal();
    return () => {
      shown.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
      setTimeout(keepFocus); // what had the focus may leave together with the dialog
    };
  }, [open]);
  useEffect(() => {
    if (open && stays) dialog.current?.querySelector<HTMLElement>("button.primary")?.focus(); // what had the focus left with what was asked
  }, [open, stays]);
  // with what must stay on the screen, not after it: no Escape comes between
  useLayoutEffect(() => {
    if (!open || !stays) return;
    // a browser closes a dialog at the second Escape, whatever its cancel event is told
    const keep = (event: KeyboardEvent) => event.key === "Escape" && event.preventDefault();
    addEventListener("keydown", keep, { capture: true });
    return () => removeEventListener("keydown", keep, { capture: true });
  }, [open, stays]);
  return (
    <dialog
      ref={dialog}
      class={`dialog${sheet ? " sheet" : ""}${wide ? " wide" : ""}`}
      aria-labelledby={id}
      onCancel={(event) => (event.preventDefault(), stays || onClose())}
      onClose={() => open && onClose()}
      onPointerDown={(event) => void (pressed.current = event.target)}
      onClick={(event) => !stays && event.target === dialog.current && pressed.current === dialog.current && onClose()} // a selection that ends beside it closes nothing
    >
      {open && (
        <div class="dialog-body">
          <header>
            <h2 id={id}>{title}</h2>
            {!stays && (
              <button type="button" class="quiet square" aria-label={say.app.close} onClick={onClose}>
                <Icon name="close" />
              </button>
            )}
          </header>
          {children}
        </div>
      )}
      {open && <Toasts />}
    </dialog>
  );
}

/** Where the focus went with what had it, the screen takes it: the keyboard goes on from there. */
export function keepFocus(): void {
  if (document.activeElement === document.body) document.getElementById("main")?.focus({ preventScroll: true });
}

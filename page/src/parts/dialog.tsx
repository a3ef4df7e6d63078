// A modal <dialog>: Esc and a click beside it close it, focus returns to where it was.
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import { say } from "../strings";
import { Icon } from "./icon";

interface Props {
  open: boolean;
  title: string;
  onClose: () => void;
  /** Comes from the bottom edge of a phone. */
  sheet?: boolean;
  wide?: boolean;
  children: ComponentChildren;
}

export function Dialog({ open, title, onClose, sheet, wide, children }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const before = useRef<Element | null>(null);
  const id = useId();
  useEffect(() => {
    const shown = dialog.current;
    if (!shown || open === shown.open) return;
    if (open) {
      before.current = document.activeElement;
      shown.showModal();
    } else {
      shown.close();
      if (before.current instanceof HTMLElement && before.current.isConnected) before.current.focus();
    }
  }, [open]);
  return (
    <dialog
      ref={dialog}
      class={`dialog${sheet ? " sheet" : ""}${wide ? " wide" : ""}`}
      aria-labelledby={id}
      onCancel={(event) => (event.preventDefault(), onClose())}
      onClick={(event) => event.target === dialog.current && onClose()}
    >
      {open && (
        <div class="dialog-body">
          <header>
            <h2 id={id}>{title}</h2>
            <button type="button" class="quiet square" aria-label={say.app.close} onClick={onClose}>
              <Icon name="close" />
            </button>
          </header>
          {children}
        </div>
      )}
    </dialog>
  );
}

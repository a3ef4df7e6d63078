// Keys of the page: registered while a part is on the screen, listed by `?`. Letters do nothing while somebody types.
import { signal } from "@preact/signals";
import { useLayoutEffect } from "preact/hooks";

export interface Shortcut {
  /** One key (`/`, `Enter`, `1`) or two in turn (`g t`). */
  keys: string;
  does: string;
  run: (event: KeyboardEvent) => void;
}

const PREFIX_MS = 1500;
export const shortcuts = signal<Shortcut[]>([]);
let prefix = "";
let prefixAt = 0;

export const isTyping = (target: EventTarget | null) =>
  target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)) &&
  !(target instanceof HTMLInputElement && /^(checkbox|radio|range|button|file)$/.test(target.type));

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.repeat) return; // a key held down decides once
  if (isTyping(event.target) || document.querySelector("dialog[open]")) return;
  const isFresh = prefix && event.timeStamp - prefixAt < PREFIX_MS;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key; // with caps lock too
  const pressed = isFresh ? `${prefix} ${key}` : key;
  const onButton = event.target instanceof HTMLElement && event.target.closest("button, a, summary, [role=button]") !== null;
  if (onButton && (event.key === "Enter" || event.key === " ")) return; // it presses the button
  const found = shortcuts.value.findLast((shortcut) => shortcut.keys === pressed);
  prefix = "";
  if (found) {
    event.preventDefault();
    found.run(event);
  } else if (shortcuts.value.some((shortcut) => shortcut.keys.startsWith(`${key} `))) {
    prefix = key;
    prefixAt = event.timeStamp;
  }
});

/** Registers keys while the calling component is on the screen; what is registered last wins. */
export function useShortcuts(list: Shortcut[], deps: unknown[] = []): void {
  // with the picture on the screen, not after it: a quick key must not meet the one before
  useLayoutEffect(() => {
    shortcuts.value = [...shortcuts.value, ...list];
    return () => {
      shortcuts.value = shortcuts.value.filter((shortcut) => !list.includes(shortcut));
    };
  }, deps);
}

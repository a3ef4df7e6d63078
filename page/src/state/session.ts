// Who uses the page: the key, what it allows, and whether one is needed at all.
import { computed, signal } from "@preact/signals";
import type { Access } from "../api/schema";

const PLACE = "vision.key";

/** Whether a header can carry it; no other can be a key. */
export const isSendable = (text: string) => /^[\x21-\x7e]+$/.test(text);

const read = (store: Storage) => {
  try {
    const found = store.getItem(PLACE);
    return found !== null && isSendable(found) ? found : null;
  } catch {
    return null; // storage is switched off: the key lives as long as the tab's page
  }
};

export const key = signal<string | null>(read(sessionStorage) ?? read(localStorage));
export const remembered = signal(read(localStorage) !== null);
export const access = signal<Access | null>(null);
/** Whether the service wants a key that it did not get: the page then asks for one. */
export const locked = signal(false);
export const needsKey = computed(() => access.value?.key_needed ?? locked.value);

export type Scope = "recognise" | "learn" | "train" | "metrics" | "admin";

/** Whether the key allows it; controls that it does not allow are absent. */
export const may = (scope: Scope) => {
  const held = (access.value?.scopes ?? []) as string[];
  return held.includes(scope) || held.includes("admin");
};

export function useKey(text: string | null, remember: boolean): void {
  key.value = text;
  remembered.value = Boolean(text && remember);
  for (const store of [sessionStorage, localStorage]) {
    try {
      store.removeItem(PLACE);
      if (text && (store === sessionStorage || remember)) store.setItem(PLACE, text);
    } catch {
      // as above
    }
  }
}

/** The service refused the key, or wants one: it may have been revoked meanwhile. */
export function keyRefused(): void {
  access.value = null;
  locked.value = true;
}

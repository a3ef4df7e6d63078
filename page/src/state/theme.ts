// Light, dark or as the system says; remembered on this device.
import { effect, signal } from "@preact/signals";

export type Theme = "system" | "light" | "dark";
const PLACE = "vision.theme";

const stored = (): Theme => {
  try {
    const found = localStorage.getItem(PLACE);
    return found === "light" || found === "dark" ? found : "system";
  } catch {
    return "system";
  }
};

export const theme = signal<Theme>(stored());

export function applyTheme(): void {
  effect(() => {
    document.documentElement.dataset.theme = theme.value;
    try {
      if (theme.value === "system") localStorage.removeItem(PLACE);
      else localStorage.setItem(PLACE, theme.value);
    } catch {
      // it lasts as long as the page
    }
  });
}

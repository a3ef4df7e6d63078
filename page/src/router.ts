// `#/teach?collection=kitchen`: the screen and what it shows. Hashes, so that the page works under any prefix.
import { signal } from "@preact/signals";

export interface Route {
  screen: string;
  /** What follows the screen's name, such as a job's id. */
  rest: string[];
  params: URLSearchParams;
}

function read(): Route {
  const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [screen = "", ...rest] = path.split("/").map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  return { screen, rest, params: new URLSearchParams(query) };
}

export const route = signal<Route>(read());
addEventListener("hashchange", () => (route.value = read()));

export function hrefOf(screen: string, rest: string[] = [], params: Record<string, string> = {}): string {
  const query = new URLSearchParams(params).toString();
  return `#/${[screen, ...rest].map(encodeURIComponent).join("/")}${query ? `?${query}` : ""}`;
}

export function goTo(screen: string, rest: string[] = [], params: Record<string, string> = {}): void {
  location.hash = hrefOf(screen, rest, params);
}

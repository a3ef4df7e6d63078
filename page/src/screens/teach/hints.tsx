// A hint where it helps: labels that overlap, pictures that are all alike, pictures that are probably mislabelled.
import { useEffect, useState } from "preact/hooks";
import { call } from "../../api/client";
import type { CollectionHealth } from "../../api/schema";
import { finder } from "../../parts/finder";
import { Icon } from "../../parts/icon";
import { changes, collection, labels } from "../../state/collections";
import { say } from "../../strings";

const AFTER_MS = 1500;
const MAX_SHOWN = 3;
const MAX_EXAMPLES = 20_000;

export function Hints() {
  const [health, setHealth] = useState<CollectionHealth | null>(null);
  const current = collection.value;
  useEffect(() => setHealth(null), [current?.name]);
  useEffect(() => {
    if (!current || labels.value.length < 2 || current.examples > MAX_EXAMPLES) return setHealth(null);
    const stop = new AbortController();
    const timer = setTimeout(() => {
      call("GET /v1/collections/{collection}/health", { path: { collection: current.name }, query: { limit: MAX_SHOWN }, signal: stop.signal }).then(setHealth, () => undefined);
    }, AFTER_MS);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [current?.name, changes.value]);
  if (!health) return null;
  const found = [
    ...health.overlapping_labels.map((pair) => ({ text: pair.sentence, tab: null })),
    ...(health.near_duplicates_total ? [{ text: say.teach.duplicates(health.near_duplicates_total), tab: "duplicates" as const }] : []),
    ...(health.suspects_total ? [{ text: say.teach.suspects(health.suspects_total), tab: "suspects" as const }] : []),
  ].slice(0, MAX_SHOWN);
  if (!found.length) return null;
  return (
    <ul class="hints" aria-label={say.teach.hints}>
      {found.map(({ text, tab }) => (
        <li key={text}>
          <Icon name="warning" />
          <span>{text}</span>
          {tab && <button type="button" class="quiet" onClick={() => (finder.value = tab)}>{say.teach.look}</button>}
        </li>
      ))}
    </ul>
  );
}

// Which collection the page works in; a new one is made by its name.
import { useEffect, useState } from "preact/hooks";
import { call } from "../api/client";
import { choose, collectionName, collections, collectionsLoaded, DEFAULT_COLLECTION, loadCollections, refresh } from "../state/collections";
import { may } from "../state/session";
import { say } from "../strings";
import { Dialog } from "./dialog";
import { useOneAtATime } from "./one-at-a-time";
import { ProblemNote } from "./problem";

const NEW = " new"; // no name of a collection

export function CollectionPicker() {
  const [making, setMaking] = useState(false);
  useEffect(() => void loadCollections().catch(() => undefined), []);
  const names = [...new Set([DEFAULT_COLLECTION, collectionName.value, ...collections.value.map((collection) => collection.name)])].sort();
  return (
    <div class="picker">
      <label for="collection">{say.collection.label}</label>
      <select
        id="collection" value={collectionName.value} disabled={!collectionsLoaded.value}
        onChange={(event) => {
          const chosen = event.currentTarget.value;
          if (chosen === NEW) {
            event.currentTarget.value = collectionName.value;
            setMaking(true);
          } else choose(chosen);
        }}
      >
        {names.map((name) => <option key={name} value={name}>{name}</option>)}
        {may("learn") && <option value={NEW}>{say.collection.create}</option>}
      </select>
      <MakeCollection open={making} onClose={() => setMaking(false)} />
    </div>
  );
}

function MakeCollection({ open, onClose }: { open: boolean; onClose: () => void }) {
  const [name, setName] = useState("");
  const [error, setError] = useState<unknown>(null);
  const make = useOneAtATime(async () => {
    try {
      const made = await call("POST /v1/collections", { json: { name: name.trim() }, showCall: true });
      await loadCollections();
      choose(made.name);
      await refresh();
      setName("");
      setError(null);
      onClose();
    } catch (problem) {
      setError(problem);
    }
  });
  return (
    <Dialog open={open} title={say.collection.create} onClose={onClose}>
      <form class="stack" onSubmit={(event) => (event.preventDefault(), make())}>
        <label>
          {say.collection.name}
          <input value={name} required autofocus spellcheck={false} onInput={(event) => setName(event.currentTarget.value)} />
        </label>
        <p class="soft">{say.collection.nameHint}</p>
        {error !== null && <ProblemNote error={error} />}
        <button type="submit" class="primary">{say.collection.make}</button>
      </form>
    </Dialog>
  );
}

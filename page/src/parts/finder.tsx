// Search by words or a picture, and what may be wrong: near-duplicates and pictures whose neighbours say otherwise.
import { signal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { call } from "../api/client";
import type { CollectionHealth, Hit, NearDuplicate, Suspect } from "../api/schema";
import { useShortcuts } from "../keyboard";
import { changes, collection, collectionName } from "../state/collections";
import { forget, leaving } from "../state/forgetting";
import { sendPicture } from "../state/pictures";
import { relabel } from "../state/relabelling";
import { may } from "../state/session";
import { say } from "../strings";
import { ChooseLabel } from "./choose-label";
import { Dialog } from "./dialog";
import { ExamplesGrid } from "./examples-grid";
import { Icon } from "./icon";
import { ProblemNote } from "./problem";
import { Progress } from "./progress";
import { Thumb } from "./thumb";
import { Choose, usePaste } from "./ways-in";

type Tab = "search" | "duplicates" | "suspects";
const TABS: Tab[] = ["search", "duplicates", "suspects"];
const FOUND = 60;
const MAX_FINDINGS = 100;

/** Which tab is open; null while the finder is closed. */
export const finder = signal<Tab | null>(null);
/** What somebody looked at and left as it is. */
const kept = signal<ReadonlySet<string>>(new Set());

export function FinderButton() {
  useShortcuts([{ keys: "/", does: say.keys.search, run: () => (finder.value = "search") }]);
  return (
    <>
      <button type="button" class="quiet" aria-haspopup="dialog" disabled={!collection.value} onClick={() => (finder.value = "search")}><Icon name="search" /><span class="head-text">{say.finder.search}</span></button>
      <Dialog open={finder.value !== null} title={say.finder.title} onClose={() => (finder.value = null)} wide>
        <Finder />
      </Dialog>
    </>
  );
}

function Finder() {
  const [health, setHealth] = useState<CollectionHealth | null>(null);
  const [error, setError] = useState<unknown>(null);
  const tab = finder.value ?? "search";
  useEffect(() => {
    if (!collection.value) return;
    const stop = new AbortController();
    call("GET /v1/collections/{collection}/health", { path: { collection: collectionName.value }, query: { limit: MAX_FINDINGS }, signal: stop.signal }).then(setHealth, (problem: unknown) => stop.signal.aborted || setError(problem));
    return () => stop.abort();
  }, [changes.value, collectionName.value]);
  const counts = { search: null, duplicates: health?.near_duplicates_total ?? null, suspects: health?.suspects_total ?? null };
  return (
    <>
      <div class="tabs" role="group" aria-label={say.finder.title}>
        {TABS.map((name) => (
          <button type="button" key={name} aria-pressed={name === tab} onClick={() => (finder.value = name)}>
            {say.finder.tabs[name]}{counts[name] !== null && <span class="count">{counts[name]}</span>}
          </button>
        ))}
      </div>
      {tab === "search" && <Search />}
      {tab !== "search" && error !== null && <ProblemNote error={error} />}
      {tab !== "search" && error === null && !health && <Progress label={say.app.loading} />}
      {tab === "duplicates" && health && <Duplicates pairs={health.near_duplicates} />}
      {tab === "suspects" && health && <Suspects suspects={health.suspects} />}
      {tab !== "search" && health?.notes.map((note) => <p key={note} class="soft">{note}</p>)}
    </>
  );
}

function Search() {
  const [text, setText] = useState("");
  const [hits, setHits] = useState<readonly Hit[] | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const find = async (wanted: { text: string } | { image: File }) => {
    setBusy(true);
    try {
      const search = (by: { text: string } | { image: File }) => call("POST /v1/search", { form: { ...by, collection: collectionName.value, top_k: FOUND }, showCall: true });
      setHits((await ("image" in wanted ? sendPicture(wanted.image, (image) => search({ image })) : search(wanted))).data);
      setError(null);
    } catch (problem) {
      setError(problem);
    } finally {
      setBusy(false);
    }
  };
  const findPicture = (given: { file: File }[]) => given[0] && void find({ image: given[0].file });
  usePaste(findPicture);
  return (
    <>
      <form class="row" role="search" onSubmit={(event) => (event.preventDefault(), void find({ text: text.trim() }))}>
        <label class="grow"><span class="unseen">{say.finder.words}</span><input type="search" required autofocus value={text} placeholder={say.finder.words} onInput={(event) => setText(event.currentTarget.value)} /></label>
        <button type="submit" class="primary"><Icon name="search" />{say.finder.search}</button>
        <Choose single onGiven={findPicture}><Icon name="picture" />{say.finder.byPicture}</Choose>
      </form>
      {error !== null && <ProblemNote error={error} />}
      {busy && <Progress label={say.app.loading} />}
      {hits && <ExamplesGrid examples={hits} label={say.finder.found} note={(hit) => `${hit.label} ${say.scores.percent(hit.similarity)}`} onGone={(ids) => setHits(hits.filter((hit) => !ids.includes(hit.id)))} />}
      {hits?.length === 0 && <p class="soft">{say.finder.nothing}</p>}
    </>
  );
}

const keep = (id: string) => (kept.value = new Set([...kept.value, id]));

function Duplicates({ pairs }: { pairs: readonly NearDuplicate[] }) {
  const left = pairs.filter((pair) => !kept.value.has(pair.examples.join()) && !pair.examples.some((id) => leaving.value.has(id)));
  if (!left.length) return <p class="soft">{say.finder.noDuplicates}</p>;
  return (
    <ul class="findings">
      {left.map((pair) => (
        <li key={pair.examples.join()} class="finding">
          <p class="soft">{say.finder.alike(pair.similarity)}</p>
          <div class="pair">
            {([0, 1] as const).map((side) => (
              <div key={side}>
                <Thumb path={pair.images[side]} alt={say.finder.taughtAs(pair.labels[side])} />
                <span dir="auto">{pair.labels[side]}</span>
                {may("learn") && <button type="button" onClick={() => forget(collectionName.value, [{ id: pair.examples[side], label: pair.labels[side] }], say.teach.forgot(1))}>{say.finder.forgetThis}</button>}
              </div>
            ))}
          </div>
          <button type="button" class="quiet" onClick={() => keep(pair.examples.join())}>{say.finder.keepBoth}</button>
        </li>
      ))}
    </ul>
  );
}

function Suspects({ suspects }: { suspects: readonly Suspect[] }) {
  const [naming, setNaming] = useState<string | null>(null);
  const [error, setError] = useState<unknown>(null);
  const left = suspects.filter((suspect) => !kept.value.has(suspect.id) && !leaving.value.has(suspect.id));
  const change = (suspect: Suspect, label: string) => relabel(collectionName.value, [suspect], label).then(() => (keep(suspect.id), setNaming(null), setError(null)), setError);
  if (!left.length) return <p class="soft">{say.finder.noSuspects}</p>;
  return (
    <>
      {error !== null && <ProblemNote error={error} />}
      <ul class="findings">
        {left.map((suspect) => (
          <li key={suspect.id} class="finding">
            <div class="finding-picture"><Thumb path={suspect.image} alt={say.finder.taughtAs(suspect.label)} /></div>
            <p>{say.finder.suspect(suspect.label, suspect.told)}</p>
            {may("learn") && (
              <div class="row">
                <button type="button" class="primary" onClick={() => void change(suspect, suspect.told)}>{say.finder.itIs(suspect.told)}</button>
                <button type="button" onClick={() => keep(suspect.id)}>{say.finder.keep(suspect.label)}</button>
                <button type="button" aria-expanded={naming === suspect.id} onClick={() => setNaming(naming === suspect.id ? null : suspect.id)}>{say.try.other}</button>
              </div>
            )}
            {naming === suspect.id && <ChooseLabel action={say.teach.moveIt} onName={(label) => void change(suspect, label)} />}
          </li>
        ))}
      </ul>
    </>
  );
}

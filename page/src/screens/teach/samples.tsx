// Pictures to start with, for whoever has none at hand.
import { base } from "../../api/client";
import { labels } from "../../state/collections";
import { teach, uploads } from "../../state/teaching";
import { say } from "../../strings";

export const SAMPLES = ["mug", "cactus", "boat"];

export const sampleUrl = (name: string) => new URL(`page/sample-${name}.jpg`, base).href;

export async function fetchSample(name: string): Promise<File> {
  const reply = await fetch(sampleUrl(name), { credentials: "omit" });
  return new File([await reply.blob()], `${name}.jpg`, { type: "image/jpeg" });
}

export function Hero() {
  return (
    <div class="hero">
      <h2>{say.teach.hero}</h2>
      <p class="soft">{say.teach.heroLead}</p>
    </div>
  );
}

/** The samples that are not taught yet, while nothing else is. */
export function SampleStrip() {
  const known = labels.value.map((label) => label.label);
  if (!known.every((label) => SAMPLES.includes(label))) return null;
  const left = SAMPLES.filter((name) => !known.includes(name) && !uploads.value.some((upload) => upload.label === name));
  if (!left.length) return null;
  return (
    <div class="samples" role="group" aria-label={say.teach.samples}>
      <p class="soft">{say.teach.samples}</p>
      {left.map((name) => (
        <button type="button" key={name} aria-label={say.teach.sample(name)} onClick={() => void fetchSample(name).then((file) => teach(name, [file]))}>
          <img src={sampleUrl(name)} alt="" width={96} height={96} />
          {name}
        </button>
      ))}
    </div>
  );
}

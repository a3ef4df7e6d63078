// Pictures to start with, for whoever has none at hand.
import { base } from "../../api/client";
import { noAnswer } from "../../api/problems";
import { tell } from "../../parts/toast";
import { labels } from "../../state/collections";
import { teach, uploads } from "../../state/teaching";
import { say } from "../../strings";

export const SAMPLES = ["mug", "cactus", "boat"];

export const sampleUrl = (name: string) => new URL(`page/sample-${name}.jpg`, base).href;

/** Hands on a sample picture; says so where the service does not answer. */
export async function withSample(name: string, use: (file: File) => void): Promise<void> {
  try {
    const reply = await fetch(sampleUrl(name), { credentials: "omit" });
    if (!reply.ok) throw noAnswer();
    use(new File([await reply.blob()], `${name}.jpg`, { type: "image/jpeg" }));
  } catch {
    tell(say.problem.noAnswer);
  }
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
        <button type="button" key={name} aria-label={say.teach.sample(name)} onClick={() => void withSample(name, (file) => void teach(name, [file]))}>
          <img src={sampleUrl(name)} alt="" width={96} height={96} />
          {name}
        </button>
      ))}
    </div>
  );
}

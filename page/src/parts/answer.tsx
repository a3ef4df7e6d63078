// What the service said of a picture: the label, its bars with "none of these" among them, and what it looks like.
import { Bars, type Bar } from "./bars";
import { Thumb } from "./thumb";
import { hueOf } from "../state/collections";
import type { Prediction } from "../state/classifying";
import { say } from "../strings";

/** The predicted label, null where the answer is rejected. `threshold` replaces the threshold of the service. */
export function labelOf({ answer }: Prediction, threshold?: number | null): string | null {
  const best = answer.scores[0];
  const rejected = threshold == null ? answer.rejected : !best || best.score < threshold;
  return rejected ? null : (best?.label ?? null);
}

export function Answer({ prediction, threshold, live }: { prediction: Prediction; threshold?: number | null; live?: boolean }) {
  const { answer, nearest } = prediction;
  const label = labelOf(prediction, threshold);
  const bars: Bar[] = answer.scores.map(({ label, score }) => ({ label, score }));
  bars.push({ label: say.scores.none, score: answer.none, kind: "none" });
  return (
    <div class="answer">
      <p class="verdict" data-hue={label === null ? undefined : hueOf(label)} aria-live={live ? "off" : "polite"}>
        {label === null ? say.preview.rejects : <span dir="auto">{label}</span>}
      </p>
      <Bars bars={bars} winner={label} hueOf={hueOf} />
      {nearest.length > 0 && (
        <figure class="nearest">
          <figcaption class="soft">{say.preview.because}</figcaption>
          <ul>
            {nearest.map((hit) => (
              <li key={hit.id} data-hue={hueOf(hit.label)} title={say.preview.similar(hit.label, hit.similarity)}>
                <Thumb path={hit.image} size={160} alt={say.preview.similar(hit.label, hit.similarity)} />
                <span class="nearest-score">{say.scores.percent(hit.similarity)}</span>
              </li>
            ))}
          </ul>
        </figure>
      )}
    </div>
  );
}

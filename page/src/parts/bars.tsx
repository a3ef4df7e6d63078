// Scores as bars: their text says the same, so that nothing rests on length or colour alone.
import { say } from "../strings";

export interface Bar {
  label: string;
  score: number;
  /** `none`: none of these labels; hatched. */
  kind?: "none";
}

export function Bars({ bars, winner, hueOf }: { bars: Bar[]; winner: string | null; hueOf?: (label: string) => number }) {
  return (
    <ul class="bars" aria-label={say.scores.list}>
      {bars.map((bar) => (
        <li key={`${bar.kind ?? ""}${bar.label}`} class={bar.kind === "none" ? "none" : ""} data-wins={bar.kind === "none" ? winner === null : bar.label === winner} data-hue={bar.kind ? undefined : hueOf?.(bar.label)}>
          <span class="bar-label" dir="auto">{bar.label}</span>
          <span class="bar-score">{say.scores.percent(bar.score)}</span>
          <span class="bar" aria-hidden="true"><span style={{ width: `${Math.max(bar.score * 100, 0.5)}%` }} /></span>
        </li>
      ))}
    </ul>
  );
}

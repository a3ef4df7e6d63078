// Labels of one's own in place of the taught ones, and the score below which nothing is accepted.
import { useState } from "preact/hooks";
import { say } from "../../strings";

interface Props {
  ownLabels: string[] | null;
  onOwnLabels: (labels: string[] | null) => void;
  threshold: number | null;
  onThreshold: (threshold: number | null) => void;
}

export function Controls({ ownLabels, onOwnLabels, threshold, onThreshold }: Props) {
  const [text, setText] = useState("");
  const named = [...new Set(text.split(",").map((label) => label.trim()).filter(Boolean))];
  const use = (event: Event) => {
    event.preventDefault();
    onOwnLabels(named.length ? named : null);
  };
  return (
    <div class="try-controls">
      <form onSubmit={use}>
        <label>
          {say.try.ownLabels}
          <input value={text} placeholder={say.try.ownLabelsHint} onInput={(event) => setText(event.currentTarget.value)} />
        </label>
        {ownLabels && named.join() === ownLabels.join() ? (
          <button type="button" onClick={() => (setText(""), onOwnLabels(null))}>{say.try.forgetOwn}</button>
        ) : (
          <button type="submit" disabled={!text.trim() && !ownLabels}>{say.try.useOwn}</button>
        )}
      </form>
      <div class="threshold" data-automatic={threshold === null}>
        <label>
          {say.try.threshold} <span class="soft">{threshold === null ? say.try.automatic : say.scores.percent(threshold)}</span>
          <input type="range" min={0} max={1} step={0.01} value={threshold ?? 0.5} onInput={(event) => onThreshold(Number(event.currentTarget.value))} />
        </label>
        {threshold !== null && <button type="button" class="quiet" onClick={() => onThreshold(null)}>{say.try.useAutomatic}</button>}
      </div>
      {ownLabels && <p class="soft">{say.try.ownLabelsOn(ownLabels.length)}</p>}
    </div>
  );
}

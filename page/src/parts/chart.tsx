// A curve that grows (uPlot): hover, smoothing, log axis, and the same numbers as a table.
import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { theme } from "../state/theme";
import { say } from "../strings";

export interface Series {
  label: string;
  /** Hue of the tokens, 0 to 7. */
  hue: number;
  points: (number | null)[];
}

const HEIGHT = 220;
const MAX_ROWS = 200;

/** Exponential moving average; 0 changes nothing, 0.9 is smooth. */
export function smooth(points: (number | null)[], weight: number): (number | null)[] {
  let last: number | null = null;
  return points.map((point) => {
    if (point === null) return null;
    last = last === null ? point : last * weight + point * (1 - weight);
    return last;
  });
}

export function Chart({ title, steps, stepName, series, controls = true }: { title: string; steps: number[]; stepName: string; series: Series[]; controls?: boolean }) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const [weight, setWeight] = useState(0);
  const [log, setLog] = useState(false);
  const [table, setTable] = useState(false);
  const shape = series.map((line) => line.label).join("\n");
  const data = [steps, ...series.map((line) => smooth(line.points, weight))] as uPlot.AlignedData;
  useEffect(() => {
    const parent = place.current;
    if (!parent) return;
    const colour = (name: string) => {
      parent.style.color = `var(${name})`; // a canvas takes no light-dark(): the element says which of the two it is
      const { color } = getComputedStyle(parent);
      parent.style.color = "";
      return color;
    };
    const axis = { stroke: colour("--ink-soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    plot.current = new uPlot(
      {
        width: parent.clientWidth, height: HEIGHT,
        scales: { x: { time: false }, y: { distr: log ? 3 : 1 } },
        axes: [axis, { ...axis, size: 56 }],
        cursor: { points: { size: 7 } },
        legend: { live: true },
        series: [{ label: stepName }, ...series.map((line) => ({ label: line.label, stroke: colour(`--hue-${line.hue}`), width: 2, spanGaps: true, value: (_: uPlot, value: number | null) => value?.toPrecision(4) ?? "" }))],
      },
      data, parent,
    );
    const resize = new ResizeObserver(() => plot.current?.setSize({ width: parent.clientWidth, height: HEIGHT }));
    resize.observe(parent);
    return () => {
      resize.disconnect();
      plot.current?.destroy();
    };
  }, [shape, log, theme.value]);
  useEffect(() => plot.current?.setData(data), [steps, series, weight]);
  return (
    <figure class="chart">
      <figcaption>
        <h3>{title}</h3>
        {controls && (
          <label class="inline">{say.chart.smooth}<input type="range" min={0} max={0.95} step={0.05} value={weight} onInput={(event) => setWeight(Number(event.currentTarget.value))} /></label>
        )}
        {controls && (
          <label class="inline check"><input type="checkbox" checked={log} onChange={(event) => setLog(event.currentTarget.checked)} /><span>{say.chart.log}</span></label>
        )}
        <button type="button" class="quiet" aria-expanded={table} onClick={() => setTable(!table)}>{say.chart.table}</button>
      </figcaption>
      <div ref={place} aria-hidden="true" />
      {table && (
        <div class="scroll" tabIndex={0} role="region" aria-label={title}>
          <table>
            <thead><tr><th scope="col">{stepName}</th>{series.map((line) => <th scope="col" key={line.label}>{line.label}</th>)}</tr></thead>
            <tbody>
              {steps.slice(-MAX_ROWS).map((step, row) => (
                <tr key={step}><th scope="row">{step}</th>{series.map((line) => <td key={line.label}>{line.points.slice(-MAX_ROWS)[row]?.toPrecision(4) ?? ""}</td>)}</tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </figure>
  );
}

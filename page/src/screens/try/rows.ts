// What the table of many files shows of each, and the same as CSV.
import type { Classification } from "../../api/schema";
import { say } from "../../strings";

export interface Row {
  file: File;
  answer: Classification | null;
  error: unknown;
}

export interface Seen {
  index: number;
  file: File;
  /** `none of these` where it is rejected; null while it is not known. */
  label: string | null;
  rejected: boolean;
  score: number;
  /** How far the best is ahead of the next, none of these included. */
  lead: number;
  error: unknown;
}

export function read({ file, answer, error }: Row, index: number, threshold: number | null): Seen {
  const [best, second] = answer?.scores ?? [];
  if (!answer || !best) return { index, file, label: null, rejected: false, score: 0, lead: 0, error };
  const rejected = threshold === null ? answer.rejected : best.score < threshold;
  const lead = Math.max(0, best.score - Math.max(second?.score ?? 0, answer.none));
  return { index, file, label: rejected ? say.scores.none : best.label, rejected, score: best.score, lead, error };
}

/** A cell of CSV; what a spreadsheet would take for a formula is kept from being one. */
function cell(value: string | number): string {
  const text = typeof value === "number" ? value.toFixed(4) : /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function saveCsv(rows: Seen[]): void {
  const lines = rows.map((row) =>
    [row.file.name, row.error !== null || row.label === null ? "" : row.rejected ? "" : row.label, row.score, row.lead, row.error instanceof Error ? row.error.message : ""].map(cell).join(","),
  );
  save("classified.csv", new Blob([`file,label,score,lead,error\r\n${lines.join("\r\n")}\r\n`], { type: "text/csv;charset=utf-8" }));
}

export function save(name: string, blob: Blob): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

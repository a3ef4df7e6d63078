// How the service is: its parts, this machine, and what it keeps.
import { useEffect, useState } from "preact/hooks";
import { call } from "../../api/client";
import type { Hardware, Model, Storage } from "../../api/schema";
import { readAll } from "../../api/client";
import { Problem } from "../../api/problems";
import { ProblemNote } from "../../parts/problem";
import { collections, loadCollections } from "../../state/collections";
import { say } from "../../strings";

const EVERY_MS = 10_000;
/** The share of its space from which a workspace counts as nearly full. */
const NEARLY_FULL = 0.9;

export function Health() {
  const [checks, setChecks] = useState<Record<string, string>>({});
  const [version, setVersion] = useState("");
  const [problem, setProblem] = useState<unknown>(null);
  const [hardware, setHardware] = useState<Hardware | null>(null);
  const [models, setModels] = useState<readonly Model[]>([]);
  const [stored, setStored] = useState<Storage | null>(null);
  useEffect(() => {
    const look = async () => {
      try {
        setVersion((await call("GET /healthz")).version);
        setChecks((await call("GET /readyz")).checks);
        setStored(await call("GET /v1/storage"));
        await loadCollections();
        setProblem(null);
      } catch (error) {
        setProblem(error);
      }
    };
    void look();
    void call("GET /v1/hardware").then(setHardware, () => undefined);
    void readAll("GET /v1/models", {}).then((rows) => setModels([...rows]), () => undefined);
    const timer = setInterval(() => void look(), EVERY_MS);
    return () => clearInterval(timer);
  }, []);
  const sum = (field: "examples" | "answers") => collections.value.reduce((total, collection) => total + collection[field], 0);
  const loaded = models.filter((model) => model.loaded && !model.alias_of);
  return (
    <section class="card stack">
      <h2>{say.settings.health}</h2>
      {problem !== null && <ProblemNote error={problem instanceof Problem ? problem : String(problem)} />}
      <ul class="checks" aria-live="polite">
        {Object.entries(checks).map(([part, state]) => (
          <li key={part} data-ok={state === "ok"}><span>{say.settings.parts[part as keyof typeof say.settings.parts] ?? part}</span><span class="soft">{state}</span></li>
        ))}
      </ul>
      <dl class="facts">
        <div><dt>{say.settings.version}</dt><dd>{version}</dd></div>
        {hardware && <div><dt>{say.settings.machine}</dt><dd>{hardware.cpu.name}, {say.settings.cores(hardware.cpu.cores)}</dd></div>}
        {hardware && <div><dt>{say.settings.memory}</dt><dd>{say.settings.memoryOf(hardware.memory.available_mb, hardware.memory.total_mb)}</dd></div>}
        {hardware?.gpus.map((gpu) => <div key={gpu.index}><dt>{say.settings.gpu}</dt><dd>{gpu.name}, {say.settings.memoryOf(gpu.memory_available_mb, gpu.memory_mb)}</dd></div>)}
        <div><dt>{say.settings.loaded}</dt><dd>{loaded.length ? loaded.map((model) => `${model.id}${model.memory_mb ? ` (${Math.round(model.memory_mb)} MB)` : ""}`).join(", ") : say.settings.nothingLoaded}</dd></div>
        {stored && <div><dt>{say.settings.storage}</dt><dd>{say.settings.kept(sum("examples"), sum("answers"), collections.value.length)}</dd></div>}
        {stored && (
          <div>
            <dt>{say.settings.space}</dt>
            <dd><meter class="space" min={0} max={stored.max_bytes} high={stored.max_bytes * NEARLY_FULL} value={stored.used_bytes} aria-label={say.settings.space} />{say.settings.spaceOf(stored.used_bytes, stored.max_bytes)}</dd>
          </div>
        )}
      </dl>
    </section>
  );
}

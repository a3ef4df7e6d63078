// Models: what is loaded and what it takes, those trained here with their files, and the strategies with why each fits.
import { useEffect, useState } from "preact/hooks";
import { base, call } from "../api/client";
import type { Hardware, Model, ModelFile, StrategyInfo } from "../api/schema";
import { CopyBlock } from "../parts/copy";
import { Dialog } from "../parts/dialog";
import { Icon } from "../parts/icon";
import { Download } from "../parts/job-view";
import { useOneAtATime } from "../parts/one-at-a-time";
import { ProblemNote } from "../parts/problem";
import { Progress } from "../parts/progress";
import { ShowCall } from "../parts/show-call";
import { tell } from "../parts/toast";
import { UploadArchive } from "../parts/upload-archive";
import { goTo } from "../router";
import { may, needsKey } from "../state/session";
import { say } from "../strings";

export function Models() {
  const [models, setModels] = useState<Model[] | null>(null);
  const [hardware, setHardware] = useState<Hardware | null>(null);
  const [error, setError] = useState<unknown>(null);
  const look = async () => {
    try {
      setModels((await call("GET /v1/models")).data.filter((model) => model.alias_of === null));
      setHardware(await call("GET /v1/hardware"));
      setError(null);
    } catch (problem) {
      setError(problem);
    }
  };
  useEffect(() => void look(), []);
  const bring = async (archive: File, onProgress: (share: number) => void) => {
    const model = await call("POST /v1/models", { form: { archive }, onProgress, showCall: true });
    tell(say.models.taken(model.id));
    await look();
  };
  const trained = models?.filter((model) => model.trained) ?? [];
  const others = models?.filter((model) => !model.trained) ?? [];
  return (
    <>
      <header class="screen-head">
        <h1>{say.models.title}</h1>
        {may("train") && <UploadArchive label={say.models.upload} send={bring} />}
        <ShowCall />
      </header>
      {error !== null && <ProblemNote error={error} onRetry={() => void look()} />}
      {models === null ? error === null && <Progress label={say.app.loading} /> : (
        <>
          {hardware && <MemoryBar models={models} total={hardware.memory.total_mb} />}
          <section class="stack" aria-labelledby="trained">
            <h2 id="trained">{say.models.trained}</h2>
            {trained.length ? <ul class="models">{trained.map((model) => <Card key={model.id} model={model} onGone={() => void look()} />)}</ul> : <p class="soft">{say.models.noneTrained}</p>}
          </section>
          <section class="stack" aria-labelledby="known">
            <h2 id="known">{say.models.known}</h2>
            <ul class="models">{others.map((model) => <Card key={model.id} model={model} onGone={() => void look()} />)}</ul>
          </section>
          {hardware && <Strategies hardware={hardware} />}
        </>
      )}
    </>
  );
}

function MemoryBar({ models, total }: { models: Model[]; total: number }) {
  const loaded = models.filter((model) => model.loaded && model.memory_mb !== null);
  const taken = loaded.reduce((sum, model) => sum + (model.memory_mb ?? 0), 0);
  return (
    <section class="card stack" aria-labelledby="memory">
      <h2 id="memory">{say.models.memory(taken, total)}</h2>
      <div class="memory" aria-hidden="true">{loaded.map((model, index) => <span key={model.id} data-hue={index % 8} style={{ width: `${Math.max(0.4, ((model.memory_mb ?? 0) / total) * 100)}%` }} />)}</div>
      <ul class="row">{loaded.map((model, index) => <li key={model.id} class="row"><span class="dot" data-hue={index % 8} aria-hidden="true" />{say.models.takes(model.id, model.memory_mb ?? 0)}</li>)}</ul>
    </section>
  );
}

function Card({ model, onGone }: { model: Model; onGone: () => void }) {
  const [open, setOpen] = useState(false);
  const facts = model.trained;
  const accuracy = facts?.comparison?.trained?.accuracy ?? facts?.metrics["accuracy"];
  return (
    <li class="card stack model">
      <div class="row">
        <h3 dir="auto">{model.id}</h3>
        {model.default && <span class="state">{say.models.default}</span>}
        <span class="soft">{model.loaded ? say.models.loaded : say.models.onDemand}</span>
      </div>
      <p class="soft">{say.models.facts(model)}</p>
      {model.knows && <p class="note"><Icon name="warning" /><span>{say.ask.knows(model.id, model.knows)}</span></p>}
      {facts && (
        <>
          {typeof accuracy === "number" && <p>{say.models.judged(accuracy, facts.comparison?.chance ?? null, facts.comparison?.evaluated_on ?? null)}</p>}
          {facts.labels && <p class="soft" dir="auto">{say.models.labels(facts.labels)}</p>}
          {facts.base_changed && <p class="note"><Icon name="warning" /><span>{facts.note ?? say.models.baseChanged}</span></p>}
          <div><button type="button" onClick={() => setOpen(true)}>{say.models.open}</button></div>
          <Details model={model} open={open} onClose={() => setOpen(false)} onGone={onGone} />
        </>
      )}
    </li>
  );
}

function Details({ model, open, onClose, onGone }: { model: Model; open: boolean; onClose: () => void; onGone: () => void }) {
  const [files, setFiles] = useState<ModelFile[]>([]);
  const [sure, setSure] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const path = { model: model.id };
  useEffect(() => {
    if (!open) return;
    setSure(false);
    void call("GET /v1/models/{model}/artifacts", { path }).then((found) => setFiles(found.data), setError);
  }, [open]);
  const exportIt = useOneAtATime(async (format: "onnx" | "safetensors") => {
    try {
      const job = await call("POST /v1/models/{model}/export", { path, json: { format }, showCall: true });
      onClose();
      goTo("jobs", [job.id]);
    } catch (problem) {
      setError(problem);
    }
  });
  const remove = async () => {
    if (!sure) return setSure(true);
    try {
      await call("DELETE /v1/models/{model}", { path, showCall: true });
      onClose();
      tell(say.models.removed(model.id));
      onGone();
    } catch (problem) {
      setError(problem);
    }
  };
  const key = needsKey.value ? ' -H "Authorization: Bearer $VISION_API_KEY"' : "";
  const route = model.kind === "classifier" ? "classify" : model.kind === "vlm" ? "vqa" : "embeddings";
  const question = route === "vqa" ? " -F 'question=What is in the picture?'" : "";
  return (
    <Dialog open={open} title={model.id} onClose={onClose} wide>
      <h3>{say.jobs.useIt}</h3>
      <CopyBlock text={`curl${key} -F image=@photo.jpg -F model=${model.id}${question} ${base.href}v1/${route}`} title={say.models.asCall} />
      {model.trained?.comparison && <p>{model.trained.comparison.sentence}</p>}
      {error !== null && <ProblemNote error={error} />}
      <h3>{say.jobs.files}</h3>
      <ul class="files">{files.map((file) => <li key={file.name}><Download file={file} /></li>)}</ul>
      {may("train") && (
        <div class="row">
          <button type="button" onClick={() => exportIt("onnx")}>{say.models.exportAs("ONNX")}</button>
          <button type="button" onClick={() => exportIt("safetensors")}>{say.models.exportAs("safetensors")}</button>
          <button type="button" class="danger" onClick={() => void remove()}><Icon name="trash" />{sure ? say.models.reallyRemove : say.app.remove}</button>
        </div>
      )}
      <p class="unseen" role="status">{sure ? say.models.noUndo : ""}</p>
      {sure && <p class="soft">{say.models.noUndo}</p>}
    </Dialog>
  );
}

function Strategies({ hardware }: { hardware: Hardware }) {
  const [list, setList] = useState<StrategyInfo[]>([]);
  useEffect(() => void call("GET /v1/strategies").then((found) => setList(found.data), () => undefined), []);
  const fits = new Map(hardware.strategies.map((fit) => [fit.name, fit]));
  return (
    <section class="stack" aria-labelledby="strategies">
      <h2 id="strategies">{say.models.strategies}</h2>
      <ul class="models">
        {list.map((strategy) => (
          <li key={strategy.name} class="card stack model">
            <div class="row">
              <h3>{strategy.name}</h3>
              <span class="state">{fits.get(strategy.name)?.fits === false ? say.models.tooSmall : say.models.fits}</span>
            </div>
            <p>{strategy.description}</p>
            <p class="soft">{fits.get(strategy.name)?.reason ?? strategy.here}</p>
          </li>
        ))}
      </ul>
    </section>
  );
}

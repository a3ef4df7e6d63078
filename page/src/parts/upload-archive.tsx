// An archive on its way: chosen by a button or dropped on the part, with a bar while it is sent and a refusal below it.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { Icon } from "./icon";
import { ProblemNote } from "./problem";
import { useDropTarget } from "./ways-in";

interface Props {
  label: string;
  /** Sends it; raises `Problem`, which is shown here. */
  send: (archive: File, onProgress: (share: number) => void) => Promise<unknown>;
  /** A large zone in place of a button. */
  zone?: boolean;
  children?: ComponentChildren;
}

export function UploadArchive({ label, send, zone, children }: Props) {
  const [share, setShare] = useState<number | null>(null);
  const [error, setError] = useState<unknown>(null);
  const take = async (archive: File | undefined) => {
    if (!archive || share !== null) return;
    setError(null);
    setShare(0);
    await send(archive, setShare).catch(setError);
    setShare(null);
  };
  const { over, handlers } = useDropTarget((given) => void take(given.files[0]));
  return (
    <div class={zone ? "upload drop-zone" : "upload"} data-over={over} {...handlers}>
      <label class={zone ? "button drop-target" : "button"}>
        <Icon name="upload" />
        {zone ? <strong>{label}</strong> : label}
        {zone && children}
        <input
          type="file" class="unseen" accept=".zip,.tar,.tgz,.gz" aria-label={label} disabled={share !== null}
          onChange={(event) => {
            const archive = event.currentTarget.files?.[0];
            event.currentTarget.value = "";
            void take(archive);
          }}
        />
      </label>
      {!zone && children}
      {share !== null && <progress value={share} max={1} aria-label={label} />}
      {error !== null && <ProblemNote error={error} />}
    </div>
  );
}

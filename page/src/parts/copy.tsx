import { useState } from "preact/hooks";
import { say } from "../strings";
import { Icon } from "./icon";

/** A button that copies `text`; where the clipboard is closed (plain HTTP) the text is selected instead. */
export function Copy({ text, label, from }: { text: string; label?: string; from?: () => Element | null | undefined }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setDone(true);
      setTimeout(() => setDone(false), 2000);
    } catch {
      const place = from?.();
      if (place) getSelection()?.selectAllChildren(place);
    }
  };
  return (
    <button type="button" class="quiet" onClick={() => void copy()}>
      <Icon name={done ? "check" : "copy"} />
      {done ? say.app.copied : (label ?? say.app.copy)}
    </button>
  );
}

/** Text to copy, in a frame. */
export function CopyBlock({ text, title }: { text: string; title?: string }) {
  return (
    <figure class="copy-block">
      <figcaption>
        <span>{title}</span>
        <Copy text={text} />
      </figcaption>
      <pre tabIndex={0}><code>{text}</code></pre>
    </figure>
  );
}

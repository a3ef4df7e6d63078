// Every way a picture comes in, all equal: drop, paste, choose, a folder, the camera. The zone is also a button.
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { isPicture, takeChosen, takeDropped, takePasted, type InputFile } from "../state/pictures";
import { say } from "../strings";
import { isTyping } from "../keyboard";
import { Icon } from "./icon";
import { tell } from "./toast";

type Take = (given: InputFile[]) => void;

/** Pictures only; says which files were left out. */
export function keepPictures(given: InputFile[]): InputFile[] {
  const pictures = given.filter(({ file }) => isPicture(file));
  const others = given.filter(({ file }) => !isPicture(file)).map(({ file }) => file.name);
  if (others.length) tell(say.ways.notPictures(others));
  return pictures;
}

// beside a zone the browser would leave the page and open the file in its place
for (const kind of ["dragover", "drop"] as const) {
  addEventListener(kind, (event) => {
    if (event.defaultPrevented || !event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "none";
  });
}

interface DropTarget {
  over: boolean;
  handlers: Record<string, (event: DragEvent) => void>;
}

/** Text dragged into a field, which the browser puts there. */
const isTextForField = (event: DragEvent) => isTyping(event.target) && !event.dataTransfer?.types.includes("Files");

/** Takes what is dropped on the calling element and tells whether something hovers over it. */
export function useDropTarget(onDrop: (given: DataTransfer) => void): DropTarget {
  const [over, setOver] = useState(false);
  const depth = useRef(0);
  const enter = (step: number) => (event: DragEvent) => {
    if (isTextForField(event)) return;
    event.preventDefault();
    event.stopPropagation();
    depth.current = Math.max(0, depth.current + step);
    setOver(depth.current > 0);
  };
  const drop = (event: DragEvent) => {
    if (isTextForField(event)) return;
    event.preventDefault();
    event.stopPropagation();
    depth.current = 0;
    setOver(false);
    if (event.dataTransfer) onDrop(event.dataTransfer);
  };
  return { over, handlers: { onDragEnter: enter(1), onDragLeave: enter(-1), onDragOver: (event) => isTextForField(event) || event.preventDefault(), onDrop: drop } };
}

/** The same for pictures and folders of them. */
export const useDrop = (onGiven: Take) =>
  useDropTarget((dropped) =>
    void takeDropped(dropped).then((given) => {
      if (!given.length) return tell(say.ways.nothing);
      const pictures = keepPictures(given);
      if (pictures.length) onGiven(pictures);
    }),
  );

const pasteTakers: { current: Take }[] = [];

addEventListener("paste", (event) => {
  const given = takePasted(event.clipboardData);
  const taker = pasteTakers.at(-1);
  const isText = isTyping(event.target) && event.clipboardData?.types.includes("text/plain"); // of a table or a document, with its picture
  if (!given.length || !taker || isText) return;
  event.preventDefault();
  taker.current(keepPictures(given));
});

/** Takes pictures pasted anywhere on the page while the calling component is shown; the one shown last has them. */
export function usePaste(onGiven: Take): void {
  const latest = useRef(onGiven);
  latest.current = onGiven;
  useEffect(() => {
    pasteTakers.push(latest);
    return () => void pasteTakers.splice(pasteTakers.indexOf(latest), 1);
  }, []);
}

/** A button that opens the browser's file dialog, or a phone's camera. */
export function Choose({ onGiven, children, folder, photo, single, ...rest }: { onGiven: Take; children: ComponentChildren; folder?: boolean; photo?: boolean; single?: boolean; class?: string; "aria-label"?: string }) {
  const input = useRef<HTMLInputElement>(null);
  return (
    <>
      <button type="button" {...rest} onClick={() => input.current?.click()}>{children}</button>
      <input
        ref={input} type="file" hidden multiple={!single && !photo} accept={folder ? undefined : "image/*"}
        {...(folder ? { webkitdirectory: true } : {})} {...(photo ? { capture: "environment" } : {})}
        onChange={(event) => {
          const given = takeChosen(event.currentTarget.files);
          event.currentTarget.value = "";
          if (given.length) onGiven(keepPictures(given));
        }}
      />
    </>
  );
}

/** A large zone that takes drops and, as a button, opens the file dialog. */
export function DropZone({ onGiven, lead, single, children }: { onGiven: Take; lead: string; single?: boolean; children?: ComponentChildren }) {
  const { over, handlers } = useDrop(onGiven);
  return (
    <div class="drop-zone" data-over={over} {...handlers}>
      <Choose onGiven={onGiven} single={single} class="drop-target">
        <Icon name="picture" />
        <strong>{lead}</strong>
        <span class="soft">{say.ways.choose} {say.ways.paste}</span>
      </Choose>
      {children && <div class="row">{children}</div>}
    </div>
  );
}

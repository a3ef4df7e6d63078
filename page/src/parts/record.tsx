// Hold to record: four pictures a second, twenty at most, each handed on at once. A click or a key takes one.
import { useEffect, useRef, useState } from "preact/hooks";
import { cameraVideo } from "../state/camera";
import { say } from "../strings";
import { takeFrame } from "./camera";
import { Icon } from "./icon";

const EVERY_MS = 250;
const MAX_PICTURES = 20;

interface Props {
  onPicture: (file: File) => void;
  /** The button was let go of, or twenty are taken. */
  onEnd: () => void;
  disabled?: boolean;
  label: string;
}

export function Record({ onPicture, onEnd, disabled, label }: Props) {
  const [count, setCount] = useState(0);
  const timer = useRef(0);
  const latest = useRef({ onPicture, onEnd });
  latest.current = { onPicture, onEnd };
  const frames = useRef<Promise<void>[]>([]);
  const stop = () => {
    if (!timer.current) return;
    clearInterval(timer.current);
    timer.current = 0;
    setCount(0);
    void Promise.all(frames.current.splice(0)).then(() => latest.current.onEnd());
  };
  const start = () => {
    if (timer.current) return;
    let taken = 0;
    const take = async (): Promise<void> => {
      if (taken >= MAX_PICTURES) return stop();
      taken++;
      const frame = await takeFrame(cameraVideo.current);
      if (!frame) return;
      latest.current.onPicture(frame);
      if (timer.current) setCount(taken);
    };
    timer.current = window.setInterval(() => frames.current.push(take()), EVERY_MS);
    frames.current.push(take());
  };
  useEffect(() => stop, []);
  return (
    <button
      type="button" class="record" data-on={count > 0} disabled={disabled} aria-label={label}
      onPointerDown={(event) => {
        if (event.button) return;
        event.currentTarget.setPointerCapture(event.pointerId);
        start();
      }}
      onPointerUp={stop} onPointerCancel={stop} onBlur={stop} onContextMenu={(event) => event.preventDefault()}
      onKeyDown={(event) => {
        if (event.key !== " " && event.key !== "Enter") return;
        event.preventDefault();
        if (!event.repeat) start();
      }}
      onKeyUp={stop}
    >
      <Icon name="camera" />
      {count ? say.ways.recording(count, MAX_PICTURES) : say.ways.hold}
    </button>
  );
}

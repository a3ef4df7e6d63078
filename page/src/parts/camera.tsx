// The camera: a live picture, and frames of it. Exists on HTTPS and localhost only; elsewhere the phone's own camera app.
import type { ComponentChildren, Ref } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { drawJpeg } from "../state/pictures";
import { say } from "../strings";
import { ProblemNote } from "./problem";

export const hasCamera = () => Boolean(navigator.mediaDevices?.getUserMedia);

const MAX_SIDE = 640;

/** A frame of the camera as a JPEG; null before the first one. */
export async function takeFrame(video: HTMLVideoElement | null): Promise<File | null> {
  if (!video?.videoWidth) return null;
  const scale = Math.min(1, MAX_SIDE / Math.max(video.videoWidth, video.videoHeight));
  const blob = await drawJpeg(video, Math.round(video.videoWidth * scale), Math.round(video.videoHeight * scale));
  return new File([blob], "camera.jpg", { type: "image/jpeg" });
}

/** The live picture; its tracks stop when it leaves the screen. */
export function Camera({ video, children }: { video: { current: HTMLVideoElement | null }; children?: ComponentChildren }) {
  const [error, setError] = useState<string | null>(null);
  const [live, setLive] = useState(false);
  const stream = useRef<MediaStream | null>(null);
  useEffect(() => {
    let gone = false;
    const stop = () => stream.current?.getTracks().forEach((track) => track.stop());
    navigator.mediaDevices.getUserMedia({ video: { facingMode: { ideal: "environment" }, width: { ideal: 1280 } }, audio: false }).then(
      (found) => {
        stream.current = found;
        if (gone) return stop();
        if (video.current) video.current.srcObject = found;
      },
      () => setError(say.ways.noCamera),
    );
    return () => {
      gone = true;
      stop();
    };
  }, []);
  if (error) return <ProblemNote error={error} />;
  return (
    <div class="camera" data-live={live}>
      <video ref={video as Ref<HTMLVideoElement>} autoplay playsInline muted onPlaying={() => setLive(true)} aria-label={say.ways.camera} />
      {children}
    </div>
  );
}

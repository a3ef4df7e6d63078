// Whether the camera is on, and the <video> that shows it: one for the screen, however many parts take pictures of it.
import { signal } from "@preact/signals";

export const cameraOn = signal(false);
export const cameraVideo: { current: HTMLVideoElement | null } = { current: null };

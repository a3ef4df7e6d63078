// A picture of the service, loaded when it comes near the screen.
import { useEffect, useRef, useState } from "preact/hooks";
import { hold, thumbnail } from "../api/thumbnails";
import { Icon } from "./icon";

interface Props {
  /** As it stands in replies: `/v1/...`. */
  path: string;
  /** Longest side in pixels. */
  size?: number;
  alt: string;
}

export function Thumb({ path, size = 256, alt }: Props) {
  const place = useRef<HTMLSpanElement>(null);
  const [near, setNear] = useState(false);
  const [url, setUrl] = useState<string | null>(null);
  const [failed, setFailed] = useState(false);
  const full = `${path}${path.includes("?") ? "&" : "?"}size=${size}`;
  useEffect(() => {
    const watcher = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && setNear(true), { rootMargin: "300px" });
    if (place.current) watcher.observe(place.current);
    return () => watcher.disconnect();
  }, []);
  useEffect(() => {
    if (!near) return;
    let gone = false;
    const letGo = hold(full);
    setFailed(false);
    thumbnail(full).then((found) => !gone && setUrl(found), () => !gone && setFailed(true));
    return () => {
      gone = true;
      letGo();
    };
  }, [near, full]);
  return (
    <span class="thumb" ref={place}>
      {url ? <img src={url} alt={alt} draggable={false} decoding="async" /> : <span class={failed ? "failed" : "soon"} role="img" aria-label={alt}>{failed && <Icon name="picture" />}</span>}
    </span>
  );
}

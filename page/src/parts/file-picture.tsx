// A picture that a person handed over; a mark in its place where the browser cannot show its kind, such as TIFF.
import { useEffect, useState } from "preact/hooks";
import { Icon } from "./icon";

interface Props {
  /** A blob: address of it. */
  url: string;
  alt: string;
  class?: string;
}

export function FilePicture({ url, alt, class: name = "" }: Props) {
  const [failed, setFailed] = useState(false);
  useEffect(() => setFailed(false), [url]);
  if (failed) return <span class={`no-picture ${name}`} role={alt ? "img" : undefined} aria-label={alt || undefined}><Icon name="picture" /></span>;
  return <img class={name} src={url} alt={alt} loading="lazy" onError={() => setFailed(true)} />;
}

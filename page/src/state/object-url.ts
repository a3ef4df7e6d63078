// blob: addresses of files that are shown, given back a little later than they leave: an <img> may still be loading.
import { useEffect, useState } from "preact/hooks";

const LATER_MS = 5000;

export const release = (url: string) => void setTimeout(() => URL.revokeObjectURL(url), LATER_MS);

/** The address of `file` while the calling component shows it. */
export function useObjectUrl(file: Blob | null): string | null {
  const [url, setUrl] = useState<string | null>(null);
  useEffect(() => {
    if (!file) return setUrl(null);
    const made = URL.createObjectURL(file);
    setUrl(made);
    return () => release(made);
  }, [file]);
  return url;
}

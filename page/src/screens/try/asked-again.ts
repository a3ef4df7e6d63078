// Whether a picture is asked about again by the page itself, since the collection learned something.
import { useRef } from "preact/hooks";
import { changes, collectionName } from "../../state/collections";

/** To be called once each time something is asked: true where the collection's change alone is the reason. */
export function useAskedAgain(): () => boolean {
  const before = useRef({ name: collectionName.value, changes: changes.value });
  return () => {
    const now = { name: collectionName.value, changes: changes.value };
    const again = now.name === before.current.name && now.changes !== before.current.changes;
    before.current = now;
    return again;
  };
}

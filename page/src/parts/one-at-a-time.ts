// One press, one call: a second Enter or click while the first is on its way would do the thing twice.
import { useRef } from "preact/hooks";

/** `act`, which raises nothing, but once only until it is through. */
export function useOneAtATime<Given extends unknown[]>(act: (...given: Given) => Promise<unknown>): (...given: Given) => void {
  const isBusy = useRef(false);
  return (...given) => {
    if (isBusy.current) return;
    isBusy.current = true;
    void act(...given).finally(() => (isBusy.current = false));
  };
}

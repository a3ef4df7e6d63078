// A grid of pictures that only draws what is near the screen, so that 5,000 scroll like fifty. Arrow keys move in it,
// Enter opens, Space selects.
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { say } from "../strings";

const GAP = 8;
const SPARE_ROWS = 3;

interface Props<Item> {
  items: Item[];
  keyOf: (item: Item) => string;
  /** What the cell is called. */
  nameOf: (item: Item) => string;
  render: (item: Item) => ComponentChildren;
  label: string;
  /** Least width of a cell in pixels. */
  cell?: number;
  /** What each cell has below its picture, in pixels. */
  below?: number;
  onOpen?: (item: Item) => void;
  selected?: ReadonlySet<string>;
  onSelect?: (item: Item, range: Item[]) => void;
}

export function PictureGrid<Item>({ items, keyOf, nameOf, render, label, cell = 120, below = 0, onOpen, selected, onSelect }: Props<Item>) {
  const place = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  const [rows, setRows] = useState<[number, number]>([0, 6]);
  const [active, setActive] = useState(0);
  const anchor = useRef(0);
  const wanted = useRef<number | null>(null);
  const columns = Math.max(1, Math.floor((width + GAP) / (cell + GAP)));
  const side = width ? (width - GAP * (columns - 1)) / columns : cell;
  const rowHeight = side + below + GAP;
  const total = Math.ceil(items.length / columns);

  useLayoutEffect(() => {
    const parent = place.current;
    if (!parent) return;
    const measure = new ResizeObserver(() => setWidth(parent.clientWidth));
    measure.observe(parent);
    setWidth(parent.clientWidth);
    return () => measure.disconnect();
  }, []);

  useEffect(() => {
    let frame = 0;
    const look = () => {
      frame = 0;
      const top = place.current?.getBoundingClientRect().top ?? 0;
      const first = Math.max(0, Math.floor(-top / rowHeight) - SPARE_ROWS);
      const last = Math.ceil((innerHeight - top) / rowHeight) + SPARE_ROWS;
      setRows((before) => (before[0] === first && before[1] === last ? before : [first, last]));
    };
    const soon = () => (frame ||= requestAnimationFrame(look));
    look();
    addEventListener("scroll", soon, { capture: true, passive: true });
    addEventListener("resize", soon);
    return () => {
      cancelAnimationFrame(frame);
      removeEventListener("scroll", soon, { capture: true });
      removeEventListener("resize", soon);
    };
  }, [rowHeight, total]);

  const focus = (index: number) => {
    const next = Math.min(Math.max(index, 0), items.length - 1);
    setActive(next);
    const row = Math.floor(next / columns);
    const top = (place.current?.getBoundingClientRect().top ?? 0) + row * rowHeight;
    if (top < 80) scrollBy(0, top - 80);
    else if (top + rowHeight > innerHeight - 80) scrollBy(0, top + rowHeight - innerHeight + 80);
    wanted.current = next;
  };
  useLayoutEffect(() => {
    if (wanted.current === null) return;
    const cell = place.current?.querySelector<HTMLElement>(`[data-index="${wanted.current}"]`);
    if (!cell) return;
    wanted.current = null;
    cell.focus({ preventScroll: true });
  });
  const select = (index: number, range: boolean) => {
    const item = items[index];
    if (!item || !onSelect) return;
    const [from, to] = range ? [Math.min(anchor.current, index), Math.max(anchor.current, index)] : [index, index];
    if (!range) anchor.current = index;
    onSelect(item, items.slice(from, to + 1));
  };
  const press = (event: KeyboardEvent) => {
    if (event.target instanceof HTMLElement && !event.target.hasAttribute("data-index")) return;
    const steps: Record<string, number> = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -active, End: items.length };
    const step = steps[event.key];
    const item = items[active];
    if (step !== undefined) focus(active + step);
    else if (event.key === " " && onSelect) select(active, event.shiftKey);
    else if (event.key === "Enter" && onOpen && item) onOpen(item);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const click = (event: MouseEvent, index: number) => {
    setActive(index);
    const item = items[index];
    if (onSelect && (!onOpen || event.shiftKey || event.ctrlKey || event.metaKey)) select(index, event.shiftKey);
    else if (onOpen && item) onOpen(item);
  };

  const first = Math.min(rows[0], Math.max(0, total - 1));
  const end = Math.min(Math.min(rows[1], total) * columns, items.length);
  const shown = Array.from({ length: Math.max(0, end - first * columns) }, (_, offset) => first * columns + offset);
  // the cell that has the focus stays, however far it is scrolled away: the keyboard goes on from there
  if (active < items.length && !(active >= first * columns && active < end)) shown.push(active);
  return (
    <div ref={place} class="picture-grid" role="listbox" aria-label={label} aria-multiselectable={onSelect ? true : undefined} onKeyDown={press} style={{ height: `${Math.max(0, total * rowHeight - GAP)}px` }}>
      {shown.map((index) => {
        const item = items[index];
        if (item === undefined) return null;
        const left = (index % columns) * (side + GAP);
        return (
          <div
            key={keyOf(item)} role="option" class="cell" data-index={index} tabIndex={index === Math.min(active, items.length - 1) ? 0 : -1}
            aria-label={nameOf(item)} aria-selected={selected?.has(keyOf(item)) ?? false} aria-posinset={index + 1} aria-setsize={items.length}
            style={{ width: `${side}px`, height: `${side + below}px`, transform: `translate(${left}px, ${Math.floor(index / columns) * rowHeight}px)` }}
            onClick={(event) => click(event, index)} onFocus={() => setActive(index)}
            title={say.grid.position(index + 1, items.length)}
          >
            {render(item)}
          </div>
        );
      })}
    </div>
  );
}

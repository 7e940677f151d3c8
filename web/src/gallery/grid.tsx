import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { tileSize } from "../state/preferences";
import { route } from "../state/route";
import { onGridKey } from "./grid_keys";
import { columnsOf, useRows } from "./rows";
import type { PictureStore } from "./store";
import { Tile } from "./tile";

const GAP = 6;

/** Tiles that stand for what is not read yet. */
const AHEAD = 40;

export function Grid({ store }: { store: PictureStore }) {
  const scroller = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  void store.version.value;

  useLayoutEffect(() => {
    const element = scroller.current;
    if (!element) return;
    const observer = new ResizeObserver(([entry]) => setWidth(Math.floor(entry?.contentRect.width ?? 0)));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  const { columns, tile } = columnsOf(width, tileSize.value, GAP);
  const total = store.count + (store.open && !store.failed.value ? AHEAD : 0);
  const rows = useRows({
    count: width ? Math.ceil(total / columns) : 0,
    height: tile,
    gap: GAP,
    scroller,
    offset: store.offset,
  });

  const items = rows.getVirtualItems();
  const first = (items[0]?.index ?? 0) * columns;
  const last = Math.min(total, ((items.at(-1)?.index ?? -1) + 1) * columns) - 1;
  useEffect(() => {
    if (last >= first) store.need(first, last);
  });
  useEffect(() => {
    if (rows.scrollOffset !== null) store.offset = rows.scrollOffset;
  });

  const { image } = route.value;
  useFollow(image, (id) => {
    const index = store.indexOf(id);
    if (index >= 0) focusOn(index);
  });

  const focusOn = (index: number) => {
    rows.scrollToIndex(Math.floor(index / columns));
    requestAnimationFrame(() => {
      scroller.current?.querySelector<HTMLElement>(`[data-index="${index}"] a`)?.focus({ preventScroll: true });
    });
  };

  useEffect(() => {
    const element = scroller.current;
    const press = (event: KeyboardEvent) => onGridKey(event, { store, columns, focusOn });
    element?.addEventListener("keydown", press);
    return () => element?.removeEventListener("keydown", press);
  });

  return (
    <div ref={scroller} class="grid-scroller">
      <ul class="grid" role="list" aria-label="Pictures" style={{ height: `${rows.getTotalSize()}px` }}>
        {width > 0 &&
          items.flatMap((row) =>
            Array.from({ length: Math.min(columns, total - row.index * columns) }, (_, column) => {
              const index = row.index * columns + column;
              const picture = store.at(index);
              return (
                <Tile
                  key={picture?.id ?? `empty-${index}`}
                  store={store}
                  picture={picture}
                  index={index}
                  x={column * (tile + GAP)}
                  y={row.start}
                  size={tile}
                />
              );
            }),
          )}
      </ul>
    </div>
  );
}

/** When the picture in front is closed, the eye looks for it in the grid. */
function useFollow(image: string | null, act: (id: string) => void): void {
  const before = useRef<string | null>(null);
  useEffect(() => {
    if (before.current && !image) act(before.current);
    before.current = image;
  });
}

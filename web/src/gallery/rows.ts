/** Only the rows that can be seen are in the document: TanStack's virtualiser, for Preact. */
import { elementScroll, observeElementOffset, observeElementRect, Virtualizer } from "@tanstack/virtual-core";
import type { RefObject } from "preact";
import { useLayoutEffect, useReducer, useRef, useState } from "preact/hooks";

export interface RowOptions {
  count: number;
  height: number;
  gap: number;
  scroller: RefObject<HTMLElement | null>;
  /** Where to begin, in pixels. */
  offset: number;
}

export function useRows({ count, height, gap, scroller, offset }: RowOptions) {
  const [, redraw] = useReducer((drawn: number) => drawn + 1, 0);
  const options = {
    count,
    gap,
    overscan: 4,
    initialOffset: offset,
    getScrollElement: () => scroller.current,
    estimateSize: () => height,
    observeElementRect,
    observeElementOffset,
    scrollToFn: elementScroll,
    onChange: () => redraw(undefined),
  };
  const [rows] = useState(() => new Virtualizer<HTMLElement, HTMLElement>(options));
  rows.setOptions(options);
  useLayoutEffect(() => rows._didMount(), [rows]);
  const measured = useRef(height);
  useLayoutEffect(() => {
    if (measured.current !== height) {
      measured.current = height;
      rows.measure();
    }
    rows._willUpdate();
  });
  return rows;
}

/** How many tiles of at least this width fit beside each other, and how wide they then are. */
export function columnsOf(width: number, least: number, gap: number): { columns: number; tile: number } {
  const small = width < 600 ? least * 0.62 : least;
  const columns = Math.max(2, Math.floor((width + gap) / (small + gap)));
  return { columns, tile: Math.max(40, (width - gap * (columns - 1)) / columns) };
}

/** A list that grows by a button, and begins anew with other filters. */
import { useEffect, useRef, useState } from "preact/hooks";
import type { Page } from "../api/types";
import { complain } from "../state/toasts";

export interface Listed<T> {
  items: T[];
  more: (() => void) | null;
  busy: boolean;
  /** Why the last try failed. */
  failed: unknown;
}

type Fetch<T> = (cursor: string | null, stop: AbortSignal) => Promise<Page<T>>;

/** `key` says what is asked for: with another one the list begins anew. Null asks for nothing. */
export function useList<T>(key: string | null, fetch: Fetch<T>): Listed<T> {
  const [items, setItems] = useState<T[]>([]);
  const [cursor, setCursor] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const [failed, setFailed] = useState<unknown>(null);
  const stop = useRef(new AbortController());
  const ask = useRef(fetch);
  ask.current = fetch;

  const load = useRef((from: string | null) => {
    const { signal } = stop.current;
    setBusy(true);
    setFailed(null);
    ask
      .current(from, signal)
      .then((page) => {
        if (signal.aborted) return;
        setItems((before) => (from === null ? page.items : [...before, ...page.items]));
        setCursor(page.next_cursor);
      })
      .catch((problem: unknown) => {
        if (signal.aborted) return;
        setFailed(problem);
        complain(problem);
      })
      .finally(() => {
        if (!signal.aborted) setBusy(false);
      });
  });

  useEffect(() => {
    stop.current.abort();
    stop.current = new AbortController();
    setItems([]);
    setCursor(null);
    if (key !== null) load.current(null);
    return () => stop.current.abort();
  }, [key]);

  return { items, busy, failed, more: cursor && !busy ? () => load.current(cursor) : null };
}

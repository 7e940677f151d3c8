import { useEffect, useState } from "preact/hooks";
import { complain } from "../state/toasts";
import { useSettled } from "./settled";

/** Ask while somebody types, a moment after the last key; an answer that is overtaken is dropped. */
export function useSearch<T>(ask: (text: string, stop: AbortSignal) => Promise<T>) {
  const [text, setText] = useState("");
  const [found, setFound] = useState<T | null>(null);
  // Only the words decide: the function is a new one with each drawing.
  const [asked] = useState(() => ask);
  const settled = useSettled(text);
  useEffect(() => {
    const stop = new AbortController();
    asked(settled, stop.signal).then(setFound, (problem: unknown) => {
      if (!stop.signal.aborted) complain(problem);
    });
    return () => stop.abort();
  }, [settled, asked]);
  return { text, setText, found };
}

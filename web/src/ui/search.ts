import { useEffect, useState } from "preact/hooks";
import { complain } from "../state/toasts";

const PAUSE = 200;

/** Ask while somebody types, a moment after the last key; an answer that is overtaken is dropped. */
export function useSearch<T>(ask: (text: string, stop: AbortSignal) => Promise<T>) {
  const [text, setText] = useState("");
  const [found, setFound] = useState<T | null>(null);
  // Only the words decide: the function is a new one with each drawing.
  const [asked] = useState(() => ask);
  useEffect(() => {
    const stop = new AbortController();
    const timer = setTimeout(
      () => {
        asked(text, stop.signal).then(setFound, (problem: unknown) => {
          if (!stop.signal.aborted) complain(problem);
        });
      },
      text ? PAUSE : 0,
    );
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [text, asked]);
  return { text, setText, found };
}

import { useEffect, useState } from "preact/hooks";

/** In milliseconds. */
const PAUSE = 200;

/** What somebody has written, a moment after the last key. */
export function useSettled(text: string): string {
  const [settled, setSettled] = useState(text);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(text), PAUSE);
    return () => clearTimeout(timer);
  }, [text]);
  return settled;
}

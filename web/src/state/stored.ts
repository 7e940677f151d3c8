/** Signals that outlive the page, in localStorage. */
import { effect, type Signal, signal } from "@preact/signals";

export function stored<T>(name: string, initial: T, read: (value: unknown) => T): Signal<T> {
  const key = `tsr.${name}`;
  const kept = signal(load(key, initial, read));
  let timer: ReturnType<typeof setTimeout> | undefined;
  effect(() => {
    const text = JSON.stringify(kept.value);
    clearTimeout(timer);
    timer = setTimeout(() => save(key, text), 150);
  });
  return kept;
}

function load<T>(key: string, initial: T, read: (value: unknown) => T): T {
  try {
    const text = localStorage.getItem(key);
    return text === null ? initial : read(JSON.parse(text));
  } catch {
    // Not ours, or storage is switched off: begin anew.
    return initial;
  }
}

function save(key: string, text: string): void {
  try {
    localStorage.setItem(key, text);
  } catch {
    // Full or switched off: the page works without.
  }
}

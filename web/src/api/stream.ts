/** Everything that happens on the server, for as long as the page is open. */
import { signal } from "@preact/signals";
import { createParser } from "eventsource-parser";
import { send } from "./http";
import type { ImageHappening, JobEvent } from "./types";

/** Null until the first try has ended. */
export const connected = signal<boolean | null>(null);

/** There is a heartbeat every 15 seconds; a stream that is silent for so long is dead. */
const SILENCE = 40_000;
const PAUSES = [500, 1000, 2000, 4000, 8000];

export interface Listener {
  /** Heard anew: what happened meanwhile was missed. */
  open: () => void;
  job: (event: JobEvent) => void;
  image: (event: ImageHappening) => void;
}

let wake: () => void = () => undefined;

/** Try now. */
export function reconnect(): void {
  wake();
}

export async function listen(listener: Listener): Promise<never> {
  for (let failures = 0; ; ) {
    const heard = await hear(listener);
    connected.value = false;
    failures = heard ? 0 : failures + 1;
    await pause(PAUSES[Math.min(failures, PAUSES.length) - 1] ?? 200);
  }
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    wake = () => {
      clearTimeout(timer);
      resolve();
    };
  });
}

/** Listen until the stream ends; whether it was open at all. */
async function hear(listener: Listener): Promise<boolean> {
  const stop = new AbortController();
  let timer = setTimeout(() => stop.abort(), SILENCE);
  let open = false;
  try {
    const { body } = await send("/api/events", { signal: stop.signal, headers: { Accept: "text/event-stream" } });
    if (!body) return false;
    open = true;
    connected.value = true;
    listener.open();
    const parser = createParser({
      onEvent: ({ event, data }) => {
        if (event === "job") listener.job(JSON.parse(data) as JobEvent);
        else if (event === "image") listener.image(JSON.parse(data) as ImageHappening);
      },
    });
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
      clearTimeout(timer);
      timer = setTimeout(() => stop.abort(), SILENCE);
      parser.feed(piece.value);
    }
  } catch {
    // Refused, cut off or silent: the banner says so, and it is tried again.
  } finally {
    clearTimeout(timer);
    stop.abort();
  }
  return open;
}

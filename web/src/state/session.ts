/** The API key: asked for once, then kept by a cookie that scripts cannot read. */
import { signal } from "@preact/signals";
import { session } from "../api/api";
import { onRefusal } from "../api/http";

export const keyWanted = signal(false);

/** Whether the server may be asked: before, it would only refuse. */
export const admitted = signal(false);

let ready: (() => void)[] = [];

/** Resolves once the server lets us in. */
export async function admission(): Promise<void> {
  const state = await session.get().catch(() => null);
  if (state?.needed && !state.valid) {
    keyWanted.value = true;
    await new Promise<void>((resolve) => ready.push(resolve));
  }
  admitted.value = true;
}

export async function enter(key: string): Promise<void> {
  await session.begin(key);
  keyWanted.value = false;
  for (const go of ready) go();
  ready = [];
}

export function watchRefusals(afterwards: () => void): void {
  onRefusal(() => {
    if (keyWanted.value) return;
    keyWanted.value = true;
    ready.push(afterwards);
  });
}

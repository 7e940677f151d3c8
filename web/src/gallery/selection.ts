/** Pictures that are selected in the gallery. */
import { computed, signal } from "@preact/signals";

export const selected = signal<ReadonlySet<string>>(new Set());

/** Whether a click selects instead of opening. */
export const selecting = signal(false);

export const anySelected = computed(() => selected.value.size > 0);

let anchor: number | null = null;

export function toggle(id: string, index: number): void {
  const next = new Set(selected.value);
  if (!next.delete(id)) next.add(id);
  selected.value = next;
  selecting.value = next.size > 0 || selecting.value;
  anchor = index;
}

/** From the last one that was selected to this one. */
export function extend(index: number, idAt: (index: number) => string | undefined): void {
  const [from, to] = [Math.min(anchor ?? index, index), Math.max(anchor ?? index, index)];
  const next = new Set(selected.value);
  for (let place = from; place <= to; place += 1) {
    const id = idAt(place);
    if (id) next.add(id);
  }
  selected.value = next;
  selecting.value = true;
  anchor = index;
}

export function clear(): void {
  selected.value = new Set();
  selecting.value = false;
  anchor = null;
}

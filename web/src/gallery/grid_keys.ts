/** Keys on a picture of the grid. */
import { isTyping } from "../shell/shortcuts";
import { attempt } from "../state/toasts";
import { markByKey, remove } from "./actions";
import { clear, selected, selecting, toggle } from "./selection";
import type { PictureStore } from "./store";

interface Grid {
  store: PictureStore;
  columns: number;
  focusOn: (index: number) => void;
}

export function onGridKey(event: KeyboardEvent, { store, columns, focusOn }: Grid): void {
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event)) return;
  const place = (event.target as HTMLElement).closest<HTMLElement>("[data-index]")?.dataset.index;
  if (place === undefined) return;
  const index = Number(place);
  const steps: Record<string, number> = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
  const step = steps[event.key];
  if (step !== undefined) {
    event.preventDefault();
    if (store.at(index + step)) focusOn(index + step);
    return;
  }
  const picture = store.at(index);
  if (!picture) return;
  if (event.key === "x") toggle(picture.id, index);
  else if (event.key === "Escape" && selecting.value) clear();
  else if (store.filters.trash || markByKey(event.key, picture)) return;
  else if (event.key === "Delete") {
    const chosen = selected.value.has(picture.id) ? [...selected.value] : [picture.id];
    attempt(() => remove(chosen));
    if (chosen.length > 1) clear();
    focusOn(Math.max(0, store.at(index + 1) ? index : index - 1));
  }
}

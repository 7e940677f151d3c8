/** Keys that work everywhere. */
import { signal } from "@preact/signals";
import { draw } from "../form/state";
import { go, hrefOf, type View, view } from "../state/route";
import { attempt } from "../state/toasts";
import { depth } from "../ui/dialog";

export const keysShown = signal(false);

export const SHORTCUTS: readonly { keys: string; what: string }[] = [
  { keys: "Ctrl Enter", what: "draw" },
  { keys: "/", what: "search" },
  { keys: "g d", what: "go to Draw" },
  { keys: "g g", what: "go to the Gallery" },
  { keys: "g l", what: "go to the Library" },
  { keys: "g q", what: "go to the Queue" },
  { keys: "← →", what: "the picture before or after" },
  { keys: "Escape", what: "close, or end selecting" },
  { keys: "f", what: "favourite" },
  { keys: "1 – 5, 0", what: "rate, or take the rating away" },
  { keys: "x", what: "select a picture of the gallery" },
  { keys: "Delete", what: "move to the trash" },
  { keys: "?", what: "show these keys" },
];

/** Whether keys are letters of a text just now. */
export function isTyping(event: Event): boolean {
  const { target } = event;
  if (target instanceof HTMLInputElement) return !["checkbox", "button", "range"].includes(target.type);
  return target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement;
}

const PLACES: Record<string, View> = { d: "draw", g: "gallery", l: "library", q: "queue" };

let waiting = false;

export function onKey(event: KeyboardEvent): void {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    if (depth.value || view.value !== "draw") return;
    event.preventDefault();
    attempt(draw);
    return;
  }
  if (depth.value || isTyping(event) || event.ctrlKey || event.metaKey || event.altKey) return;
  if (waiting) {
    waiting = false;
    const to = PLACES[event.key];
    if (to) go(hrefOf(to));
  } else if (event.key === "g") waiting = true;
  else if (event.key === "?") keysShown.value = true;
  else if (event.key === "/") {
    event.preventDefault();
    search();
  }
}

function search(): void {
  const box = () => document.querySelector<HTMLInputElement>("main input[type=search]");
  const there = box();
  if (there) {
    there.focus();
    return;
  }
  go(hrefOf("gallery"));
  // The view comes with the next frame or the one after.
  requestAnimationFrame(() => requestAnimationFrame(() => box()?.focus()));
}

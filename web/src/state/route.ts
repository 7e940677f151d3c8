/** Where we are: the hash of the address, so that the back button works. */
import { computed, signal } from "@preact/signals";

export const VIEWS = ["draw", "gallery", "library", "queue"] as const;
export type View = (typeof VIEWS)[number];

export interface Route {
  view: View;
  /** A picture in front of the view. */
  image: string | null;
  /** Of the gallery: its filters. */
  query: string;
}

/** `behind` is the view that stays behind a picture. */
export function parse(hash: string, behind: Route): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const [first = "", ...rest] = path.split("/");
  if (first === "image" && rest.length) return { ...behind, image: decoded(rest.join("/")) };
  const view = VIEWS.find((name) => name === first) ?? "draw";
  return { view, image: null, query: view === "gallery" ? query : "" };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export function hrefOf(view: View, query = ""): string {
  return view === "draw" ? "#/" : `#/${view}${query ? `?${query}` : ""}`;
}

export const imageHref = (id: string) => `#/image/${encodeURIComponent(id)}`;

const NOWHERE: Route = { view: "gallery", image: null, query: "" };

export const route = signal<Route>(parse(globalThis.location?.hash ?? "", NOWHERE));
export const view = computed(() => route.value.view);

/** Whether the picture was opened from this page, so that going back closes it. */
let opened = false;

export function follow(): void {
  const read = () => {
    const before = route.value;
    route.value = parse(location.hash, before);
    if (!route.value.image) opened = false;
  };
  addEventListener("hashchange", (event) => {
    if (location.hash.startsWith("#/image/") && !event.oldURL.includes("#/image/")) opened = true;
    read();
  });
  read();
}

export function go(href: string): void {
  location.hash = href;
}

/** Go there without a new step of the history. */
export function replace(href: string): void {
  history.replaceState(null, "", href);
  route.value = parse(href, route.value);
}

export function closeImage(): void {
  const { view: behind, query } = route.value;
  if (opened) history.back();
  else replace(hrefOf(behind, query));
}

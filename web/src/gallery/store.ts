/** Pictures of one list, as far as they are needed now. */
import { signal } from "@preact/signals";
import { images } from "../api/api";
import type { ImageHappening } from "../api/types";
import { complain } from "../state/toasts";
import { apiQuery, type Filters, NO_FILTERS, queryOf } from "./filters";
import { type Light, lightOf } from "./light";
import { Pages } from "./pages";

/** Pixels. */
const NEAR_TOP = 400;

export class PictureStore {
  #pages: Pages<Light>;
  #under = new Set<number>();
  #stop = new AbortController();
  #size: number;
  #begun = false;
  filters: Filters = NO_FILTERS;
  /** Where somebody had scrolled to. */
  offset = 0;
  /** Counts changes: who reads it is drawn anew. */
  readonly version = signal(0);
  readonly failed = signal(false);
  /** Pictures have come that may belong here: which ones, only the server can say. */
  readonly stale = signal(false);

  constructor(size = 200) {
    this.#size = size;
    this.#pages = new Pages(size);
  }

  get count(): number {
    return this.#pages.count;
  }

  get open(): boolean {
    return this.#pages.open;
  }

  at(index: number): Light | undefined {
    return this.#pages.at(index);
  }

  indexOf(id: string): number {
    return this.#pages.indexOf(id);
  }

  /** Begin anew with these filters. */
  show(filters: Filters): void {
    this.#stop.abort();
    this.#stop = new AbortController();
    this.#under.clear();
    this.#pages = new Pages(this.#size);
    this.#begun = true;
    this.filters = filters;
    this.offset = 0;
    this.failed.value = false;
    this.stale.value = false;
    this.#changed();
    this.need(0, 0);
  }

  /** Show these unless they are shown already. */
  ensure(filters: Filters): void {
    if (!this.#begun || queryOf(filters) !== queryOf(this.filters)) this.show(filters);
  }

  reload(): void {
    this.show(this.filters);
  }

  /** Something may have been missed: look again, unless somebody is far down in the list. */
  refresh(): void {
    if (!this.#begun) return;
    if (this.offset > NEAR_TOP) this.stale.value = true;
    else this.reload();
  }

  /** See to it that these indexes are there. */
  need(first: number, last: number): void {
    if (!this.#begun) return;
    for (const wish of this.#pages.missing(first, last)) {
      if (this.#under.has(wish.leaf)) continue;
      this.#under.add(wish.leaf);
      const { signal: stop } = this.#stop;
      images.list({ ...apiQuery(this.filters), limit: wish.limit, cursor: wish.cursor }, stop).then(
        (page) => {
          if (stop.aborted) return;
          this.#under.delete(wish.leaf);
          const items = page.items.map(lightOf);
          this.#pages.fill(wish, { items, next_cursor: page.next_cursor }, (first + last) / 2);
          this.failed.value = false;
          this.#changed();
        },
        (problem: unknown) => {
          if (stop.aborted) return;
          this.#under.delete(wish.leaf);
          this.failed.value = true;
          complain(problem);
        },
      );
    }
  }

  hear({ change, image }: ImageHappening): void {
    const light = lightOf(image);
    const inTrash = this.filters.trash;
    if (change === "edited") this.#pages.replace(light);
    else if (change === (inTrash ? "restored" : "deleted")) this.#pages.remove(light.id);
    else if (inTrash !== (change === "deleted")) return;
    else if (!inTrash && queryOf(this.filters)) this.stale.value = true;
    else this.#pages.insert(light);
    this.#changed();
  }

  drop(id: string): void {
    if (this.#pages.remove(id)) this.#changed();
  }

  #changed(): void {
    this.version.value = this.version.peek() + 1;
  }
}

export const gallery = new PictureStore();
export const recent = new PictureStore(30);

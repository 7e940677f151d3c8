/**
 * A list that is read page by page with cursors. Of pages that are far away only the cursor and the length are kept, so
 * that memory stays flat however far somebody scrolls.
 */
import type { Page } from "../api/types";

export interface Item {
  id: string;
  created: string;
}

interface Leaf<T> {
  /** The cursor that fetches it; null is the beginning. */
  start: string | null;
  items: T[] | null;
  count: number;
}

export interface Wish {
  /** Which page; as many as there are: the next one. */
  leaf: number;
  cursor: string | null;
  limit: number;
}

const MAX_LIMIT = 500;

export class Pages<T extends Item> {
  #leaves: Leaf<T>[] = [];
  /** The cursor of the page after the last; undefined before the first was read. */
  #next: string | null | undefined;

  constructor(
    readonly pageSize = 200,
    readonly keep = 8,
  ) {}

  get count(): number {
    return this.#leaves.reduce((sum, leaf) => sum + leaf.count, 0);
  }

  /** Whether the end is not reached yet. */
  get open(): boolean {
    return this.#next !== null;
  }

  /** Records in memory. */
  get held(): number {
    return this.#leaves.reduce((sum, leaf) => sum + (leaf.items?.length ?? 0), 0);
  }

  at(index: number): T | undefined {
    let before = 0;
    for (const leaf of this.#leaves) {
      if (index < before + leaf.count) return leaf.items?.[index - before];
      before += leaf.count;
    }
    return undefined;
  }

  indexOf(id: string): number {
    let before = 0;
    for (const leaf of this.#leaves) {
      const place = leaf.items?.findIndex((item) => item.id === id) ?? -1;
      if (place >= 0) return before + place;
      before += leaf.count;
    }
    return -1;
  }

  /** What must be fetched to show these indexes. */
  missing(first: number, last: number): Wish[] {
    const wishes: Wish[] = [];
    let before = 0;
    this.#leaves.forEach((leaf, number) => {
      if (!leaf.items && leaf.count && before <= last && before + leaf.count > first)
        wishes.push({ leaf: number, cursor: leaf.start, limit: Math.min(leaf.count, MAX_LIMIT) });
      before += leaf.count;
    });
    if (last >= before && this.open)
      wishes.push({ leaf: this.#leaves.length, cursor: this.#next ?? null, limit: this.pageSize });
    return wishes;
  }

  /** Take in what a wish fetched. `near` is the index that is looked at: pages far from it are forgotten. */
  fill(wish: Wish, page: Page<T>, near: number): void {
    const leaf = this.#leaves[wish.leaf];
    if (leaf) {
      leaf.items = page.items;
      leaf.count = page.items.length;
    } else if (wish.leaf === this.#leaves.length) {
      this.#leaves.push({ start: wish.cursor, items: page.items, count: page.items.length });
      this.#next = page.next_cursor;
    }
    this.#forget(near);
  }

  #forget(near: number): void {
    let before = 0;
    const held: { leaf: Leaf<T>; distance: number }[] = [];
    this.#leaves.forEach((leaf, number) => {
      const middle = before + leaf.count / 2;
      // New pictures come to the first page, which therefore stays.
      if (leaf.items && number > 0) held.push({ leaf, distance: Math.abs(middle - near) });
      before += leaf.count;
    });
    held.sort((a, b) => b.distance - a.distance);
    for (const { leaf } of held.slice(0, Math.max(0, held.length + 1 - this.keep))) leaf.items = null;
  }

  replace(item: T): boolean {
    for (const { items } of this.#leaves) {
      const place = items?.findIndex((old) => old.id === item.id) ?? -1;
      if (items && place >= 0) {
        items[place] = item;
        return true;
      }
    }
    return false;
  }

  remove(id: string): boolean {
    for (const leaf of this.#leaves) {
      const place = leaf.items?.findIndex((item) => item.id === id) ?? -1;
      if (leaf.items && place >= 0) {
        leaf.items.splice(place, 1);
        leaf.count -= 1;
        return true;
      }
    }
    return false;
  }

  /** Put it where it belongs: newest first. */
  insert(item: T): void {
    if (this.replace(item)) return;
    for (const [number, leaf] of this.#leaves.entries()) {
      const end = leaf.items?.at(-1);
      const isLast = number === this.#leaves.length - 1;
      if (!leaf.items || (end && isNewer(end, item) && !(isLast && !this.open))) continue;
      const place = leaf.items.findIndex((old) => isNewer(item, old));
      leaf.items.splice(place < 0 ? leaf.items.length : place, 0, item);
      leaf.count += 1;
      return;
    }
  }
}

function isNewer(a: Item, b: Item): boolean {
  return a.created === b.created ? a.id > b.id : a.created > b.created;
}

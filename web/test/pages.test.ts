import { expect, test } from "vitest";
import { type Item, Pages } from "../src/gallery/pages";

const TOTAL = 1000;

const item = (number: number): Item => ({
  id: `id-${String(TOTAL - number).padStart(5, "0")}`,
  created: `2026-11-23T10:00:${String(59 - (number % 60)).padStart(2, "0")}Z`,
});

/** Newest first: an item's place is its name. */
const sorted = (count: number): Item[] =>
  Array.from({ length: count }, (_, number) => ({
    id: `id-${String(count - number).padStart(5, "0")}`,
    created: new Date(Date.UTC(2026, 0, 1) + (count - number) * 1000).toISOString(),
  }));

function server(items: Item[]) {
  return (cursor: string | null, limit: number) => {
    const from = Number(cursor ?? 0);
    const next = from + limit < items.length ? String(from + limit) : null;
    return { items: items.slice(from, from + limit), next_cursor: next };
  };
}

function read(pages: Pages<Item>, ask: ReturnType<typeof server>, first: number, last: number): void {
  for (const wish of pages.missing(first, last)) pages.fill(wish, ask(wish.cursor, wish.limit), (first + last) / 2);
}

test("what is looked at is read, and only that", () => {
  const pages = new Pages<Item>(100, 5);
  const all = sorted(TOTAL);
  read(pages, server(all), 0, 20);
  expect([pages.count, pages.open, pages.at(20)?.id]).toEqual([100, true, all[20]?.id]);
  expect(pages.missing(0, 99)).toEqual([]);
  expect(pages.missing(90, 110)).toEqual([{ leaf: 1, cursor: "100", limit: 100 }]);
});

test("memory stays flat on the way down, and what was forgotten is read again on the way up", () => {
  const pages = new Pages<Item>(100, 5);
  const all = sorted(TOTAL);
  const ask = server(all);
  for (let place = 0; place < TOTAL; place += 40) {
    read(pages, ask, place, place + 40);
    expect(pages.held).toBeLessThanOrEqual(500);
  }
  expect([pages.count, pages.open]).toEqual([TOTAL, false]);
  expect(pages.at(350)).toBeUndefined();
  expect(pages.at(5)?.id).toBe(all[5]?.id);
  read(pages, ask, 340, 380);
  expect(pages.at(350)?.id).toBe(all[350]?.id);
  expect(pages.held).toBeLessThanOrEqual(500);
});

test("a new picture comes first, one that is restored where it was", () => {
  const pages = new Pages<Item>(100, 5);
  const all = sorted(150);
  read(pages, server(all), 0, 120);
  read(pages, server(all), 0, 120);
  const [gone] = [all[42] as Item];
  expect(pages.remove(gone.id)).toBe(true);
  expect([pages.count, pages.indexOf(gone.id)]).toEqual([149, -1]);
  pages.insert(gone);
  expect([pages.count, pages.indexOf(gone.id)]).toEqual([150, 42]);
  const fresh = { id: "new", created: "2027-01-01T00:00:00.000Z" };
  pages.insert(fresh);
  expect([pages.count, pages.indexOf("new")]).toEqual([151, 0]);
  pages.insert(fresh);
  expect(pages.count).toBe(151);
});

test("into an empty list a picture comes as well, and an older one at its end", () => {
  const pages = new Pages<Item>(100, 5);
  read(pages, server([]), 0, 10);
  expect([pages.count, pages.open]).toEqual([0, false]);
  pages.insert(item(1));
  pages.insert(item(2));
  expect([pages.at(0)?.id, pages.at(1)?.id]).toEqual([item(1).id, item(2).id]);
});

test("what is older than all that was read is left to the page that it is on", () => {
  const pages = new Pages<Item>(100, 5);
  read(pages, server(sorted(TOTAL)), 0, 10);
  pages.insert({ id: "old", created: "2020-01-01T00:00:00.000Z" });
  expect([pages.count, pages.indexOf("old")]).toEqual([100, -1]);
});

test("a page that lost a picture is read again with its new length", () => {
  const pages = new Pages<Item>(100, 2);
  const all = sorted(400);
  const ask = server(all);
  read(pages, ask, 0, 10);
  read(pages, ask, 100, 110);
  pages.remove(all[150]?.id ?? "");
  read(pages, ask, 199, 210);
  read(pages, ask, 299, 310);
  expect(pages.missing(100, 110)).toEqual([{ leaf: 1, cursor: "100", limit: 99 }]);
});

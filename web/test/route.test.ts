import { expect, test } from "vitest";
import { queryString } from "../src/api/http";
import { apiQuery, countOf, type Filters, filtersOf, NO_FILTERS, queryOf } from "../src/gallery/filters";
import { columnsOf } from "../src/gallery/rows";
import { hrefOf, imageHref, parse, type Route } from "../src/state/route";

const BEHIND: Route = { view: "queue", image: null, query: "" };

test.each([
  ["", { view: "draw", image: null, query: "" }],
  ["#/", { view: "draw", image: null, query: "" }],
  ["#/library", { view: "library", image: null, query: "" }],
  ["#/gallery?text=a+cat", { view: "gallery", image: null, query: "text=a+cat" }],
  ["#/nowhere", { view: "draw", image: null, query: "" }],
  ["#/image/a%2Fb", { view: "queue", image: "a/b", query: "" }],
  ["#/image/%zz", { view: "queue", image: "%zz", query: "" }],
] as const)("%j is a place", (hash, expected) => expect(parse(hash, BEHIND)).toEqual(expected));

test("a picture stays in front of the filtered gallery", () => {
  const behind = parse("#/gallery?rating=4", BEHIND);
  expect(parse(imageHref("20261123-1_7"), behind)).toEqual({ ...behind, image: "20261123-1_7" });
});

test("an address leads where it was made for", () => {
  expect(parse(hrefOf("draw"), BEHIND).view).toBe("draw");
  expect(parse(hrefOf("gallery", "tag=x"), BEHIND).query).toBe("tag=x");
});

const FILTERS: Filters = {
  text: "cat -dog",
  model: "m",
  lora: "l",
  tags: ["a b", "c"],
  rating: 3,
  favourite: true,
  since: "2026-01-01",
  until: "2026-02-01",
  trash: false,
};

test.each([[FILTERS], [NO_FILTERS], [{ ...NO_FILTERS, trash: true }]])(
  "filters come back from the address",
  (filters) => expect(filtersOf(queryOf(filters))).toEqual(filters),
);

test("the server is asked in its own words", () => {
  expect(queryString(apiQuery(FILTERS))).toBe(
    "?text=cat+-dog&model=m&lora=l&tag=a+b&tag=c&rating=3&favourite=true&since=2026-01-01&until=2026-02-01",
  );
  expect(apiQuery({ ...FILTERS, trash: true })).toEqual({ deleted: true });
  expect(countOf(FILTERS)).toBe(7);
});

test.each(["rating=9", "rating=x", "rating=-1"])("%s is no rating", (query) => expect(filtersOf(query).rating).toBe(0));

test("tiles fill the width, and a phone has at least two beside each other", () => {
  expect(columnsOf(1200, 176, 6)).toEqual({ columns: 6, tile: 195 });
  expect(columnsOf(366, 176, 6).columns).toBe(3);
  expect(columnsOf(366, 400, 6).columns).toBe(2);
});

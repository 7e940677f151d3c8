import { expect, test } from "vitest";
import type { Progress } from "../src/api/types";
import { sized, snapped } from "../src/form/sizes";
import { isMature, shortened } from "../src/gallery/light";
import { bytes, duration, figures, phase, plural, share } from "../src/ui/format";

const progress = (part: Partial<Progress>): Progress => ({
  phase: "sampling",
  step: 0,
  steps: 0,
  image: 0,
  images: 0,
  done: 0,
  total: 0,
  unit: null,
  name: null,
  seconds_left: null,
  attempt: 1,
  ...part,
});

test.each([
  [0, "0 B"],
  [999, "999 B"],
  [1000, "1.0 kB"],
  [9_960, "10 kB"],
  [999_600, "1.0 MB"],
  [6_938_040_682, "6.9 GB"],
  [5e15, "5000 TB"],
])("%i bytes are %s", (size, text) => expect(bytes(size)).toBe(text));

test.each([
  [0.4, "0 s"],
  [59.6, "1 min 0 s"],
  [61, "1 min 1 s"],
  [7260, "2 h 1 min"],
])("%f seconds are %s", (seconds, text) => expect(duration(seconds)).toBe(text));

test("one is not many", () => expect([plural(1, "file"), plural(12_345, "file")]).toEqual(["1 file", "12,345 files"]));

test("progress of a drawing counts its pictures and its steps", () => {
  expect(share(progress({ step: 5, steps: 10, image: 2, images: 4 }))).toBe(0.375);
  expect(share(progress({ phase: "decoding", step: 5, steps: 10, image: 4, images: 4 }))).toBe(1);
  expect(share(progress({ phase: "loading" }))).toBeNull();
  expect(share(progress({ phase: "downloading", done: 1, total: 4, unit: "bytes" }))).toBe(0.25);
  expect(share(null)).toBeNull();
});

test("progress is said in words", () => {
  expect(phase(progress({ step: 3, steps: 20 }))).toBe("Step 3 of 20");
  expect(phase(progress({ phase: "looking up" }))).toBe("Looking up");
  expect(phase(null)).toBe("Waiting");
  expect(figures(progress({ image: 2, images: 4, seconds_left: 61 }))).toBe("picture 2 of 4 · 1 min 1 s left");
  expect(figures(progress({ done: 1e6, total: 2e6, unit: "bytes" }))).toBe("1.0 MB of 2.0 MB");
  expect(figures(progress({ done: 3, total: 9, unit: "files" }))).toBe("3 of 9 files");
});

test("a prompt becomes a name of one line, cut between words", () => {
  expect(shortened(" a\n cat ")).toBe("a cat");
  expect(shortened("")).toBe("Picture without a prompt");
  const cut = shortened("words ".repeat(60));
  expect(cut.length).toBeLessThanOrEqual(120);
  expect(cut).toMatch(/^(words ){18}words…$/);
  expect(shortened("x".repeat(300))).toHaveLength(120);
});

test.each([
  [["a", "NSFW"], true],
  [["maturely"], false],
  [[], false],
])("tags %j are mature: %j", (tags, expected) => expect(isMature(tags)).toBe(expected));

test("shapes keep the area and the grid of 64, small ones that of 8", () => {
  expect(sized("1:1", 1024 * 1024)).toEqual({ width: 1024, height: 1024 });
  expect(sized("16:9", 1024 * 1024)).toEqual({ width: 1344, height: 768 });
  expect(sized("2:3", 512 * 512)).toEqual({ width: 448, height: 640 });
  expect(sized("4:3", 64 * 64)).toEqual({ width: 72, height: 64 });
  expect([snapped(1), snapped(517), snapped(99_999)]).toEqual([64, 520, 4096]);
});

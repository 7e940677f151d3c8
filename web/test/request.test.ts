import { expect, test } from "vitest";
import type { Options } from "../src/api/types";
import { EMPTY, type Form, readForm, withDefaults } from "../src/form/form";
import { hiresOf, NO_HIRES } from "../src/form/hires";
import { fromRequest, toRequest, withWords } from "../src/form/request";

const NONE = { init: null, mask: null };
const DEFAULTS: Options["defaults"] = {
  width: 64,
  height: 64,
  steps: 10,
  cfg_scale: 2,
  sampler: "euler",
  scheduler: "discrete",
  negative_prompt: "",
  clip_skip: null,
  guidance: null,
  hires: { scale: 4, upscaler: "Lanczos", steps: 1, denoising_strength: 0.01 },
};
const PLAIN = { ...DEFAULTS, hires: null };

const FULL: Form = {
  prompt: "a cat",
  negative: "",
  model: "dreamshaper_8",
  width: 512,
  height: 768,
  steps: 25,
  cfg: 6.5,
  guidance: 3.5,
  sampler: "euler_a",
  scheduler: "karras",
  clipSkip: 2,
  seed: 0,
  batch: 4,
  loras: [{ name: "ink", weight: 0.8, words: [] }],
  strength: 0.75,
  hires: { on: true, scale: 1.5, upscaler: "Lanczos", steps: 8, denoise: 0.4 },
  tags: ["test"],
  force: true,
};

test("a request says only what was chosen", () => {
  expect(toRequest({ ...EMPTY, prompt: "  a cat " }, NONE, PLAIN)).toEqual({ prompt: "a cat" });
});

test("no negative prompt and seed 0 are choices", () => {
  expect(toRequest({ ...EMPTY, prompt: "x", negative: "", seed: 0 }, NONE, PLAIN)).toEqual({
    prompt: "x",
    negative_prompt: "",
    seed: 0,
  });
});

test("a form comes back from its request", () => {
  expect(fromRequest(toRequest(FULL, NONE, PLAIN))).toEqual(FULL);
});

test("a random seed and a family's hires fix come back as they were", () => {
  const { seed, hires } = fromRequest({ prompt: "x", seed: -1 });
  expect([seed, hires]).toEqual([null, NO_HIRES]);
});

test("a picture to start from brings its strength and its mask", () => {
  const form = { ...EMPTY, prompt: "x", strength: 0.4 };
  expect(toRequest(form, { init: "AAAA", mask: "BBBB" }, PLAIN)).toEqual({
    prompt: "x",
    init_image: "AAAA",
    mask: "BBBB",
    strength: 0.4,
  });
  expect(toRequest(form, { init: null, mask: "BBBB" }, PLAIN)).toEqual({ prompt: "x" });
});

test("the family's own hires fix is left to the server at the family's size, and asked for at others", () => {
  const form = { ...EMPTY, prompt: "x" };
  expect(toRequest(form, NONE, DEFAULTS)).toEqual({ prompt: "x" });
  expect(toRequest({ ...form, width: 128 }, NONE, DEFAULTS)).toEqual({
    prompt: "x",
    width: 128,
    hires: DEFAULTS.hires,
  });
});

test("switched off it stays off, although the family has it", () => {
  const form = { ...EMPTY, prompt: "x", hires: NO_HIRES };
  expect(toRequest(form, NONE, DEFAULTS)).toEqual({ prompt: "x", width: 64, height: 64 });
  expect(toRequest({ ...form, width: 128, height: 64 }, NONE, DEFAULTS)).toEqual({
    prompt: "x",
    width: 128,
    height: 64,
  });
});

test("no hires fix comes by itself over a picture that somebody gives", () => {
  expect(hiresOf(EMPTY, DEFAULTS, false).on).toBe(true);
  expect(hiresOf(EMPTY, DEFAULTS, true).on).toBe(false);
});

test("another family's defaults leave prompt, seed and LoRAs", () => {
  const { prompt, negative, model, seed, batch, loras, tags, strength, force } = FULL;
  expect(withDefaults({ ...FULL, negative: null })).toEqual({
    ...EMPTY,
    ...{ prompt, model, seed, batch, loras, tags, strength, force },
  });
  expect(negative).toBe("");
});

test.each([
  ["a cat", "ink, style", "a cat, ink, style"],
  ["a cat, INK,", "ink, style", "a cat, INK, style"],
  ["", "ink", "ink"],
  ["a cat, ink", "ink", "a cat, ink"],
])("words come into the prompt once: %j and %j", (prompt, words, expected) => {
  expect(withWords(prompt, words)).toBe(expected);
});

test("a kept form is read back", () => {
  expect(readForm(JSON.parse(JSON.stringify(FULL)))).toEqual(FULL);
});

test.each([null, 7, { prompt: 7, steps: "many", loras: [{ name: 1 }], hires: { on: "yes" }, tags: [1], batch: null }])(
  "what is no form is an empty one: %j",
  (kept) => {
    expect(readForm(kept)).toEqual(EMPTY);
  },
);

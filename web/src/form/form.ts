/** What the form holds. Null is the family's default, so that a request says only what somebody chose. */
import { NO_HIRES } from "./hires";

export interface FormLora {
  name: string;
  weight: number;
  words: string[];
}

export interface FormHires {
  on: boolean;
  scale: number;
  upscaler: string;
  steps: number;
  denoise: number;
}

export interface Form {
  prompt: string;
  negative: string | null;
  /** Null is the active model. */
  model: string | null;
  width: number | null;
  height: number | null;
  steps: number | null;
  cfg: number | null;
  guidance: number | null;
  sampler: string | null;
  scheduler: string | null;
  clipSkip: number | null;
  /** Null draws one at random. */
  seed: number | null;
  batch: number;
  loras: FormLora[];
  strength: number;
  hires: FormHires | null;
  tags: string[];
  force: boolean;
}

export const EMPTY: Form = {
  prompt: "",
  negative: null,
  model: null,
  width: null,
  height: null,
  steps: null,
  cfg: null,
  guidance: null,
  sampler: null,
  scheduler: null,
  clipSkip: null,
  seed: null,
  batch: 1,
  loras: [],
  strength: 0.75,
  hires: null,
  tags: [],
  force: false,
};

/** What another family wants otherwise. */
const OF_FAMILY = [
  "width",
  "height",
  "steps",
  "cfg",
  "guidance",
  "sampler",
  "scheduler",
  "clipSkip",
  "negative",
  "hires",
] as const;

export const changedFromDefaults = (form: Form) => OF_FAMILY.some((name) => form[name] !== null);

export function withDefaults(form: Form): Form {
  return { ...form, ...Object.fromEntries(OF_FAMILY.map((name) => [name, null])) };
}

/** A form out of storage; whatever does not fit is as in an empty one. */
export function readForm(value: unknown): Form {
  if (typeof value !== "object" || value === null) return EMPTY;
  const form: Record<string, unknown> = { ...EMPTY };
  for (const [name, kept] of Object.entries(value)) {
    if (name in EMPTY && fits(name as keyof Form, kept)) form[name] = kept;
  }
  return form as unknown as Form;
}

const TEXTS = new Set<keyof Form>(["negative", "model", "sampler", "scheduler"]);

function fits(name: keyof Form, value: unknown): boolean {
  const initial = EMPTY[name];
  if (name === "hires") return value === null || isHires(value);
  if (initial === null) return value === null || typeof value === (TEXTS.has(name) ? "string" : "number");
  if (name === "loras") return Array.isArray(value) && value.every(isLora);
  if (name === "tags") return Array.isArray(value) && value.every((tag) => typeof tag === "string");
  return typeof value === typeof initial;
}

function isLora(value: unknown): value is FormLora {
  if (typeof value !== "object" || value === null) return false;
  const { name, weight, words } = value as Partial<FormLora>;
  return typeof name === "string" && typeof weight === "number" && Array.isArray(words);
}

function isHires(value: unknown): value is FormHires {
  if (typeof value !== "object" || value === null) return false;
  const held = value as Record<string, unknown>;
  return Object.entries(NO_HIRES).every(([name, initial]) => typeof held[name] === typeof initial);
}

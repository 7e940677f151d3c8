/** Between the form and the request that it stands for. */
import type { GenerateRequest, Options, Settings } from "../api/types";
import { EMPTY, type Form, type FormLora } from "./form";
import { hiresOf, NO_HIRES } from "./hires";

/** Pictures to start from, as base64. */
export interface Inputs {
  init: string | null;
  mask: string | null;
}

export function toRequest(form: Form, inputs: Inputs, defaults: Options["defaults"] | null): GenerateRequest {
  const request: GenerateRequest = { prompt: form.prompt.trim() };
  const chosen = {
    negative_prompt: form.negative,
    model: form.model,
    width: form.width,
    height: form.height,
    steps: form.steps,
    cfg_scale: form.cfg,
    guidance: form.guidance,
    sampler: form.sampler,
    scheduler: form.scheduler,
    clip_skip: form.clipSkip,
    seed: form.seed,
  };
  Object.assign(request, Object.fromEntries(Object.entries(chosen).filter(([, value]) => value !== null)));
  if (form.batch > 1) request.batch_size = form.batch;
  if (form.loras.length) request.loras = form.loras.map(({ name, weight }) => ({ name, weight }));
  if (form.tags.length) request.tags = form.tags;
  if (form.force) request.force = true;
  if (inputs.init) {
    request.init_image = inputs.init;
    request.strength = form.strength;
    if (inputs.mask) request.mask = inputs.mask;
  }
  return { ...request, ...hiresPart(form, inputs, defaults) };
}

function hiresPart(form: Form, inputs: Inputs, defaults: Options["defaults"] | null): Partial<GenerateRequest> {
  // The server's own hires fix belongs to its own size.
  const byItself = Boolean(defaults?.hires) && form.width === null && form.height === null && !inputs.init;
  const { on, scale, upscaler, steps, denoise } = hiresOf(form, defaults, inputs.init !== null);
  if (on) return byItself && !form.hires ? {} : { hires: { scale, upscaler, steps, denoising_strength: denoise } };
  return byItself && defaults ? { width: defaults.width, height: defaults.height } : {};
}

/** The form that stands for this request. */
export function fromRequest(request: GenerateRequest): Form {
  const { hires } = request;
  return {
    ...EMPTY,
    prompt: request.prompt,
    negative: request.negative_prompt ?? null,
    model: request.model ?? null,
    width: request.width ?? null,
    height: request.height ?? null,
    steps: request.steps ?? null,
    cfg: request.cfg_scale ?? null,
    guidance: request.guidance ?? null,
    sampler: request.sampler ?? null,
    scheduler: request.scheduler ?? null,
    clipSkip: request.clip_skip ?? null,
    seed: request.seed === undefined || request.seed < 0 ? null : request.seed,
    batch: request.batch_size ?? 1,
    loras: (request.loras ?? []).map(({ name, weight }): FormLora => ({ name, weight: weight ?? 1, words: [] })),
    strength: request.strength ?? EMPTY.strength,
    hires: hires
      ? {
          on: true,
          scale: hires.scale ?? NO_HIRES.scale,
          upscaler: hires.upscaler ?? NO_HIRES.upscaler,
          steps: hires.steps ?? NO_HIRES.steps,
          denoise: hires.denoising_strength ?? NO_HIRES.denoise,
        }
      : NO_HIRES,
    tags: [...(request.tags ?? [])],
    force: request.force ?? false,
  };
}

/** The settings of a picture or a job as a request for the same. */
export function requestOf(settings: Settings): GenerateRequest {
  const { model, loras, hires } = settings;
  return {
    prompt: settings.prompt,
    negative_prompt: settings.negative_prompt,
    model: model.name,
    width: settings.width,
    height: settings.height,
    steps: settings.steps,
    cfg_scale: settings.cfg_scale,
    guidance: settings.guidance,
    sampler: settings.sampler,
    scheduler: settings.scheduler,
    clip_skip: settings.clip_skip,
    seed: settings.seed,
    batch_size: settings.batch_size,
    loras: loras.map(({ name, weight }) => ({ name, weight })),
    ...(settings.strength !== null && { strength: settings.strength }),
    ...(hires && { hires }),
    tags: [...settings.tags],
  };
}

/** A prompt with these words at its end, those that it has already left out. */
export function withWords(prompt: string, words: string): string {
  const has = prompt.toLowerCase();
  const missing = words
    .split(",")
    .map((word) => word.trim())
    .filter((word) => word && !has.includes(word.toLowerCase()));
  if (!missing.length) return prompt;
  const before = prompt.trim().replace(/,$/, "");
  return [...(before ? [before] : []), ...missing].join(", ");
}

/** The form that is being filled in, and what is done with it. */
import { computed, signal } from "@preact/signals";
import { generate, images } from "../api/api";
import { ApiError, type FieldProblem } from "../api/http";
import type { ErrorInfo, GenerateRequest, Remake } from "../api/types";
import * as jobs from "../state/jobs";
import { go, hrefOf } from "../state/route";
import { optionsOf } from "../state/server";
import { stored } from "../state/stored";
import { sentence, tell } from "../state/toasts";
import { EMPTY, type Form, readForm } from "./form";
import { base64Of } from "./picture";
import { fromRequest, type Inputs, toRequest } from "./request";

export const form = stored<Form>("form", EMPTY, readForm);

export const inputs = signal<Inputs>({ init: null, mask: null });

/** Why the last try to draw was refused. */
export const refusal = signal<(ErrorInfo & { fields: readonly FieldProblem[] }) | null>(null);

/** What is to be known about settings that were taken over from a picture. */
export const notes = signal<readonly { text: string; command: string | null }[]>([]);

export const sending = signal(false);

/** Of the chosen model. */
export const options = computed(() => optionsOf(form.value.model));

export function change(part: Partial<Form>): void {
  form.value = { ...form.value, ...part };
}

export async function draw(): Promise<void> {
  if (sending.value || !form.value.prompt.trim()) return;
  sending.value = true;
  refusal.value = null;
  try {
    const { job } = await generate(toRequest(form.value, inputs.value, options.value?.defaults ?? null));
    jobs.put(job);
    jobs.mine.value = job.id;
  } catch (problem) {
    if (!(problem instanceof ApiError)) throw problem;
    const { code, message, hint, fields } = problem;
    if (problem.status !== 401) refusal.value = { code, message, hint, fields };
  } finally {
    sending.value = false;
  }
}

export function use(request: GenerateRequest): void {
  form.value = fromRequest(request);
  refusal.value = null;
  notes.value = [];
  const init = request.init_image ?? null;
  const isPicture = (data: string | null | undefined) => typeof data === "string" && !data.startsWith("sha256:");
  inputs.value = {
    init: isPicture(init) ? init : null,
    mask: isPicture(request.mask) ? (request.mask ?? null) : null,
  };
  go(hrefOf("draw"));
}

export async function startFrom(picture: Blob): Promise<void> {
  inputs.value = { init: await base64Of(picture), mask: null };
  go(hrefOf("draw"));
}

export async function startFromImage(id: string): Promise<void> {
  await startFrom(await (await fetch(images.url(id))).blob());
}

/** Take over what a picture was made with; what is missing or differs stands beside the form. */
export function useRemake({ request, missing, differences }: Remake): void {
  use(request);
  notes.value = [
    ...missing.map(({ kind, name, command }) => ({ text: `The ${kind} ${name} is not here.`, command })),
    ...differences.map(({ says }) => ({ text: sentence(says), command: null })),
  ];
  tell("The form has the picture's settings");
}

/** What the server has: its models, and which of them is loaded. */
import { computed, signal } from "@preact/signals";
import { models as api, status as readStatus } from "../api/api";
import type { ModelEntry, Options, Status } from "../api/types";

export const status = signal<Status | null>(null);
export const models = signal<readonly ModelEntry[]>([]);
export const modelsLoaded = signal(false);

export const active = computed(() => models.value.find((model) => model.active) ?? null);

/** The models that an engine has now. */
export const loaded = computed(
  () =>
    new Set(
      (status.value?.backends ?? [])
        .filter(({ state }) => state === "ready" || state === "busy")
        .map(({ model }) => model),
    ),
);

export async function loadStatus(): Promise<void> {
  status.value = await readStatus();
}

export async function loadModels(): Promise<void> {
  models.value = await api.list();
  modelsLoaded.value = true;
}

/** Options by model; those of the active one under the empty name. */
const optionsByModel = signal<ReadonlyMap<string, Options>>(new Map());

export function optionsOf(model: string | null): Options | null {
  return optionsByModel.value.get(model ?? "") ?? null;
}

export async function loadOptions(model: string | null): Promise<Options> {
  const known = optionsOf(model);
  if (known) return known;
  const options = await api.options(model);
  optionsByModel.value = new Map(optionsByModel.value).set(model ?? "", options);
  return options;
}

/** Another model is active now, or files have come. */
export async function refreshServer(): Promise<void> {
  optionsByModel.value = new Map();
  await Promise.all([loadModels(), loadStatus()]);
}

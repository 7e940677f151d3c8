import { changedFromDefaults, withDefaults } from "../form/form";
import { SHAPES, sized, snapped } from "../form/sizes";
import { change, form, options } from "../form/state";
import { Button, IconButton } from "../ui/button";
import { NumberField, SelectField } from "../ui/fields";
import { More } from "./more";
import { Seed } from "./seed";

const FALLBACK = 512;

export function SettingsFields() {
  const { steps, cfg, sampler, scheduler, batch } = form.value;
  const known = options.value;
  const defaults = known?.defaults;
  const names = (list: readonly string[] | undefined, own: string | null) =>
    [...new Set([...(list ?? []), ...(own ? [own] : [])])].map((value) => ({ value, name: value }));
  return (
    <>
      <header class="panel-head">
        <h2>Settings</h2>
        <button
          type="button"
          class="link"
          disabled={!changedFromDefaults(form.value)}
          onClick={() => {
            form.value = withDefaults(form.value);
          }}
        >
          {known ? `Defaults of ${known.family}` : "Defaults"}
        </button>
      </header>
      <Size />
      <div class="pair">
        <NumberField
          label="Steps"
          value={steps}
          initial={defaults?.steps ?? null}
          min={1}
          max={100}
          onChange={(value) => change({ steps: value })}
        />
        <NumberField
          label="CFG scale"
          value={cfg}
          initial={defaults?.cfg_scale ?? null}
          min={0}
          max={50}
          step={0.1}
          onChange={(value) => change({ cfg: value })}
        />
        <SelectField
          label="Sampler"
          value={sampler ?? defaults?.sampler ?? ""}
          choices={names(known?.samplers, sampler)}
          onChange={(value) => change({ sampler: value })}
        />
        <SelectField
          label="Scheduler"
          value={scheduler ?? defaults?.scheduler ?? ""}
          choices={names(known?.schedulers, scheduler)}
          onChange={(value) => change({ scheduler: value })}
        />
      </div>
      <div class="seed-row">
        <Seed />
        <NumberField
          label="Batch size"
          value={batch}
          min={1}
          max={256}
          onChange={(value) => change({ batch: value ?? 1 })}
        />
      </div>
      <More />
      <p class="quiet narrow-only">
        <Button
          onClick={() => {
            document.getElementById("main")?.scrollTo({ top: 0 });
          }}
        >
          To the top
        </Button>
      </p>
    </>
  );
}

function Size() {
  const defaults = options.value?.defaults;
  const width = form.value.width ?? defaults?.width ?? null;
  const height = form.value.height ?? defaults?.height ?? null;
  const area = (defaults?.width ?? FALLBACK) * (defaults?.height ?? FALLBACK);
  const side = (label: "Width" | "Height", name: "width" | "height") => (
    <NumberField
      label={label}
      value={form.value[name]}
      initial={defaults?.[name] ?? null}
      min={64}
      max={4096}
      step={8}
      onChange={(value) => change({ [name]: value })}
    />
  );
  const shape = (name: (typeof SHAPES)[number]) => {
    const size = sized(name, area);
    const isNow = size.width === width && size.height === height;
    return (
      <button
        key={name}
        type="button"
        class="shape"
        aria-pressed={isNow}
        title={`${size.width} × ${size.height}`}
        onClick={() => change(size)}
      >
        {name}
      </button>
    );
  };
  return (
    <div class="size">
      <div class="size-row" onFocusOut={snap}>
        {side("Width", "width")}
        <IconButton name="Swap width and height" icon="swap" onClick={() => change({ width: height, height: width })} />
        {side("Height", "height")}
      </div>
      <fieldset class="shapes">
        <legend class="visually-hidden">Shape</legend>
        {SHAPES.map(shape)}
      </fieldset>
    </div>
  );
}

/** Sides are multiples of 8. */
function snap(): void {
  const { width, height } = form.value;
  const next = { width: width === null ? null : snapped(width), height: height === null ? null : snapped(height) };
  if (next.width !== width || next.height !== height) change(next);
}

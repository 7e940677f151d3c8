import type { FormHires } from "../form/form";
import { hiresOf, NO_HIRES } from "../form/hires";
import { change, form, inputs, options } from "../form/state";
import { NumberField, SelectField, SliderField, Switch } from "../ui/fields";
import { Tags } from "../ui/tags";

export function More() {
  const { clipSkip, guidance, tags, force } = form.value;
  const known = options.value;
  const hires = hiresOf(form.value, known?.defaults ?? null, inputs.value.init !== null);
  const setHires = (part: Partial<FormHires>) => change({ hires: { ...hires, ...part } });
  const upscalers = [...new Set([...(known?.upscalers ?? []), hires.upscaler])];
  return (
    <details class="more">
      <summary>More</summary>
      <div class="stack">
        <Switch label="Hires fix" on={hires.on} onChange={(on) => setHires({ on })} />
        {hires.on && (
          <div class="pair">
            <NumberField
              label="Scale"
              value={hires.scale}
              min={1}
              max={8}
              step={0.25}
              onChange={(value) => setHires({ scale: value ?? NO_HIRES.scale })}
            />
            <NumberField
              label="Second steps"
              value={hires.steps || null}
              min={0}
              max={100}
              placeholder="as many"
              onChange={(value) => setHires({ steps: value ?? 0 })}
            />
            <SelectField
              label="Upscaler"
              value={hires.upscaler}
              choices={upscalers.map((value) => ({ value, name: value }))}
              onChange={(upscaler) => setHires({ upscaler })}
            />
            <SliderField
              label="Denoising"
              value={hires.denoise}
              min={0.05}
              max={1}
              step={0.05}
              onChange={(denoise) => setHires({ denoise })}
            />
          </div>
        )}
        <div class="pair">
          <NumberField
            label="CLIP skip"
            value={clipSkip}
            initial={known?.defaults.clip_skip ?? null}
            min={1}
            max={12}
            placeholder="none"
            onChange={(value) => change({ clipSkip: value })}
          />
          <NumberField
            label="Guidance"
            value={guidance}
            initial={known?.defaults.guidance ?? null}
            min={0}
            max={50}
            step={0.1}
            placeholder="none"
            onChange={(value) => change({ guidance: value })}
          />
        </div>
        <div class="field">
          <span class="label">Tags of the pictures</span>
          <Tags label="Add a tag for new pictures" tags={tags} onChange={(next) => change({ tags: next })} />
        </div>
        <Switch
          label="Draw also what will hardly look right (LoRAs of another family, odd sizes)"
          on={force}
          onChange={(on) => change({ force: on })}
        />
      </div>
    </details>
  );
}

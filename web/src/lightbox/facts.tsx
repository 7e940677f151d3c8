import type { ComponentChildren } from "preact";
import type { Image } from "../api/types";
import { NO_FILTERS, queryOf } from "../gallery/filters";
import { hrefOf } from "../state/route";

export function Facts({ image }: { image: Image }) {
  const { settings, width, height } = image;
  const { model, hires } = settings;
  return (
    <dl class="facts">
      <Fact name="Model">
        <a href={hrefOf("gallery", queryOf({ ...NO_FILTERS, model: model.name }))} title="Pictures made with it">
          {model.name}
        </a>
        <span class="quiet"> {model.family}</span>
      </Fact>
      {settings.loras.map((lora) => (
        <Fact key={lora.name} name="LoRA">
          <a href={hrefOf("gallery", queryOf({ ...NO_FILTERS, lora: lora.name }))} title="Pictures made with it">
            {lora.name}
          </a>
          <span class="quiet"> {lora.weight}</span>
        </Fact>
      ))}
      <Fact name="Size">
        {width} × {height}
      </Fact>
      <Fact name="Seed">{settings.seed}</Fact>
      <Fact name="Steps">{settings.steps}</Fact>
      <Fact name="CFG scale">{settings.cfg_scale}</Fact>
      <Fact name="Sampler">
        {settings.sampler} <span class="quiet">{settings.scheduler}</span>
      </Fact>
      {settings.guidance !== null && <Fact name="Guidance">{settings.guidance}</Fact>}
      {settings.clip_skip !== null && <Fact name="CLIP skip">{settings.clip_skip}</Fact>}
      {settings.strength !== null && settings.init_image && <Fact name="Strength">{settings.strength}</Fact>}
      {hires && (
        <Fact name="Hires fix">
          {hires.scale}× {hires.upscaler}
        </Fact>
      )}
      <Fact name="Engine">{image.engine}</Fact>
      <Fact name="File">
        <span class="path">{image.path}</span>
      </Fact>
    </dl>
  );
}

function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

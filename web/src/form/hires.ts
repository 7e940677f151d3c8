/** The hires fix: what is chosen, else what the family does by itself. */
import type { Options } from "../api/types";
import type { Form, FormHires } from "./form";

type Defaults = Options["defaults"];

export const NO_HIRES: FormHires = { on: false, scale: 2, upscaler: "Latent", steps: 0, denoise: 0.7 };

/** What holds now. No family redraws a picture that somebody gives. */
export function hiresOf(form: Form, defaults: Defaults | null, hasInit: boolean): FormHires {
  if (form.hires) return form.hires;
  const usual = defaults?.hires;
  if (!usual) return NO_HIRES;
  return {
    on: !hasInit,
    scale: usual.scale,
    upscaler: usual.upscaler,
    steps: usual.steps,
    denoise: usual.denoising_strength,
  };
}

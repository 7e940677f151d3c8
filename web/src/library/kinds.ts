/** Kinds of model files in words. */
export const KINDS: Record<string, string> = {
  checkpoint: "Checkpoint",
  diffusion_model: "Diffusion model",
  lora: "LoRA",
  vae: "VAE",
  tae: "Tiny VAE",
  embedding: "Embedding",
  text_encoder: "Text encoder",
  controlnet: "ControlNet",
  upscaler: "Upscaler",
  unknown: "Unknown",
};

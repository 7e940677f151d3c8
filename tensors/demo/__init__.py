"""The tiny model that ships: `shapes.safetensors` and a LoRA for it. See MODEL_CARD.md."""

#!/bin/bash
# Start sd-server with what the environment names; an empty variable is none.
set -euo pipefail
command=(sd-server -l 0.0.0.0 --listen-port 1234 --lora-model-dir "$LORA_DIR" --lora-apply-mode at_runtime)
for variable in MODEL DIFFUSION_MODEL VAE CLIP_L CLIP_G T5XXL LLM TAESD; do
  file=${!variable:-}
  option=${variable,,}
  if [[ $file ]]; then command+=("--${option//diffusion_model/diffusion-model}" "$file"); fi
done
read -ra more <<<"${SD_ARGS:-}"
echo "${command[@]}" "${more[@]}"
exec "${command[@]}" "${more[@]}"

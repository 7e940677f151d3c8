#!/usr/bin/env bash
# Start sd-server with what the environment names; an empty variable is none.
#
#   MODEL or DIFFUSION_MODEL, VAE, CLIP_L, CLIP_G, T5XXL, LLM, TAESD    files, by their paths in the container
#   LORA_DIR                                                            the folder of LoRAs
#   WIDTH, HEIGHT, STEPS, CFG_SCALE, GUIDANCE, SAMPLER, SCHEDULER, CLIP_SKIP, NEGATIVE_PROMPT
#                                                                       for requests that leave them open; the image has
#                                                                       its family's, and without one it is the engine's
#   SD_ARGS                                                             more of sd-server's arguments, split at whitespace
#
# The container's own arguments come last, as they are.
set -euo pipefail

files=(MODEL:--model DIFFUSION_MODEL:--diffusion-model VAE:--vae CLIP_L:--clip_l CLIP_G:--clip_g T5XXL:--t5xxl LLM:--llm
  TAESD:--taesd)
defaults=(WIDTH:--width HEIGHT:--height STEPS:--steps CFG_SCALE:--cfg-scale GUIDANCE:--guidance SAMPLER:--sampling-method
  SCHEDULER:--scheduler CLIP_SKIP:--clip-skip NEGATIVE_PROMPT:--negative-prompt)
models=${MODELS_DIR:-/models}

list_models() {
  local found
  # It fails when the folder, or one in it, cannot be read; what it found counts.
  found=$(find -L "$models" -type f \( -name '*.safetensors' -o -name '*.gguf' -o -name '*.ckpt' \) 2>/dev/null | sort) || true
  if [[ $found ]]; then
    printf '%s holds:\n%s\n' "$models" "$found"
  else
    printf 'There is no model in %s; is the folder mounted, and may user %s read it?\n' "$models" "$(id -u):$(id -g)"
  fi
}

fail() {
  printf 'sd-server cannot start: %s\n' "$1" >&2
  list_models >&2
  exit 1
}

check_files() {
  local pair name
  [[ ${MODEL:-}${DIFFUSION_MODEL:-} ]] || fail "neither MODEL nor DIFFUSION_MODEL names a file"
  for pair in "${files[@]}"; do
    name=${pair%%:*}
    [[ -z ${!name:-} || -f ${!name} ]] || fail "$name=${!name}: there is no such file"
    [[ -z ${!name:-} || -r ${!name} ]] || fail "$name=${!name}: user $(id -u):$(id -g) may not read it"
  done
}

add_options() {
  local pair name
  for pair in "$@"; do
    name=${pair%%:*}
    if [[ ${!name:-} ]]; then command+=("${pair#*:}" "${!name}"); fi
  done
}

# As process 1 the engine would not hear that it is to end, so this script stays there and tells it.
run_as_child() {
  local engine status=0
  "$@" &
  engine=$!
  trap 'kill -TERM "$engine" 2>/dev/null' TERM INT HUP
  wait "$engine" || status=$?
  # A signal ends the wait before it ends the engine.
  while kill -0 "$engine" 2>/dev/null; do
    status=0
    wait "$engine" || status=$?
  done
  exit "$status"
}

# Set but empty, each of these would hide every GPU.
for name in HIP_VISIBLE_DEVICES ROCR_VISIBLE_DEVICES CUDA_VISIBLE_DEVICES GGML_VK_VISIBLE_DEVICES HSA_OVERRIDE_GFX_VERSION; do
  if [[ -z ${!name:-} ]]; then unset "$name"; fi
done

check_files
command=(sd-server --listen-ip 0.0.0.0 --listen-port 1234)
add_options "${files[@]}"
if [[ ${LORA_DIR:-} ]]; then command+=(--lora-model-dir "$LORA_DIR"); fi
# Otherwise LoRAs are baked into the weights, and leave a residue when they are taken away.
command+=(--lora-apply-mode at_runtime)
add_options "${defaults[@]}"
# It fails at the end of the text, which is where it is to stop.
read -r -d '' -a more <<<"${SD_ARGS:-}" || true
command+=("${more[@]}" "$@")

# A release brings its libraries along.
engine_dir=$(dirname "$(command -v sd-server)")
export LD_LIBRARY_PATH=$engine_dir${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
printf 'Starting:'
printf ' %q' "${command[@]}"
printf '\n'
if (($$ == 1)); then run_as_child "${command[@]}"; fi
exec "${command[@]}"

#!/usr/bin/env bash
# The part of deploy.sh that knows the settings of the containers: compose.env, and which files a family needs. Not run
# by itself: deploy.sh sends it there with deploy-there.sh, which has what is shared. In upper case: what deploy.sh
# tells it.
# shellcheck disable=SC2154 # deploy-there.sh has them
set -euo pipefail
shopt -s inherit_errexit

# NAME=VALUE arguments take the place of the lines of standard input that set them, also behind a #.
with_values() {
  local text pair
  text=$(cat)
  for pair in "$@"; do
    text=$(PAIR=$pair awk -v name="${pair%%=*}" '
      !found && $0 ~ "^#?" name "=" { print ENVIRON["PAIR"]; found = 1; next }
      { print }
      END { if (!found) print ENVIRON["PAIR"] }' <<<"$text")
  done
  printf '%s\n' "$text"
}

# FAMILY=FILE of --models is a file in the folder of models; FAMILY=TARGET is known when it has been fetched.
is_file() { [[ $1 =~ \.(safetensors|gguf|ckpt)$ && $1 != *:* ]]; }

model_values() {
  local item value
  # shellcheck disable=SC2153 # deploy.sh tells them
  for item in "${MODELS[@]}"; do
    [[ $item == *=* && ${item%%=*} =~ ^[a-z0-9-]+$ ]] || continue
    value=${item#*=}
    if is_file "$value"; then value=/models/${value#/models/}; else value=; fi
    printf '%s_MODEL=%s\n' "$(variable_of "${item%%=*}")" "$value"
  done
}

# The example's models that are not here: left open, so that they can be set later.
absent_models() {
  local line models
  models=$(printf '%s\n' "MODELS_DIR=/srv/tsr/models" "${SETS[@]}" | sed -n 's/^MODELS_DIR=//p' | tail -n 1)
  while IFS= read -r line; do
    [[ -f $models/${line#*=/models/} ]] || printf '%s=\n' "${line%%=*}"
  done < <(grep -E '^[A-Z0-9]+_MODEL=/models/' <<<"$EXAMPLE")
}

new_compose_env() {
  local values files=docker-compose.yml
  mapfile -t values < <(
    # It fails when there is one of them only.
    { getent group video render || true; } | awk -F : '{ print toupper($1) "_GID=" $3 }'
    if id tsr >/dev/null 2>&1; then printf 'SD_UID=%s\nSD_GID=%s\n' "$(id -u tsr)" "$(id -g tsr)"; fi
    absent_models
    model_values
  )
  if [[ $backend != rocm ]]; then files+=:docker-compose.$backend.yml; fi
  echo '# Settings of the containers; deploy.sh made this file, and leaves what is set in it.'
  printf '%s\n' "$EXAMPLE" | sed 1,2d | with_values "${values[@]}" "${SETS[@]}"
  printf '\n# For docker compose in %s/current/rocm-docker.\nCOMPOSE_FILE=%s\n' "$PREFIX" "$files"
}

# The settings as the file has them, or as it will have them.
read_compose_env() {
  if [[ -f $compose_env ]]; then compose_text=$(<"$compose_env"); else compose_text=$(new_compose_env); fi
}

# The value of NAME=VALUE in a text; the last one counts.
value_in() {
  local line found=
  while IFS= read -r line; do
    if [[ $line == "$2="* ]]; then found=${line#*=}; fi
  done <<<"$1"
  if [[ $found =~ ^\"(.*)\"$ || $found =~ ^\'(.*)\'$ ]]; then found=${BASH_REMATCH[1]}; fi
  printf '%s\n' "$found"
}

setting() { value_in "$compose_text" "$1"; }

port_of() {
  case $1 in pony) echo 1234 ;; illustrious) echo 1235 ;; flux) echo 1236 ;; sdxl) echo 1237 ;; sd15) echo 1238 ;; esac
}

# A file of a container, as the host calls it.
on_host() { printf '%s\n' "$(setting MODELS_DIR)/${1#/models/}"; }

variable_of() { tr 'a-z-' 'A-Z_' <<<"$1"; }

# The model of a family's container, as the host calls it.
model_of() { on_host "$(setting "$(variable_of "$1")_MODEL")"; }

# NAME=FILE of what a family's container is to load and is not there, unless it is going to be fetched.
missing_files() {
  local family=$1 part file item
  for item in "${MODELS[@]}"; do
    if [[ $item == "$family="* ]] && ! is_file "$item"; then return; fi
  done
  for part in MODEL VAE CLIP_L T5XXL; do
    part=$(variable_of "$family")_$part
    file=$(setting "$part")
    if [[ ! $file && $part == *_MODEL ]]; then
      echo "$part"
    elif [[ $file && ! -f $(on_host "$file") ]]; then
      echo "$part=$file"
    fi
  done
}

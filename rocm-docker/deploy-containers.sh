#!/usr/bin/env bash
# The part of deploy.sh that looks after models, images, containers and the service on the host. Not run by itself:
# deploy.sh sends it there with deploy-there.sh, which has what is shared. In upper case: what deploy.sh tells it.
# shellcheck disable=SC2154 # deploy-there.sh has them
set -euo pipefail
shopt -s inherit_errexit

# Models

# Where a download was put, as the list of those that were fetched before has it.
fetched() {
  [[ -f $PREFIX/fetched ]] || return 0
  awk -F '\t' -v target="$1" '$1 == target { path = $2 } END { print path }' "$PREFIX/fetched"
}

fetch() {
  local path
  path=$(as_tsr "$here/venv/bin/tsr" dl "$1" --json | "$here/venv/bin/python" -c '
import json, sys
print(json.load(sys.stdin)["download"]["files"][0]["path"])')
  printf '%s\t%s\n' "$1" "$path" >>"$PREFIX/fetched"
}

fetch_models() {
  local item target path name
  # shellcheck disable=SC2153 # deploy.sh tells them
  for item in "${MODELS[@]}"; do
    target=$item
    if [[ $item =~ ^[a-z0-9-]+= ]]; then target=${item#*=}; fi
    if is_file "$item"; then continue; fi
    path=$(fetched "$target")
    if [[ ! $path || ! -f $path ]]; then
      change "fetch $target" fetch "$target"
      path=$(fetched "$target")
    fi
    if [[ $target != "$item" && ! $DRY_RUN ]]; then load_in "${item%%=*}" "$path"; fi
  done
}

# Let a family's container load this file, unless its settings name another.
load_in() {
  local name models
  name=$(variable_of "$1")_MODEL models=$(setting MODELS_DIR)
  [[ $2 == "$models"/* ]] || fail "$2 is not in $models, which the containers see"
  if [[ ! $(setting "$name") ]]; then
    fill_in "$name=/models/${2#"$models"/}"
  elif [[ $(on_host "$(setting "$name")") != "$2" ]]; then
    say "  $compose_env keeps $name=$(setting "$name")"
  fi
}

# Images

image_id() { docker image inspect --format '{{.Id}}' "$1" 2>/dev/null || true; }

engine_options() {
  local program
  if [[ $ENGINE_URL ]]; then
    printf '%s\n' --engine-url "$ENGINE_URL" --engine-sha256 "$ENGINE_SHA256"
  elif [[ -d $here/engine ]]; then
    printf '%s\n' --engine "$here/engine"
  else
    as_tsr "$here/venv/bin/tsr" engine install --accelerator "$BACKEND" ${UPDATE:+--force} >&2
    program=$(as_tsr "$here/venv/bin/tsr" engine path)
    # The folder has the engine's libraries, if it is one of tsr's.
    if [[ $program == "$state"/* ]]; then program=$(dirname "$program"); fi
    printf '%s\n' --engine "$program"
  fi
}

build_images() {
  local options
  options=$(engine_options)
  mapfile -t options <<<"$options"
  "$here/rocm-docker/build-all.sh" --backend "$BACKEND" "${options[@]}" "$@" "${BUILD_OPTIONS[@]}" >&2
}

provide_image() {
  local family
  if [[ $REGISTRY ]]; then
    for family in "$@"; do
      docker pull --quiet "$REGISTRY/sd-server:$family" >&2
      docker tag "$REGISTRY/sd-server:$family" "sd-server:$family"
    done
  else
    build_images "$@"
  fi
  # Each release keeps its own, for the way back.
  for family in "$@"; do docker tag "sd-server:$family" "sd-server:$family-$RELEASE"; done
}

provide_images() {
  local family missing=() image own used verb=build
  say "Images"
  image=$(setting SD_IMAGE)
  if [[ $REGISTRY ]]; then verb=pull; fi
  for family in $families; do
    if [[ ! $(image_id "sd-server:$family-$RELEASE") ]]; then missing+=("$family"); fi
  done
  if ((${#missing[@]})); then
    change "$verb the images of ${missing[*]}" provide_image "${missing[@]}"
  fi
  [[ ! $DRY_RUN ]] || return 0
  for family in $families; do
    own=sd-server:$family-$RELEASE used=${image:-sd-server}:$family
    if [[ $(image_id "$used") != "$(image_id "$own")" ]]; then
      change "use the image of this release for $family" docker tag "$own" "$used"
    fi
  done
}

# Containers

compose() (cd "$PREFIX/current/rocm-docker" && exec docker compose "$@")

# By tsr's own label, which a container keeps when tsr makes it anew.
container_of() {
  docker ps --all --quiet --no-trunc --filter label=com.docker.compose.project=tsr --filter "label=tsr.backend=$1"
}

state_of() {
  docker inspect --format '{{.State.Status}} {{.RestartCount}} {{if .State.Health}}{{.State.Health.Status}}{{end}}' "$1"
}

wait_healthy() {
  local id=$1 family=$2 deadline=$((SECONDS + PATIENCE)) status restarts health
  while true; do
    read -r status restarts health < <(state_of "$id") || true
    case $status:${health:-} in
      running:healthy | running:) return ;;
    esac
    if [[ $status == exited || $status == dead ]] || ((restarts > 2)); then break; fi
    if ((SECONDS >= deadline)); then break; fi
    sleep 1
  done
  docker logs --tail 20 "$id" 2>&1 | sed 's/^/    /' >&2
  fail "sd-$family is not healthy (${status:-gone}${health:+, $health}); its last words are above"
}

# What has no container, or one that is not as the settings have it, gets one. A container that tsr has stopped, because
# nobody needs its model now, stays stopped.
start_containers() {
  local family lacks container services=() fresh=()
  say "Containers"
  for family in $families; do
    lacks=$(missing_files "$family" | paste -sd ' ')
    if [[ $lacks ]]; then
      say "  sd-$family is not started: it has no $lacks. Later: deploy.sh --models $family=TARGET"
    else
      services+=("sd-$family") running+=("$family")
    fi
  done
  ((${#services[@]})) || fail "no family has its model"
  if [[ $DRY_RUN ]]; then
    change "start those that are not there" docker compose up --detach --no-build "${services[@]}"
    return
  fi
  compose up --no-start --no-build "${services[@]}" >&2 9>&-
  for family in "${running[@]}"; do
    if [[ $(state_of "$(container_of "$family")") == created* ]]; then fresh+=("sd-$family"); fi
  done
  if ((${#fresh[@]})); then change "start ${fresh[*]}" compose up --detach --no-build "${fresh[@]}" >&2; fi
  for family in "${running[@]}"; do
    container=$(container_of "$family")
    if [[ " ${fresh[*]} " == *" sd-$family "* || $(state_of "$container") != exited* ]]; then
      wait_healthy "$container" "$family"
    fi
  done
}

# The service

new_drop_in() {
  local groups='' group folder
  for group in docker render video; do
    if getent group "$group" >/dev/null; then groups+=" $group"; fi
  done
  printf '# What this host has; deploy.sh writes it anew.\n[Service]\n'
  printf 'SupplementaryGroups=%s\n' '' "${groups# }"
  for folder in "$(setting MODELS_DIR)" "$(setting LORAS_DIR)"; do
    [[ $folder == /srv/tsr/* ]] || printf 'ReadWritePaths=-%s\n' "$folder"
  done
}

server_address() {
  local address
  address=$(environment TSR_HOST 127.0.0.1)
  case $address in 0.0.0.0) address=127.0.0.1 ;; ::) address=::1 ;; esac
  echo "$address"
}

answers() {
  local line
  { exec 3<>"/dev/tcp/$(server_address)/$1"; } 2>/dev/null || return 1
  printf 'GET /api/health HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3
  read -r -t 10 line <&3 || line=
  exec 3>&-
  [[ $line == *" 200 "* ]]
}

wait_for_server() {
  local port deadline=$((SECONDS + 60))
  port=$(environment TSR_PORT 8080)
  until answers "$port"; do
    if ! systemctl is-active --quiet "$unit" || ((SECONDS >= deadline)); then
      journalctl --no-pager -n 20 -u "$unit" 2>/dev/null | sed 's/^/    /' >&2 || true
      fail "tsr-server does not answer on port $port: journalctl -u tsr-server"
    fi
    sleep 0.3
  done
}

restart_service() {
  systemctl daemon-reload
  systemctl enable --quiet "$unit"
  systemctl restart "$unit"
  wait_for_server
  put_file "$PREFIX/started" 644 root:root <<<"$1"
}

# What the server was started with: when it is the same, it is left alone.
signature() {
  local files=("$units/$unit" "$units/$unit.d/50-host.conf" "$etc/tsr.env" "$etc/config.toml")
  printf '%s %s\n%s\n' "$RELEASE" "$(cat "${files[@]}" | sha256sum | cut -c 1-16)" "${running[*]}"
}

start_service() {
  local text=
  say "Service"
  if [[ -f $here/rocm-docker/$unit ]]; then text=$(sed "s#/opt/tsr/#$PREFIX/#g" "$here/rocm-docker/$unit"); fi
  [[ -d $units/$unit.d ]] || change "make $units/$unit.d" install -d -m 755 "$units/$unit.d"
  write_file "$units/$unit" 644 root:root "$text"
  write_file "$units/$unit.d/50-host.conf" 644 root:root "$(new_drop_in)"
  if [[ $DRY_RUN ]]; then change "start the server" systemctl restart "$unit"; return; fi
  if systemctl is-active --quiet "$unit" && systemctl is-enabled --quiet "$unit" &&
    [[ $(cat "$PREFIX/started" 2>/dev/null) == "$(signature)" ]]; then
    return
  fi
  change "start the server" restart_service "$(signature)"
}

# One picture, so that it is seen to work.

draw() {
  local model
  model=$(model_of "${running[0]}")
  TSR_API_KEY=$(environment TSR_API_KEYS '')
  export TSR_API_KEY=${TSR_API_KEY%%,*}
  as_tsr "$here/venv/bin/tsr" generate "a lighthouse on a cliff at sunset" --model "$model" --tag deploy \
    --remote "http://$(server_address):$(environment TSR_PORT 8080)" >&2
  touch "$here/.drawn"
}

draw_picture() {
  if [[ ! -f $here/.drawn ]]; then
    say "Picture"
    change "draw one" draw
  fi
}

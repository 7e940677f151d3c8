#!/usr/bin/env bash
# The part of deploy.sh that works on the host. Not run by itself: deploy.sh sends it there behind the other parts.
# A release follows on standard input. In upper case: what deploy.sh tells it. Standard output is data for deploy.sh.
set -euo pipefail
shopt -s inherit_errexit

# shellcheck disable=SC2034 # for deploy-containers.sh
etc=/etc/tsr state=/var/lib/tsr unit=tsr-server.service units=/etc/systemd/system
compose_env=$etc/compose.env stamp='[0-9]{8}-[0-9]{6}-[0-9a-f]{12}'
done_so_far=() explained=()

say() { printf '%s\n' "$*" >&2; }
fail() { say "deploy.sh: $*"; exit 1; }

# What a function of these scripts does with its arguments, said once.
explain() {
  if ! declare -F "$1" >/dev/null || [[ " ${explained[*]} " == *" $1 "* ]]; then return; fi
  explained+=("$1")
  say "      which is:"
  declare -f "$1" | sed '1,2d; $d; s/^/      /' >&2
}

# Change something: what is said of it, then the command. A dry run prints the command.
change() {
  local what=$1
  shift
  if [[ $DRY_RUN ]]; then
    say "  would: $what"
    say "      $(printf '%q ' "$@")"
    explain "$1"
  else
    say "  $what"
    "$@"
    done_so_far+=("$what")
  fi
}

# Standard input becomes a file, in one go. A file that is the same already stays as it is.
put_file() { cat >"$1.new" && chmod "$2" "$1.new" && chown "$3" "$1.new" && mv -f "$1.new" "$1"; }

write_file() {
  local file=$1 mode=$2 owner=$3 text=$4
  if [[ -f $file && $(<"$file") == "$text" ]]; then return; fi
  change "write $file" put_file "$file" "$mode" "$owner" <<<"$text"
}

# Releases

# Folders that this script made, and no others.
release_folders() { find "$PREFIX/releases" -mindepth 1 -maxdepth 1 -type d 2>/dev/null | grep -E "/$stamp\$" | sort; }

releases() {
  local folder
  for folder in $(release_folders || true); do
    if [[ -f $folder/.complete ]]; then basename "$folder"; fi
  done
}

facts() {
  local file=$PREFIX/releases/$current/release.env
  echo "CURRENT=$current"
  echo "RELEASES=$(releases | paste -sd ' ')"
  if [[ $current ]]; then
    (
      # shellcheck source=/dev/null
      . "$file"
      printf '%s\n' "BACKEND=$BACKEND" "ENGINE=$ENGINE" "ENGINE_URL=$ENGINE_URL" "ENGINE_SHA256=$ENGINE_SHA256" \
        "REGISTRY=$REGISTRY"
    )
    echo "BUILD_OPTIONS=$(grep '^BUILD_OPTIONS=' "$file")"
  fi
}

# One deploy at a time: after an interruption the old one may still be at work.
take_lock() {
  [[ ! $DRY_RUN ]] || return 0
  mkdir -p "$PREFIX"
  exec 9>>"$PREFIX/.lock"
  if flock -n 9; then return; fi
  say "  waiting for another deploy on this host"
  flock -w 120 9 || fail "another deploy is at work on this host"
}

remove_halves() {
  local folder
  for folder in $(release_folders || true); do
    [[ -f $folder/.complete ]] || change "remove a release that was not finished" rm -rf "$folder"
  done
}

unpack() { mkdir -p "$1" && tar -C "$1" --no-same-owner -xf - <&8; }

make_venv() {
  local pip=("$1/venv/bin/python" -m pip --quiet --disable-pip-version-check install)
  "$(find_python)" -m venv "$1/venv"
  if [[ ${TSR_VERSION:-} ]]; then
    "${pip[@]}" "tensors==$TSR_VERSION"
  elif [[ -f $1/requirements.txt ]]; then
    "${pip[@]}" --require-hashes -r "$1/requirements.txt"
    "${pip[@]}" --no-deps "$1"/wheel/*.whl
  else
    "${pip[@]}" "$1"/wheel/*.whl
  fi
  "$1/venv/bin/tsr" serve --help >/dev/null || fail "tsr${TSR_VERSION:+ $TSR_VERSION} as it was installed has no server"
}

finish_release() { ln -sfn "$compose_env" "$1/rocm-docker/.env" && sync -f "$1" && touch "$1/.complete"; }

install_release() {
  say "Release $RELEASE"
  remove_halves
  if [[ $COPY ]]; then
    change "copy it to $here" unpack "$here"
    if [[ ! $DRY_RUN ]]; then read_release; fi
    if [[ ${ENGINE:-} && ! -d $here/engine ]]; then
      change "take the engine of the release before" cp -a "$PREFIX/current/engine" "$here/engine"
    fi
    change "install tsr into $here/venv" make_venv "$here"
    change "call it complete" finish_release "$here"
  fi
}

read_release() {
  # shellcheck source=/dev/null
  . "$here/release.env"
  backend=$BACKEND
}

point_to() { ln -s "releases/$1" "$PREFIX/current.new" && mv -T "$PREFIX/current.new" "$PREFIX/current"; }

switch_current() {
  [[ $current != "$RELEASE" ]] || return 0
  rm -f "$PREFIX/current.new"
  change "make $RELEASE the current release" point_to "$RELEASE"
}

# User, folders, settings

make_folder() { install -d -m "$2" -o tsr -g tsr "$1"; }

make_user_and_folders() {
  local folder models folders
  say "User, folders and settings"
  if ! id tsr >/dev/null 2>&1; then
    change "make the user tsr" \
      useradd --system --user-group --home-dir "$state" --no-create-home --shell /usr/sbin/nologin tsr
  fi
  if [[ ! -d $state ]]; then change "make $state" make_folder "$state" 750; fi
  if [[ ! -d $etc ]]; then change "make $etc" install -d -m 755 "$etc"; fi
  # Once more: now the user is there, whose number it has.
  read_compose_env
  # shellcheck disable=SC2154 # deploy-settings.sh has it
  write_file "$compose_env" 644 root:root "$compose_text"
  models=$(setting MODELS_DIR)
  folders=("$models"{,/checkpoints,/diffusion_models,/vae,/text_encoders})
  folders+=("$(setting LORAS_DIR)" "$(setting OUTPUT_DIR)")
  for folder in "${folders[@]}"; do
    if [[ ! -d $folder ]]; then change "make $folder" make_folder "$folder" 755; fi
  done
}

# With the model that is meant when none is named, once it is known: what ships with tsr no container sees.
new_config() {
  local models names
  models=$(setting MODELS_DIR)
  # shellcheck disable=SC2153 # deploy.sh tells them
  names=$(printf '"%s", ' "${NAMES[@]}")
  cat <<EOF
# Settings of tsr's server; deploy.sh made this file, and leaves it as it is. Keys are in tsr.env.
[paths]
models = ["$models"]
checkpoints = ["$models/checkpoints"]
diffusion_models = ["$models/diffusion_models"]
vae = ["$models/vae"]
text_encoders = ["$models/text_encoders"]
loras = ["$(setting LORAS_DIR)"]

[server]
allowed_hosts = [${names%, }]
EOF
  [[ ! $1 ]] || printf '\n[engine]\nmodel = "%s"\n' "$1"
}

name_model() {
  local family model=
  for family in $families; do
    if [[ ! $(missing_files "$family") ]]; then model=$(model_of "$family"); break; fi
  done
  # As this script made it, and nobody has changed it since.
  if [[ $model && -f $etc/config.toml && $(<"$etc/config.toml") == "$(new_config '')" ]]; then
    write_file "$etc/config.toml" 644 root:root "$(new_config "$model")"
  fi
}

new_key() { od -An -N 24 -tx1 /dev/urandom | tr -d ' \n'; }

is_loopback() { [[ $1 == 127.* || $1 == ::1 || $1 == localhost ]]; }

new_environment() {
  local address=${BIND:-0.0.0.0}
  printf '# Environment of tsr-server; deploy.sh made this file, and leaves it as it is. For root only.\n'
  printf 'TSR_HOST=%s\nTSR_PORT=%s\n' "$address" "${PORT:-8080}"
  is_loopback "$address" || printf 'TSR_API_KEYS=%s\n' "$(new_key)"
  [[ ! $CIVITAI_KEY ]] || printf 'CIVITAI_API_KEY=%s\n' "$CIVITAI_KEY"
}

# A value of tsr.env, or the one it will have.
environment() {
  local found=
  if [[ -f $etc/tsr.env ]]; then found=$(value_in "$(<"$etc/tsr.env")" "$1"); fi
  printf '%s\n' "${found:-$2}"
}

write_settings() {
  [[ -f $etc/config.toml ]] || write_file "$etc/config.toml" 644 root:root "$(new_config '')"
  [[ -f $etc/tsr.env ]] || write_file "$etc/tsr.env" 600 root:root "$(new_environment)"
  keep_what_is_set
}

# What was asked for and is set otherwise there: the file wins, and that is said.
keep_what_is_set() {
  local pair name value
  local wanted
  mapfile -t wanted < <(model_values | grep -v '=$')
  for pair in "${SETS[@]}" "${wanted[@]}"; do
    name=${pair%%=*} value=$(setting "${pair%%=*}")
    if [[ $value == "${pair#*=}" ]]; then continue; fi
    if [[ ! $value && -f $compose_env ]]; then fill_in "$pair"; else say "  $compose_env keeps $name=$value"; fi
  done
  for pair in ${BIND:+TSR_HOST="$BIND"} ${PORT:+TSR_PORT="$PORT"}; do
    value=$(environment "${pair%%=*}" "${pair#*=}")
    [[ $value == "${pair#*=}" ]] || say "  $etc/tsr.env keeps ${pair%%=*}=$value"
  done
}

# An empty setting gets a value.
fill_in() {
  write_file "$compose_env" 644 root:root "$(with_values "$1" <"$compose_env")"
  read_compose_env
}

# A command as the server's user, with the server's settings.
as_tsr() (
  local line
  while IFS= read -r line; do
    if [[ $line =~ ^[A-Z_]+= && $line != TSR_API_KEYS=* ]]; then export "${line?}"; fi
  done <"$etc/tsr.env"
  export HOME=$state TSR_DATA_DIR=$state TSR_CONFIG=$etc/config.toml
  cd "$state"
  exec runuser -u tsr -- "$@"
)

# What deploy.sh asks for

prune() {
  local old family
  [[ $KEEP ]] || return 0
  for old in $(releases | sort -r | tail -n "+$((KEEP + 1))"); do
    [[ $old != "$RELEASE" ]] || continue
    change "delete release $old" rm -rf "$PREFIX/releases/$old"
    for family in $(docker image ls --format '{{.Tag}}' sd-server | grep -E -- "-$old\$"); do
      change "delete its image $family" docker image rm "sd-server:$family" >&2
    done
  done
}

remember_families() { write_file "$PREFIX/families" 644 root:root "$families"; }

# shellcheck disable=SC2034 # for the other parts
prepare() {
  local item
  umask 022
  export PIP_ROOT_USER_ACTION=ignore
  current='' families_asked=$FAMILIES fetches='' running=()
  if [[ -L $PREFIX/current ]]; then current=$(basename "$(readlink "$PREFIX/current")"); fi
  if [[ ! $FAMILIES && -f $PREFIX/families ]]; then FAMILIES=$(<"$PREFIX/families"); fi
  FAMILIES=${FAMILIES:-pony illustrious flux}
  families=$FAMILIES backend=${BACKEND:-rocm}
  if [[ ! $BACKEND && $current ]]; then backend=$(facts | sed -n 's/^BACKEND=//p'); fi
  # shellcheck disable=SC2153 # deploy.sh tells them
  for item in "${MODELS[@]}"; do is_file "$item" || fetches=1; done
  read_compose_env
  port_there=$(environment TSR_PORT "${PORT:-8080}")
}

choose_older() {
  RELEASE=$(releases | awk -v current="$current" '$0 < current' | tail -n 1)
  [[ $RELEASE ]] || fail "there is no release before ${current:-the first} to go back to"
}

tell_what_was_done() {
  local status=$?
  if ((status)) && ((${#done_so_far[@]})); then
    say "Done so far:"
    printf '  %s\n' "${done_so_far[@]}" >&2
  fi
}

apply() {
  trap tell_what_was_done EXIT
  take_lock
  if [[ $ROLLBACK ]]; then choose_older; fi
  here=$PREFIX/releases/$RELEASE
  # A dry run of a new release has none yet.
  ENGINE_URL='' REGISTRY='' BACKEND=$backend
  if [[ -f $here/release.env ]]; then read_release; fi
  if [[ ! $ROLLBACK ]]; then
    make_user_and_folders
    install_release
    write_settings
    fetch_models
    name_model
  fi
  provide_images
  switch_current
  start_containers
  start_service
  draw_picture
  remember_families
  prune
  echo "PORT=$(environment TSR_PORT 8080)"
  if ! is_loopback "$(environment TSR_HOST 127.0.0.1)"; then
    local keys
    keys=$(environment TSR_API_KEYS '')
    echo "KEY=${keys%%,*}"
  fi
  if [[ $DRY_RUN ]]; then
    say "Nothing was changed."
  elif ((${#done_so_far[@]} == 0)); then
    say "Nothing was changed: release $RELEASE is there, and runs."
  else
    say "Release $RELEASE is there, and runs."
  fi
}

# Called by the last line of what deploy.sh sends. What runs below must not eat what is still to come on standard input.
run_there() {
  prepare
  exec 8<&0 </dev/null
  "$1"
}

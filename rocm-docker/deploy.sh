#!/usr/bin/env bash
# Put tsr on a machine with a GPU, over ssh: images, containers, models, and the server as a service.
#
#   deploy.sh [OPTION...] HOST [-- OPTION OF BUILD-ALL.SH...]
#
#   HOST                    as ssh takes it; root, or a user that sudo asks for no password
#   --backend NAME          rocm (the default), vulkan, cuda or cpu
#   --families LIST         pony,illustrious,flux when left out; also sdxl and sd15
#   --models LIST           what to fetch there, with commas: TARGET as 'tsr dl' takes it; FAMILY=TARGET for the model
#                           of a family's container; FAMILY=FILE for one that is in the folder of models already
#   --set NAME=VALUE        a value for the containers' settings (.env.example lists them), where there are none yet
#   --bind ADDRESS          0.0.0.0 when left out; 127.0.0.1 needs no API key
#   --port PORT             8080 when left out
#   --name NAME             what this server is to be called here; HOST when left out
#   --engine PATH           an sd-server of this machine, or the folder with it and its libraries
#   --engine-url URL --engine-sha256 SUM
#                           or a release of stable-diffusion.cpp; without any, upstream's newest is fetched there
#   --registry REGISTRY     pull REGISTRY/sd-server:FAMILY instead of building
#   --tsr VERSION|WHEEL     this tsr, instead of the one of this checkout
#   --prefix DIR            /opt/tsr when left out
#   --wait SECONDS          how long a container may take to be healthy; 900 when left out
#   --update                replace the release that is there when this one differs
#   --rollback              go back to the release before
#   --keep N                delete releases of tsr but the newest N; without it none is
#   --dry-run               print what would be done there, and change nothing
#   --ssh-option OPTION     for 'ssh -o'; repeatable. TSR_SSH is the command in place of ssh
#
# A CivitAI key goes along when CIVITAI_API_KEY is set. After an interruption, run it again; twice changes nothing.
# Standard output: what to put into this machine's config.toml. Exit codes: 0, 1 it failed, 2 wrong options.
set -euo pipefail
shopt -s inherit_errexit

here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
command_line=$(printf '%q ' "$0" "$@")
host='' backend='' families='' models=() sets=() bind='' port='' name='' prefix=/opt/tsr patience=900
engine='' engine_url='' engine_sum='' registry='' tsr='' update='' rollback='' keep='' dry_run=''
build_options=() ssh_options=() work='' connected=''

say() { printf '%s\n' "$*" >&2; }
refuse() { say "deploy.sh: $*"; exit 2; }
fail() { say "deploy.sh: $*"; exit 1; }

say_usage() { sed -n '2,/^set /{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }

read_arguments() {
  while (($#)); do
    case $1 in
      --backend | --families | --models | --set | --bind | --port | --name | --engine | --engine-url | --registry | \
        --engine-sha256 | --tsr | --prefix | --wait | --keep | --ssh-option)
        (($# > 1)) || refuse "$1 wants a value"
        ;;&
      --backend) backend=$2; shift 2 ;;
      --families) families=${2//,/ }; shift 2 ;;
      --models) IFS=, read -r -a more <<<"$2"; models+=("${more[@]}"); shift 2 ;;
      --set) sets+=("$2"); shift 2 ;;
      --bind) bind=$2; shift 2 ;;
      --port) port=$2; shift 2 ;;
      --name) name=$2; shift 2 ;;
      --engine) engine=$2; shift 2 ;;
      --engine-url) engine_url=$2; shift 2 ;;
      --engine-sha256) engine_sum=$2; shift 2 ;;
      --registry) registry=${2%/}; shift 2 ;;
      --tsr) tsr=$2; shift 2 ;;
      --prefix) prefix=${2%/}; shift 2 ;;
      --wait) patience=$2; shift 2 ;;
      --keep) keep=$2; shift 2 ;;
      --ssh-option) ssh_options+=(-o "$2"); shift 2 ;;
      --update) update=1; shift ;;
      --rollback) rollback=1; shift ;;
      --dry-run) dry_run=1; shift ;;
      -h | --help) say_usage; exit ;;
      --) shift; build_options=("$@"); return ;;
      -*) refuse "unknown option $1; --help lists them" ;;
      *) [[ ! $host ]] || refuse "one HOST at a time: $host and $1"; host=$1; shift ;;
    esac
  done
}

check_arguments() {
  local family pair known
  [[ $host ]] || refuse "on which HOST? --help lists the options"
  [[ ! $backend || $backend =~ ^(rocm|vulkan|cuda|cpu)$ ]] ||
    refuse "unknown backend '$backend': rocm, vulkan, cuda or cpu"
  known=$(sed -n 's/^  sd-\([a-z0-9-]*\):$/\1/p' "$here/docker-compose.yml" | paste -sd ' ')
  for family in $families; do
    [[ " $known " == *" $family "* ]] || refuse "no service for the family '$family'; there are: $known"
  done
  for pair in "${sets[@]}"; do
    [[ $pair =~ ^[A-Z][A-Z0-9_]*= ]] || refuse "--set takes NAME=VALUE, not '$pair'"
  done
  [[ ! $port || $port =~ ^[1-9][0-9]{0,4}$ ]] || refuse "--port takes a number, not '$port'"
  [[ $patience =~ ^[1-9][0-9]*$ ]] || refuse "--wait takes seconds, not '$patience'"
  [[ ! $keep || $keep =~ ^[1-9][0-9]*$ ]] || refuse "--keep takes a number from 1 on, not '$keep'"
  [[ $prefix =~ ^/[A-Za-z0-9/._-]+$ ]] || refuse "--prefix takes an absolute path without spaces, not '$prefix'"
  [[ ! $rollback || ! $update ]] || refuse "--update or --rollback, not both"
  check_engine
}

check_engine() {
  local ways=0
  [[ ! $engine ]] || ways=$((ways + 1))
  [[ ! $engine_url ]] || ways=$((ways + 1))
  [[ ! $registry ]] || ways=$((ways + 1))
  ((ways < 2)) || refuse "give one of --engine, --engine-url and --registry"
  [[ ! $engine || -f $engine || -f $engine/sd-server ]] || refuse "--engine $engine is no sd-server, and has none in it"
  [[ ! $engine_url || $engine_sum =~ ^[0-9a-f]{64}$ ]] ||
    refuse "--engine-url needs --engine-sha256, 64 digits in lower case"
}

# The connection: one, which all that follows shares.

to_host() {
  "${ssh[@]}" -o ControlPath="$work/ssh" -o BatchMode=yes -o ServerAliveInterval=30 "${ssh_options[@]}" "$@"
}

connect() {
  read -r -a ssh <<<"${TSR_SSH:-ssh}"
  # It stays a while by itself, so that nothing is left behind when this script is killed.
  if ! to_host -o ControlMaster=yes -o ControlPersist=30 -f "$host" true </dev/null >"$work/said" 2>&1; then
    say "deploy.sh: cannot reach $host without a password:"
    sed 's/^/  /' "$work/said" >&2
    fail "ssh-copy-id $host lets it in; a host that is new to ssh is accepted with: ssh $host true"
  fi
  connected=1
}

clean_up() {
  if [[ $connected ]]; then to_host -O exit "$host" >/dev/null 2>&1 || true; fi
  rm -rf "$work"
}

assign() { printf '%s=%q\n' "$1" "$2"; }

assign_list() {
  local name=$1
  shift
  printf '%s=(' "$name"
  (($# == 0)) || printf '%q ' "$@"
  printf ')\n'
}

# What the script there is told. It travels as standard input, so no key is seen in a list of processes.
settings() {
  assign HOST "$host"
  assign PREFIX "$prefix"
  assign BACKEND "$backend"
  assign FAMILIES "$families"
  assign_list MODELS "${models[@]}"
  assign_list SETS "${sets[@]}"
  assign BIND "$bind"
  assign PORT "$port"
  assign_list NAMES "$(address)"
  assign PATIENCE "$patience"
  assign UPDATE "$update"
  assign ROLLBACK "$rollback"
  assign KEEP "$keep"
  assign DRY_RUN "$dry_run"
  assign CIVITAI_KEY "${CIVITAI_API_KEY:-}"
  assign EXAMPLE "$(<"$here/.env.example")"
}

# The name that ssh goes to, which an alias of ~/.ssh/config may hide.
address() { "${ssh[@]}" "${ssh_options[@]}" -G "$host" 2>/dev/null | sed -n 's/^hostname //p' | head -n 1; }

# Run a function of deploy-there.sh, with what more it is told. Any login shell understands the one line that starts it.
there() {
  local text
  text=$(
    settings
    printf '%s\n' "${@:2}"
    cat "$here"/deploy-{checks,settings,containers,there}.sh
    echo "run_there $1"
  )
  local length
  length=$(printf '%s\n' "$text" | wc -c)
  { printf '%s\n' "$text"; cat "$work/payload"; } |
    to_host "$host" "$as_root bash -c 'eval \"\$(head -c $((length)))\"'"
}

# What goes there: the folder of this script, tsr, and what this release is made with.

build_wheel() {
  local python
  for python in "$root/.venv/bin/python" python3; do
    if "$python" -c 'import hatchling' 2>/dev/null; then
      if (cd "$root" && "$python" -m hatchling build -t wheel -d "$work/new/wheel") >"$work/said" 2>&1; then return; fi
      break
    fi
  done
  python3 -m pip wheel --quiet --no-deps --wheel-dir "$work/new/wheel" "$root" >"$work/said" 2>&1 ||
    { cat "$work/said" >&2; fail "no wheel can be built of $root; 'make demo' makes what it takes, or give --tsr"; }
}

make_payload() {
  mkdir -p "$work/new/rocm-docker"
  cp "$here"/{.env.example,Dockerfile.sd-server,tsr-server.service} "$here"/*.{sh,toml,yml} "$work/new/rocm-docker"
  if [[ -f $tsr ]]; then
    mkdir "$work/new/wheel"
    cp "$tsr" "$work/new/wheel"
  elif [[ ! $tsr ]]; then
    build_wheel
    cp "$root/requirements/runtime.txt" "$work/new/requirements.txt"
  fi
  if [[ -d $engine ]]; then
    cp -a "$engine" "$work/new/engine"
  elif [[ $engine ]]; then
    mkdir "$work/new/engine"
    cp "$engine" "$work/new/engine/sd-server"
  fi
  {
    assign BACKEND "${backend:-${there_BACKEND:-rocm}}"
    if [[ $engine || $engine_url || $registry ]]; then
      assign ENGINE_URL "$engine_url"
      assign ENGINE_SHA256 "$engine_sum"
      assign REGISTRY "$registry"
      assign ENGINE "${engine:+copied}"
    else
      assign ENGINE_URL "${there_ENGINE_URL:-}"
      assign ENGINE_SHA256 "${there_ENGINE_SHA256:-}"
      assign REGISTRY "${there_REGISTRY:-}"
      # What was copied once is taken from the release before.
      assign ENGINE "${there_ENGINE:-}"
    fi
    # The same name in a registry is another image tomorrow.
    if [[ $update && ${registry:-${there_REGISTRY:-}} ]]; then assign PULLED "$(date -u +%s)"; fi
    if [[ ! -f $tsr ]]; then assign TSR_VERSION "$tsr"; fi
    if ((${#build_options[@]})); then
      assign_list BUILD_OPTIONS "${build_options[@]}"
    else
      echo "${there_BUILD_OPTIONS:-BUILD_OPTIONS=()}"
    fi
  } >"$work/new/release.env"
  sum=$(cd "$work/new" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c 1-12)
}

# The release to have there: a new one, or one that is there.
choose_release() {
  local known
  release=$there_CURRENT copy=
  if [[ $there_CURRENT == *-"$sum" ]]; then return; fi
  if [[ $there_CURRENT && ! $update ]]; then
    say "Release $there_CURRENT is there, and what would be made now is another: --update replaces it."
    return
  fi
  for known in $there_RELEASES; do
    if [[ $known == *-"$sum" ]]; then release=$known; return; fi
  done
  release=$(date -u +%Y%m%d-%H%M%S)-$sum copy=1
}

report() {
  local at=${name:-${host##*@}} url
  url=http://$(address):$there_PORT
  if [[ ! $there_KEY ]]; then
    url=http://127.0.0.1:$there_PORT
    echo "# Only $host itself reaches this server; from here: ssh -N -L $there_PORT:127.0.0.1:$there_PORT $host"
  fi
  printf '# For config.toml of this machine (tsr config path):\n[remotes]\n'
  if [[ $there_KEY ]]; then
    printf '"%s" = { url = "%s", api_key = "%s" }\n' "$at" "$url" "$there_KEY"
  else
    printf '"%s" = "%s"\n' "$at" "$url"
  fi
  printf '# Or, which does the same:\n# tsr remote add %s %s%s --default\n' "$at" "$url" "${there_KEY:+ --api-key -}"
}

tell_how_to_go_on() {
  say "To go on, when that is mended:"
  say "  $command_line"
  exit 1
}

read_facts() {
  local line
  while IFS= read -r line; do
    if [[ $line =~ ^([A-Z_0-9]+)= ]]; then printf -v "there_${BASH_REMATCH[1]}" '%s' "${line#*=}"; fi
  done <"$work/facts"
}

main() {
  read_arguments "$@"
  check_arguments
  [[ ! $tsr || -f $tsr || $tsr =~ ^[0-9][0-9A-Za-z.+!-]*$ ]] || refuse "--tsr takes a version or a wheel, not '$tsr'"
  work=$(mktemp -d "${TMPDIR:-/tmp}/tsr-deploy.XXXXXX")
  trap clean_up EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  : >"$work/payload"
  connect
  as_root=
  if [[ $(to_host "$host" 'id -u' </dev/null) != 0 ]]; then
    as_root='sudo -n'
    if ! to_host "$host" 'sudo -n true' </dev/null >/dev/null 2>&1; then as_root=; fi
  fi
  say "$host: looking at it"
  there check >"$work/facts" || tell_how_to_go_on
  there_CURRENT='' there_RELEASES='' there_PORT='' there_KEY=''
  read_facts
  release='' copy=''
  if [[ ! $rollback ]]; then
    make_payload
    choose_release
    if [[ $copy ]]; then tar -C "$work/new" -cf "$work/payload" .; fi
  fi
  there apply "RELEASE=$release" "COPY=$copy" >"$work/facts" || tell_how_to_go_on
  read_facts
  if [[ ! $dry_run ]]; then report; fi
}

main "$@"

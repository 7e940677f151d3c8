#!/usr/bin/env bash
# Build the image sd-server:FAMILY for every family of model-defaults.toml, or for those named.
#
#   build-all.sh [OPTION...] [FAMILY...] [-- OPTION OF DOCKER BUILD...]
#
#   --backend NAME          rocm (the default), vulkan, cuda or cpu: which base image and packages
#   --base-image IMAGE      another base image; --packages 'NAME...' what apt installs on it ('' for nothing)
#   --engine PATH           a prebuilt sd-server, or the folder that has it and its libraries ('tsr engine path' names one)
#   --engine-url URL --engine-sha256 SUM
#                           or a release of stable-diffusion.cpp: its zip, and what the release page says it sums up to
#   --engine-version NAME   for the label tsr.version; else from the URL's last part
#   --push REGISTRY         tag them REGISTRY/sd-server:FAMILY too, and push
#   --dry-run               print the commands only
#
# Stops at the first build that fails, with its log.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
backend=rocm base='' packages='' packages_given='' engine='' url='' sum='' version='' registry='' dry_run=''
families=() docker_options=() built=() work=''
started=$SECONDS

fail() { echo "build-all.sh: $*" >&2; exit 2; }

say_usage() { sed -n '2,/^set /{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }

read_arguments() {
  while (($#)); do
    case $1 in
      --backend | --base-image | --packages | --engine | --engine-url | --engine-sha256 | --engine-version | --push)
        (($# > 1)) || fail "$1 wants a value"
        ;;&
      --backend) backend=$2; shift 2 ;;
      --base-image) base=$2; shift 2 ;;
      --packages) packages=$2 packages_given=1; shift 2 ;;
      --engine) engine=$2; shift 2 ;;
      --engine-url) url=$2; shift 2 ;;
      --engine-sha256) sum=$2; shift 2 ;;
      --engine-version) version=$2; shift 2 ;;
      --push) registry=${2%/}; shift 2 ;;
      --dry-run) dry_run=1; shift ;;
      -h | --help) say_usage; exit ;;
      --) shift; docker_options=("$@"); return ;;
      -*) fail "unknown option $1; --help lists them" ;;
      *) families+=("$1"); shift ;;
    esac
  done
}

choose_base() {
  local image more
  case $backend in
    rocm) image=rocm/dev-ubuntu-24.04:7.2 more='hipblas libgomp1' ;;
    vulkan) image=ubuntu:24.04 more='libgomp1 libvulkan1 mesa-vulkan-drivers' ;;
    cuda) image=nvidia/cuda:12.6.3-cudnn-runtime-ubuntu24.04 more=libgomp1 ;;
    cpu) image=ubuntu:24.04 more=libgomp1 ;;
    *) fail "unknown backend '$backend': rocm, vulkan, cuda or cpu" ;;
  esac
  base=${base:-$image}
  if [[ ! $packages_given ]]; then packages=$more; fi
}

check_families() {
  local known family
  known=$("$here/family-defaults.sh")
  if ((${#families[@]} == 0)); then mapfile -t families <<<"$known"; fi
  for family in "${families[@]}"; do
    grep -qxF -- "$family" <<<"$known" || fail "unknown family '$family'; model-defaults.toml has: ${known//$'\n'/ }"
  done
}

check_engine() {
  [[ $engine || $url ]] || fail "which sd-server? Give --engine PATH, or --engine-url URL and --engine-sha256 SUM"
  [[ ! $engine || ! $url ]] || fail "give --engine or --engine-url, not both"
  [[ ! $engine || -f $engine || -f $engine/sd-server ]] || fail "--engine $engine is no sd-server, and has none in it"
  [[ ! $url || $sum =~ ^[0-9a-f]{64}$ ]] || fail "--engine-url needs --engine-sha256, 64 digits in lower case"
  if [[ ! $version && $url ]]; then version=$(basename "$url" .zip); fi
}

make_context() {
  mkdir "$work/context" "$work/context/engine"
  cp "$here"/{Dockerfile.sd-server,model-defaults.toml,family-defaults.sh,install-engine.sh,entrypoint.sh,healthy.sh} \
    "$work/context"
  if [[ -d $engine ]]; then
    cp -a "$engine/." "$work/context/engine"
  elif [[ $engine ]]; then
    cp "$engine" "$work/context/engine/sd-server"
  fi
}

# Print a command as it would be typed, or run it with its output in a log.
run() {
  if [[ $dry_run ]]; then
    printf '%q ' "$@"
    printf '\n'
  else
    "$@" >>"$log" 2>&1
  fi
}

build() {
  local image=sd-server:$1 default
  local command=(docker build --file "$work/context/Dockerfile.sd-server" --tag "$image"
    --build-arg "BASE_IMAGE=$base" --build-arg "PACKAGES=$packages" --build-arg "MODEL_FAMILY=$1"
    --build-arg "ENGINE_URL=$url" --build-arg "ENGINE_SHA256=$sum" --build-arg "ENGINE_VERSION=${version:-unknown}")
  while IFS= read -r default; do command+=(--build-arg "$default"); done < <("$here/family-defaults.sh" "$1")
  run "${command[@]}" "${docker_options[@]}" "$work/context" || return
  if [[ $registry ]]; then
    run docker tag "$image" "$registry/$image" || return
    run docker push "$registry/$image" || return
  fi
}

build_one() {
  local began=$SECONDS
  log=$work/$1.log
  [[ $dry_run ]] || printf 'sd-server:%-14s ' "$1"
  if ! build "$1"; then
    printf 'FAILED\n\n'
    cat "$log" >&2
    summary >&2
    exit 1
  fi
  built+=("$1")
  [[ $dry_run ]] || printf 'built%s in %d s\n' "${registry:+ and pushed}" $((SECONDS - began))
}

summary() {
  local family state
  printf '\nOn %s, engine %s, in %d s:\n' "$base" "${engine:-$url}" $((SECONDS - started))
  for family in "${families[@]}"; do
    state='not built'
    if [[ " ${built[*]} " == *" $family "* ]]; then
      state=$(docker image inspect --format '{{.Size}}' "sd-server:$family" | numfmt --to=si --suffix=B)
    fi
    printf '  %-40s %s\n' "${registry:+$registry/}sd-server:$family" "$state"
  done
}

read_arguments "$@"
choose_base
check_families
check_engine
if [[ $dry_run ]]; then
  work=WORK
else
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  make_context
fi
for family in "${families[@]}"; do build_one "$family"; done
if [[ $dry_run ]]; then
  echo "Nothing was done. WORK/context would be a copy of $here with the engine in its folder engine/."
else
  summary
fi

#!/usr/bin/env bash
# The defaults of model-defaults.toml, beside this script, as NAME=value lines: STEPS=25.
#
#   family-defaults.sh                   every family's name
#   family-defaults.sh FAMILY            its defaults
#   family-defaults.sh --check FAMILY    its defaults; fails when the environment has others
set -euo pipefail

table=$(dirname "$0")/model-defaults.toml
names=(WIDTH HEIGHT STEPS CFG_SCALE GUIDANCE SAMPLER SCHEDULER CLIP_SKIP NEGATIVE_PROMPT)

fail() { echo "$*" >&2; exit 1; }

# A section of a section, such as [shapes.hires], is no family, and tsr's own business.
families() { sed -n 's/^\[\([a-z0-9-]*\)\]$/\1/p' "$table"; }

defaults() {
  local line section=
  while IFS= read -r line; do
    if [[ $line =~ ^\[(.*)\]$ ]]; then
      section=${BASH_REMATCH[1]}
    elif [[ $section == "$1" && $line =~ ^([a-z_]+)\ =\ \"?([^\"]*)\"?$ && ${BASH_REMATCH[2]} ]]; then
      echo "${BASH_REMATCH[1]^^}=${BASH_REMATCH[2]}"
    fi
  done <"$table"
}

given() {
  local name
  for name in "${names[@]}"; do
    if [[ ${!name:-} ]]; then echo "$name=${!name}"; fi
  done
}

check=
if [[ ${1:-} == --check ]]; then check=1; shift; fi
if (($# == 0)); then families; exit; fi

family=$1
families | grep -qxF -- "$family" ||
  fail "MODEL_FAMILY: '$family' is no section of model-defaults.toml, which has: $(families | paste -sd ' ')"
defaults "$family"
if [[ $check ]] && ! difference=$(diff <(given | sort) <(defaults "$family" | sort)); then
  fail "MODEL_FAMILY=$family was not given its defaults of model-defaults.toml (< given, > there):" \
    $'\n'"$difference"$'\n'"build-all.sh gives them: rocm-docker/build-all.sh $family"
fi

#!/usr/bin/env bash
# Inside the build: put the engine into /opt/sd-server, from the build context's engine/ or from ENGINE_URL.
set -euo pipefail

context=/engine
target=/opt/sd-server

fail() { echo "engine: $*" >&2; exit 1; }

download() {
  local archive=/tmp/engine.zip
  [[ ${ENGINE_SHA256:-} =~ ^[0-9a-f]{64}$ ]] || fail "ENGINE_URL needs ENGINE_SHA256, 64 digits in lower case"
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends ca-certificates curl unzip
  curl --fail --silent --show-error --location --retry 3 --output "$archive" "$ENGINE_URL"
  echo "$ENGINE_SHA256  $archive" | sha256sum --check --quiet --status ||
    fail "$ENGINE_URL has the SHA256 $(sha256sum "$archive" | cut -d ' ' -f 1), not $ENGINE_SHA256"
  unzip -q "$archive" -d "$context"
  rm "$archive"
}

if [[ ${ENGINE_URL:-} ]]; then
  [[ ! $(find "$context" -name sd-server) ]] || fail "both ENGINE_URL and engine/ in the build context: which one?"
  download
fi
program=$(find "$context" -type f -name sd-server -print -quit)
[[ $program ]] || fail "there is no sd-server in ${ENGINE_URL:-engine/ of the build context; or give ENGINE_URL}"
mv "$(dirname "$program")" "$target"
chmod -R u=rwX,go=rX "$target"
chmod 755 "$target/sd-server"

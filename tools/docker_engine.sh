#!/usr/bin/env bash
# A Docker engine of the tests' own, for as long as somebody holds its standard input, and nothing of it afterwards.
#
#   tools/docker_engine.sh run               start it, print its address in one line, end it when standard input ends
#   tools/docker_engine.sh run </dev/null    try whether one can be had here; if not, says why and fails
#
# Whoever started it may be killed in any way: the pipe to standard input closes, and it cleans up. If it is killed
# itself (SIGKILL), the next run cleans up first. Needs root on Debian or Ubuntu; installs what is missing.
set -euo pipefail

cache=${XDG_CACHE_HOME:-$HOME/.cache}/tensors-tests/docker
base=$cache/bookworm.tar
image=local/debian:bookworm
data=$cache/data
run=/run/tsr-test-docker
packages=(docker.io containerd runc iptables iproute2 debootstrap)
programs=(dockerd containerd runc iptables-restore ip debootstrap docker)
child=

say() { echo "docker engine: $*" >&2; }

missing() {
  local program
  for program in "${programs[@]}"; do command -v "$program" >/dev/null || return 0; done
  return 1
}

check() {
  [[ $(uname -s) == Linux ]] || { say "not on $(uname -s), only on Linux"; return 1; }
  ((EUID == 0)) || { say "it takes root, and this is $(id -un)"; return 1; }
  unshare --mount --net true 2>/dev/null || { say "this container may make no namespaces"; return 1; }
  if missing && ! command -v apt-get >/dev/null; then
    say "one of these is missing, and there is no apt-get to install it: ${programs[*]}"; return 1
  fi
  if [[ -e /sys/class/net/docker0 && ! -d $run ]]; then
    say "another Docker engine runs on this machine; a second one would spoil its firewall rules"; return 1
  fi
}

# Run something that takes long, so that a signal ends it at once.
patiently() {
  set -m
  "$@" </dev/null >&2 &
  child=$!
  set +m
  wait "$child"
  child=
}

install_missing() {
  missing || return 0
  say "installing ${packages[*]}"
  # An engine of the system's own is not wanted, only the program.
  local policy=/usr/sbin/policy-rc.d made=
  if [[ ! -e $policy ]]; then printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy" && made=1; fi
  patiently apt-get update -qq
  patiently env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"
  if [[ $made ]]; then rm "$policy"; fi
}

# libgomp1 is what the engine needs beyond a bare system; with it in the base, building the image needs no network.
make_base() {
  [[ ! -f $base ]] || return 0
  say "making the base image with debootstrap (once, a minute or two)"
  unmount
  rm -rf "$cache/rootfs"
  patiently debootstrap --variant=minbase --include=ca-certificates,libgomp1 bookworm "$cache/rootfs"
  rm -rf "$cache"/rootfs/var/cache/apt/archives/*.deb "$cache"/rootfs/var/lib/apt/lists/*
  patiently tar -C "$cache/rootfs" -cf "$base.part" .
  mv "$base.part" "$base"
  rm -rf "$cache/rootfs"
}

links() { ls /sys/class/net; }

remember() {
  mkdir -p "$run/before"
  iptables-save >"$run/before/rules"
  links >"$run/before/links"
  cat /proc/sys/net/ipv4/ip_forward >"$run/before/ip_forward"
}

start() {
  # An argument of its own, the exec root, marks every process that belongs to it.
  dockerd --data-root "$data" --exec-root "$run/exec" --pidfile "$run/docker.pid" -H "unix://$run/docker.sock" \
    </dev/null >"$run/log" 2>&1 9>&- &
  local dockerd=$! tries
  for ((tries = 0; tries < 300; tries++)); do
    if docker_here version >/dev/null 2>&1; then return; fi
    kill -0 "$dockerd" 2>/dev/null || break
    sleep 0.1
  done
  say "dockerd does not start; its last words:"
  tail -n 15 "$run/log" >&2
  return 1
}

docker_here() { DOCKER_HOST=unix://$run/docker.sock docker "$@" 9>&-; }

ours() {
  local file
  for file in /proc/[0-9]*/cmdline; do
    if tr '\0' ' ' 2>/dev/null <"$file" | grep -qF -- "$run/exec"; then basename "$(dirname "$file")"; fi
  done
}

end_processes() {
  local containers pid tries
  if [[ -S $run/docker.sock ]]; then
    mapfile -t containers < <(docker_here ps -aq 2>/dev/null)
    if ((${#containers[@]})); then docker_here rm -f "${containers[@]}" >/dev/null; fi
    docker_here network prune -f >/dev/null
  fi
  # dockerd ends what it started; what is left then has lost its dockerd to a SIGKILL.
  if pid=$(cat "$run/docker.pid") && ours | grep -qx "$pid"; then
    kill -TERM "$pid"
    for ((tries = 0; tries < 200; tries++)); do
      [[ $(ours) ]] || return
      sleep 0.1
    done
  fi
  for pid in $(ours); do kill -KILL "$pid"; done
}

restore_network() {
  local link
  for link in $(links | grep -vxF -f "$run/before/links" | grep -E '^(docker0|br-|veth)'); do
    ip link delete "$link"
  done
  cat "$run/before/ip_forward" >/proc/sys/net/ipv4/ip_forward
  # The tables it made must be there to be emptied, so each begins as an empty one.
  {
    printf '*%s\n:%s\nCOMMIT\n' filter $'INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT' \
      nat $'PREROUTING ACCEPT\n:INPUT ACCEPT\n:OUTPUT ACCEPT\n:POSTROUTING ACCEPT'
    cat "$run/before/rules"
  } | iptables-restore
}

unmount() {
  awk -v run="$run/" -v cache="$cache/" 'index($2, run) == 1 || index($2, cache) == 1 { print $2 }' /proc/mounts |
    sort -r | xargs -r umount -l
}

clean_up() {
  trap - EXIT
  trap '' INT TERM HUP
  set +e
  if [[ $child ]]; then kill -TERM -- "-$child" 2>/dev/null; wait "$child" 2>/dev/null; fi
  if [[ -d $run/before ]]; then
    {
      end_processes
      restore_network
      rmdir /sys/fs/cgroup/*/docker /sys/fs/cgroup/docker
    } 2>/dev/null
  fi
  unmount
  rm -rf "$run" "$data" "$cache/rootfs" "$base.part"
}

run() {
  check
  mkdir -p "$cache"
  exec 9>"$cache/lock"
  flock -n 9 || { say "waiting for another run of these tests"; flock 9; }
  if [[ -d $run ]]; then say "cleaning up after a run that was killed"; (clean_up); fi
  # Once more: what was there may have been the other run's.
  check
  trap clean_up EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  trap 'exit 129' HUP
  install_missing
  make_base
  remember
  start
  docker_here import "$base" "$image" >/dev/null
  echo "unix://$run/docker.sock"
  while read -r _; do :; done
}

if [[ ${1-} != run ]]; then
  sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
run

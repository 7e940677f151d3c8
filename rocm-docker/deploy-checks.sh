#!/usr/bin/env bash
# The part of deploy.sh that looks at the host before anything is changed. Not run by itself: deploy.sh sends it there.
# In upper case: what deploy.sh tells it.
# shellcheck disable=SC2154 # deploy-there.sh has them
set -euo pipefail
shopt -s inherit_errexit

problems=()

# What is wrong, and the command that mends it.
problem() { problems+=("$1"$'\n'"    $2"); }

# Prints the first Python that will do.
find_python() {
  local python
  for python in python3 python3.14 python3.13 python3.12 python3.11; do
    if "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$python"
      return
    fi
  done
  return 1
}

# Whether this version is that one or a later one.
at_least() { [[ $(printf '%s\n' "$2" "${1#v}" | sort -V | head -n 1) == "$2" ]]; }

is_listening() { grep -qiE ":$(printf '%04X' "$1") [0-9A-F]+:0000 0A" /proc/net/tcp /proc/net/tcp6 2>/dev/null; }

# Megabytes that are free where this folder is, or will be.
free_megabytes() {
  local folder=$1
  while [[ ! -e $folder ]]; do folder=$(dirname "$folder"); done
  df -Pk "$folder" | awk 'NR == 2 { print int($4 / 1024) }'
}

check_room() {
  local folder=$1 wanted=$2 free
  free=$(free_megabytes "$folder")
  ((free >= wanted)) ||
    problem "$folder has $free MB free, and $3 takes up to $wanted MB" "df -h $folder    # then make room, or $4"
}

check_system() {
  local machine
  [[ $(uname -s) == Linux ]] || problem "it runs $(uname -s), not Linux" "another HOST"
  machine=$(uname -m)
  case $backend:$machine in
    *:x86_64 | cpu:aarch64 | cuda:aarch64 | vulkan:aarch64) ;;
    *) problem "there is no engine for $backend on $machine" "another HOST, or --backend cpu" ;;
  esac
  if ((EUID != 0)); then
    problem "user $(id -un) may not become root: sudo wants a password" \
      "echo '$(id -un) ALL=(ALL) NOPASSWD: ALL' | sudo tee /etc/sudoers.d/tsr-deploy    # or deploy to root@..."
  fi
  [[ -d /run/systemd/system ]] || problem "systemd does not run there" \
    "docs/deploy.md tells how to start 'tsr serve' by hand"
  find_python >/dev/null ||
    problem "there is no Python 3.11 or newer with venv" "sudo apt-get install python3 python3-venv"
}

check_docker() {
  local said version
  if ! command -v docker >/dev/null; then
    problem "Docker is not installed" \
      "sudo apt-get install docker.io docker-compose-v2    # or https://docs.docker.com/engine/install"
    return
  fi
  if ! said=$(docker info --format '{{.DockerRootDir}}' 2>&1); then
    case $said in
      *"permission denied"*)
        problem "user $(id -un) may not use Docker" "sudo usermod -aG docker $(id -un)    # and log in again" ;;
      *) problem "Docker's daemon does not answer: ${said##*$'\n'}" "sudo systemctl enable --now docker" ;;
    esac
  elif [[ ! $ROLLBACK && (! $current || $UPDATE) ]]; then
    check_room "$said" "$image_megabytes" "building images for $backend" "'docker system df' shows what Docker keeps"
  fi
  getent group docker >/dev/null ||
    problem "there is no group docker, which gives tsr the containers" \
      "sudo groupadd docker && sudo systemctl restart docker"
  version=$(docker compose version --short 2>/dev/null) || version=
  if [[ ! $version ]]; then
    problem "Docker has no Compose" "sudo apt-get install docker-compose-v2    # or docker-compose-plugin"
  elif ! at_least "$version" 2.24.4; then
    problem "Docker Compose is $version; 2.24.4 is the oldest that will do" \
      "sudo apt-get install --only-upgrade docker-compose-v2"
  fi
}

# Containers reach the card by the groups that their settings have, and not by their names.
check_nodes() {
  local node group
  for node in /dev/kfd /dev/dri/renderD*; do
    [[ -e $node && ($node != /dev/kfd || $backend == rocm) ]] || continue
    group=$(stat -c %g "$node")
    [[ $group == "$(setting VIDEO_GID)" || $group == "$(setting RENDER_GID)" ]] ||
      problem "$node belongs to group $group, and containers are in $(setting VIDEO_GID) and $(setting RENDER_GID)" \
        "deploy.sh --set RENDER_GID=$group, or that line in $compose_env"
  done
}

check_card() {
  local group
  case $backend in
    rocm)
      [[ -e /dev/kfd ]] ||
        problem "there is no /dev/kfd: no AMD card, or no driver for it" "sudo modprobe amdgpu    # or --backend cpu"
      ;;&
    rocm | vulkan)
      compgen -G '/dev/dri/renderD*' >/dev/null ||
        problem "there is no /dev/dri/renderD*: no card with a driver" "lspci -k | grep -A 3 VGA    # or --backend cpu"
      for group in video render; do
        getent group "$group" >/dev/null || problem "there is no group $group" "sudo groupadd --system $group"
      done
      check_nodes ;;
    cuda)
      [[ -e /dev/nvidiactl ]] || problem "there is no /dev/nvidiactl: no NVIDIA card with its driver" "nvidia-smi"
      command -v nvidia-ctk >/dev/null || problem "NVIDIA's container toolkit is not installed" \
        "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit" ;;
  esac
}

check_ports() {
  local family port
  if is_listening "$port_there" && ! systemctl is-active --quiet tsr-server 2>/dev/null; then
    problem "something else listens on port $port_there" "sudo ss -ltnp 'sport = :$port_there'    # or --port"
  fi
  for family in $FAMILIES; do
    port=$(port_of "$family")
    if is_listening "$port" && [[ ! $(docker ps -q --filter "label=tsr.backend=$family" 2>/dev/null) ]]; then
      problem "something else listens on port $port, which is for sd-$family" "sudo ss -ltnp 'sport = :$port'"
    fi
  done
}

# A family that was asked for must have its model; of those that are meant otherwise, one.
check_models() {
  local family missing=() all=() item
  for item in "${MODELS[@]}"; do
    [[ $item != *=* || " $FAMILIES " == *" ${item%%=*} "* ]] ||
      problem "--models $item: ${item%%=*} is none of its families" "deploy.sh --families ${FAMILIES// /,},${item%%=*}"
  done
  for family in $FAMILIES; do
    all+=("$family")
    if [[ $(missing_files "$family") ]]; then missing+=("$family"); fi
  done
  if [[ ! $families_asked && ${#missing[@]} -lt ${#all[@]} ]]; then return; fi
  for family in "${missing[@]}"; do
    problem "sd-$family has no $(missing_files "$family" | paste -sd ' ')" \
      "deploy.sh --models $family=TARGET, as 'tsr dl' takes it, or $family=FILE in $(setting MODELS_DIR)"
  done
}

check() {
  local one image_megabytes
  case $backend in rocm) image_megabytes=20000 ;; cuda) image_megabytes=8000 ;; *) image_megabytes=2000 ;; esac
  check_system
  check_docker
  if [[ ! $ROLLBACK ]]; then
    check_card
    check_ports
    check_room "$PREFIX" 1000 "a release of tsr" "--prefix"
    if [[ $fetches ]]; then check_room "$(setting MODELS_DIR)" 1000 "the models" "--set MODELS_DIR=..."; fi
    check_models
  fi
  if ((${#problems[@]})); then
    say "$HOST is not ready, and nothing was changed there. What to mend, on $HOST:"
    for one in "${problems[@]}"; do say "  $one"; done
    exit 1
  fi
  facts
}

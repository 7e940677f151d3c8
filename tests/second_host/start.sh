#!/usr/bin/env bash
# A second host: this machine with its own /opt, /srv and /run, changes of its own in /etc, /var/lib and the like, and
# a real sshd. Run by tests/sshd.py in namespaces of its own, of mounts and, unless a test needs ours, of the network.
#
#   start.sh FOLDER PROGRAMS SSHD-CONFIG PYTHON
#
# FOLDER becomes a file system, and is empty afterwards. PROGRAMS stand in for what the host has in /usr/local/bin.
# PYTHON is where a Python is installed, which every user of the host may run. DOCKER_SOCKET is a Docker engine's.
set -euo pipefail
folder=$1 programs=$2 config=$3 python=$4

mount --make-rprivate /
ip link set lo up
mount -t tmpfs -o size=64g,mode=755 tmpfs "$folder"
mkdir -p "$folder"/{etc,var,usr,bin,lib}/{upper,work} "$folder"/{opt,srv,run,state/docker/{images,containers}}
cp -a "$programs"/. "$folder/bin/upper"
while read -r name target; do
  mount -t overlay -o "lowerdir=$target,upperdir=$folder/$name/upper,workdir=$folder/$name/work" overlay "$target"
done <<<$'etc /etc\nvar /var/lib\nusr /usr/bin\nbin /usr/local/bin\nlib /usr/local/lib'
mount --bind "$folder/opt" /opt
mount --bind "$folder/srv" /srv
mkdir -p "$folder/run/sshd" "$folder/run/systemd/system" "$folder/run/host"
if [[ ${DOCKER_SOCKET:-} ]]; then
  touch "$folder/run/docker.sock"
  mount --bind "$DOCKER_SOCKET" "$folder/run/docker.sock"
fi
mount --rbind "$folder/run" /run
mount --bind "$folder/state" /run/host
chmod 1777 /run/host
mkdir /run/python
mount --bind "$python" /run/python
# What the developer's shell is told is nothing to the host.
home=$(getent passwd root | cut -d : -f 6)
if [[ -f $home/.bashrc ]]; then mount --bind /dev/null "$home/.bashrc"; fi
getent group docker >/dev/null || groupadd --system docker
/usr/sbin/useradd --create-home --home-dir /run/visitor --shell /bin/sh --password '*' visitor
# Where the visitor can read it, too.
cp "$(dirname "$config")/client_key.pub" /run/authorized_keys
exec /usr/sbin/sshd -D -e -f "$config"

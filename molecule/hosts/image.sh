#!/usr/bin/env bash
# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Makes the image of the test hosts where podman does not have it yet, and prints its name: Debian 13 with systemd, sshd,
# cron, PostgreSQL, podman, and the distribution's own Python libraries, no wheel of pip's. Root and debootstrap, no container registry.
# The name holds a digest of this file, so a change makes a new image; older ones are removed.
set -euo pipefail

release=trixie
packages=(
  # A host as one finds it: services, a log-in, a way to become somebody else.
  systemd systemd-sysv dbus openssh-server cron sudo iproute2 python3
  # What lifeboat asks of a host. debootstrap does not resolve virtual packages: cryptography's backend is named.
  postgresql-17 postgresql-17-pgvector age zstd python3-psycopg python3-boto3 python3-cryptography python3-cffi-backend
  # For a database in a container on such a host; its image is made of the host's own files.
  podman runc conmon netavark
)
name=localhost/lifeboat-test-host
image=$name:$release-$(sha256sum "${BASH_SOURCE[0]}" | cut -c1-12)

# Two runs at once: the second waits, and finds what the first has made.
exec 9>"${TMPDIR:-/tmp}/lifeboat-test-host.lock"
flock 9

if ! podman image exists "$image"; then
  folder=$(mktemp -d "${TMPDIR:-/var/tmp}/lifeboat-test-host.XXXXXX")
  trap 'rm -rf --one-file-system "$folder"' EXIT
  root=$folder/root
  echo "lifeboat: making the image of the test hosts (two or three minutes) …" >&2
  if ! debootstrap --variant=minbase --include="$(IFS=,; echo "${packages[*]}")" "$release" "$root" >"$folder/log" 2>&1; then
    tail -n 30 "$folder/log" "$root/debootstrap/debootstrap.log" >&2 || true
    echo "lifeboat: debootstrap could not make a root of Debian $release; the lines above say why." >&2
    exit 1
  fi
  # Hosts differ in these: each container makes its own at its first start. Debian's package has made a cluster and host
  # keys already, which only some hosts are to have.
  rm -rf "$root"/etc/postgresql/17/main "$root"/var/lib/postgresql/17/main "$root"/etc/ssh/ssh_host_*
  rm -f "$root/var/lib/dbus/machine-id"
  : >"$root/etc/machine-id"
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/doc "$root"/usr/share/man
  tar --create --directory "$root" --one-file-system . | podman import --quiet --change 'CMD ["/sbin/init"]' - "$image" >&2
  podman images --quiet --filter "reference=$name" --filter "before=$image" | sort --unique | while read -r old; do
    podman rmi "$old" >&2 || true # in use by another run: a later one removes it
  done
fi
echo "$image"

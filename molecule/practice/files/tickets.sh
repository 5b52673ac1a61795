#!/bin/sh
# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Run on db2: a PostgreSQL in a container without a network. No image: a root directory with what a program needs besides /usr,
# which is the host's own, read-only. With control groups of its own, or runc looks for them where the machine has them.
set -eu
root=/srv/tickets
mkdir -p "$root/usr" "$root/etc" "$root/proc" "$root/sys" "$root/dev" "$root/run" "$root/var/lib" "$root/var/tmp"
install -d -m 1777 "$root/tmp"
for name in bin sbin lib lib64; do
  ln -s "usr/$name" "$root/$name"
done
ln -s /run "$root/var/run"
grep -E '^(root|postgres):' /etc/passwd >"$root/etc/passwd"
grep -E '^(root|postgres):' /etc/group >"$root/etc/group"
install -d -o postgres -g postgres "$root/var/lib/postgresql"
cat >"$root/start" <<'END'
#!/bin/sh
set -eu
export PATH=/usr/lib/postgresql/17/bin:/usr/bin LC_ALL=C.UTF-8
install -d -o postgres -g postgres /run/postgresql
as='setpriv --reuid=postgres --regid=postgres --clear-groups'
cd /var/lib/postgresql
[ -e data ] || $as initdb -D data -U postgres -E UTF8 --locale=C.UTF-8 --no-sync --auth=peer >/dev/null
exec $as postgres -D data -c listen_addresses= -c unix_socket_directories=/run/postgresql
END
chmod 0755 "$root/start"
podman run --detach --name tickets-db --network none --cgroupns private --volume /usr:/usr:ro --rootfs "$root" /start

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How to restore a logical backup, or globals, with standard tools only (law 8): `RESTORE.md` and the script it names.

They are written for a tired person at 3 a.m. who has never heard of this collection, and lie beside the artifacts in
clear: they tell sizes and digests of sealed files, the way, and the versions; nothing about the data, no credential.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.opening import words_for
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import BackupRef, backup_prefix, manifest_key
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Artifact

__all__ = ["SCRIPT_HEAD", "cell", "filled", "globals_instructions", "logical_instructions"]


def logical_instructions(
    ref: BackupRef, artifacts: Sequence[Artifact], server_version: str, snapshot_at: str, method: str = "age"
) -> Mapping[str, bytes]:
    """`RESTORE.md` and `restore.sh` of a sealed dump in the custom or the directory format."""
    dump = next(artifact for artifact in artifacts if artifact.role == "dump")
    in_directory = dump.name.startswith("database.tar")
    values = {
        **_common_values(ref, artifacts, server_version, snapshot_at, method),
        "OPTIONS": " [--jobs N] [--no-owner]",
        "OPTION_CASES": _OPTION_CASES,
        "DEFAULTS": "jobs=4 owner=''\n",
        "OPENED": "database.tar" if in_directory else "database.dump",
        "ARCHIVE": "database" if in_directory else "database.dump",
        "UNPACK_BY_HAND": _UNPACK_BY_HAND if in_directory else "",
        "UNPACK": _UNPACK if in_directory else "",
        "TAR": "tar " if in_directory else "",
        "TAR_CODE": "`tar`, " if in_directory else "",
    }
    return {"RESTORE.md": filled(_GUIDE, values), "restore.sh": filled(SCRIPT_HEAD + _SCRIPT, values)}


def globals_instructions(
    ref: BackupRef, artifacts: Sequence[Artifact], server_version: str, taken_at: str, method: str = "age"
) -> Mapping[str, bytes]:
    """`RESTORE.md` and `restore.sh` of sealed globals: roles and tablespaces as a script for psql."""
    values = {
        **_common_values(ref, artifacts, server_version, taken_at, method),
        "OPTIONS": "",
        "OPTION_CASES": "",
        "DEFAULTS": "",
        "TAR": "",
    }
    return {"RESTORE.md": filled(_GLOBALS_GUIDE, values), "restore.sh": filled(SCRIPT_HEAD + _GLOBALS_SCRIPT, values)}


def _common_values(ref: BackupRef, artifacts: Sequence[Artifact], server_version: str, snapshot_at: str, method: str) -> dict[str, str]:
    sealed = [artifact for artifact in artifacts if artifact.role in ("dump", "evidence")]
    volumes = {artifact.role: [volume.name for volume in artifact.volumes] for artifact in sealed}
    return {
        **words_for(method),
        "BACKUP_ID": ref.backup_id,
        "PREFIX": backup_prefix(ref),
        "MANIFEST": manifest_key(ref),
        "NAME": cell(ref.name),
        "SYSTEM": cell(ref.system),
        "SNAPSHOT_AT": snapshot_at,
        "SERVER_VERSION": server_version,
        "MAJOR": server_version.partition(".")[0],
        "DUMP": shlex.join(volumes["dump"]),
        "EVIDENCE": shlex.join(volumes["evidence"]),
        "DIGESTS": "\n".join(f"{volume.sha256}  {volume.name}" for artifact in sealed for volume in artifact.volumes),
    }


def cell(name: str) -> str:
    """A name as code in a Markdown table, whatever it holds."""
    return "`` " + ascii(name)[1:-1].replace("|", "\\|").replace("`", "'") + " ``"


def filled(template: str, values: Mapping[str, str]) -> bytes:
    for name, value in values.items():
        template = template.replace(f"@{name}@", value)
    return template.encode()


_GUIDE = """\
# Restore this backup with standard tools

| | |
|---|---|
| what | database @NAME@ of system @SYSTEM@ |
| backup | `@BACKUP_ID@` |
| state of | @SNAPSHOT_AT@ |
| taken from | PostgreSQL @SERVER_VERSION@ |
| lies under | `@PREFIX@` |
| its manifest | `@MANIFEST@` (a folder without a manifest is the remainder of a broken run: do not use it) |

You need: @TOOL_CODE@`zstd`, @TAR_CODE@`sha256sum`, the PostgreSQL @MAJOR@ programs (`pg_restore`, `psql`), @SECRET@disk space
for the unpacked dump, and an empty PostgreSQL @MAJOR@ server with the extensions that the database uses.

## The short way

1. Download the whole folder, for example one of
   - `cp -r REPOSITORY/@PREFIX@ backup`
   - `aws s3 cp --recursive s3://BUCKET/@PREFIX@ backup`
   - `sftp -r USER@HOST:PATH/@PREFIX@ backup`
   - `rclone copy REMOTE:PATH/@PREFIX@ backup`
2. `cd backup && sh restore.sh@KEY_PATH@`

The script checks every file against its digest, opens it, and restores into the server that `PGHOST`, `PGPORT` and
`PGUSER` name (a superuser). It creates the database under its own name and refuses when that name is taken. It stops
at the first error. `sh restore.sh@KEY_USAGE@ --open-only` ends after `@ARCHIVE@` and `evidence.json`.

The roles that own things have to exist on the server: restore them first, from the backup of kind `globals` of this system.
`--no-owner` restores everything as the connecting user. A subscription to another server comes back disabled, and makes no connection:
`ALTER SUBSCRIPTION ... ENABLE` when the publisher is to send again.

## The long way, by hand

    sha256sum @DUMP@          # compare with the list at the end
    cat @DUMP@ @BY_HAND@> @OPENED@.zst
    zstd -d @OPENED@.zst
@UNPACK_BY_HAND@    pg_restore --list @ARCHIVE@
    pg_restore --create --exit-on-error --jobs=4 --dbname=postgres @ARCHIVE@
    psql -d THE_DATABASE -c ANALYZE

`evidence.json` (opened the same way from @EVIDENCE@) holds the row counts, sequences and
extensions of production in the very snapshot of this dump: compare before you let anybody in.

## Digests (SHA-256)

```
@DIGESTS@
```
"""

_OPTION_CASES = """
        --jobs) [ $# -ge 2 ] || fail "$usage"; jobs=$2; shift 2 ;;
        --no-owner) owner=--no-owner; shift ;;"""

SCRIPT_HEAD = r"""#!/bin/sh
# Restores backup @BACKUP_ID@ with standard tools. See RESTORE.md. Every step is checked; nothing is deleted.
set -eu
umask 077

@DEFAULTS@usage='usage: sh restore.sh@KEY_USAGE@ [--into DIRECTORY]@OPTIONS@ [--open-only]'
fail() { printf 'restore.sh: %s\n' "$*" >&2; exit 1; }

@KEY_DEFAULT@into='.' open_only=''
while [ $# -gt 0 ]; do
    case $1 in@KEY_CASE@
        --into) [ $# -ge 2 ] || fail "$usage"; into=$2; shift 2 ;;@OPTION_CASES@
        --open-only) open_only=yes; shift ;;
        *) fail "$usage" ;;
    esac
done
@KEY_CHECK@for tool in @TOOL@zstd @TAR@sha256sum; do
    command -v "$tool" >/dev/null 2>&1 || fail "$tool is missing: install it first"
done

here=$(cd -- "$(dirname -- "$0")" && pwd)
mkdir -p -- "$into"
into=$(cd -- "$into" && pwd)
cd -- "$here"

echo '1 checking digests'
sha256sum --check --strict --quiet <<'DIGESTS' || fail 'a file is damaged or missing: take this backup from another repository'
@DIGESTS@
DIGESTS
@PREPARE@
# @OPEN_WHY@; zstd gets a step of its own.
open_artifact() { # target, volumes...
    target=$1; shift
    @OPEN@
    zstd --decompress --quiet --force -o "$into/$target" "$into/opened.tmp" || fail "$1 cannot be unpacked"
    rm -f -- "$into/opened.tmp"
}
"""

_SCRIPT = r"""
echo '2 opening the dump and the evidence'
open_artifact @OPENED@ @DUMP@
@UNPACK@open_artifact evidence.json @EVIDENCE@
if [ -n "$open_only" ]; then
    echo "opened: $into/@ARCHIVE@ and $into/evidence.json"
    exit 0
fi

for tool in pg_restore vacuumdb; do
    command -v "$tool" >/dev/null 2>&1 || fail "$tool is missing: install postgresql-client-@MAJOR@"
done

echo '3 restoring'
database=$(pg_restore --list "$into/@ARCHIVE@" | sed -n 's/^;  *dbname: //p') || fail 'the dump cannot be read'
# No commit is waited for alone: after a crash of the server one would begin anew. The statistics come after, and are waited for.
PGOPTIONS="${PGOPTIONS:+$PGOPTIONS }-c synchronous_commit=off" \
    pg_restore --create --exit-on-error --jobs="$jobs" ${owner:+"$owner"} --dbname="${PGDATABASE:-postgres}" "$into/@ARCHIVE@" ||
    fail 'the restore stopped: the message above names the statement (missing roles: create them, or use --no-owner)'

echo '4 statistics'
vacuumdb --analyze-only --quiet --all || fail 'statistics could not be gathered; the data are there'

printf 'restored database %s as it was at @SNAPSHOT_AT@\n' "$database"
echo "Compare it with $into/evidence.json before anybody uses it, then delete both in $into."
"""

_UNPACK_BY_HAND = """\
    mkdir database && tar -x -f database.tar -C database
"""

# A directory that is there already could hold files of another dump.
_UNPACK = r"""mkdir -- "$into/database" 2>/dev/null || fail "$into/database exists already: remove it, or give another --into"
tar -x -f "$into/database.tar" -C "$into/database" || fail 'the dump cannot be unpacked'
rm -f -- "$into/database.tar"
"""

_GLOBALS_GUIDE = """\
# Restore these roles and tablespaces with standard tools

| | |
|---|---|
| what | roles, memberships and tablespaces of a server of system @SYSTEM@ |
| backup | `@BACKUP_ID@` |
| state of | @SNAPSHOT_AT@ |
| taken from | PostgreSQL @SERVER_VERSION@ |
| lies under | `@PREFIX@` |
| its manifest | `@MANIFEST@` (a folder without a manifest is the remainder of a broken run: do not use it) |

You need: @TOOL_CODE@`zstd`, `sha256sum`, `psql` of PostgreSQL @MAJOR@, @SECRET@and a PostgreSQL @MAJOR@
server. Restore this **before** the databases: what they hold belongs to these roles.

## The short way

1. Download the whole folder, for example one of
   - `cp -r REPOSITORY/@PREFIX@ backup`
   - `aws s3 cp --recursive s3://BUCKET/@PREFIX@ backup`
   - `sftp -r USER@HOST:PATH/@PREFIX@ backup`
   - `rclone copy REMOTE:PATH/@PREFIX@ backup`
2. `cd backup && sh restore.sh@KEY_PATH@`

The script checks every file against its digest, opens it, and runs `globals.sql` on the server that `PGHOST`, `PGPORT` and
`PGUSER` name (a superuser). `sh restore.sh@KEY_USAGE@ --open-only` ends after `globals.sql` and `evidence.json`.

It goes on after an error, and counts them. To be expected: the superuser that every server has exists already, and a tablespace
needs its directory, empty and owned by the server's user, before. Read `globals.sql` before you run it on a server that has
roles already: it alters those with the same names.

## The long way, by hand

    sha256sum @DUMP@          # compare with the list at the end
    cat @DUMP@ @BY_HAND@> globals.sql.zst
    zstd -d globals.sql.zst
    psql --no-psqlrc --dbname=postgres --file=globals.sql

`globals.sql` holds password hashes: delete it when you are done.

## Digests (SHA-256)

```
@DIGESTS@
```
"""

_GLOBALS_SCRIPT = r"""
echo '2 opening the script and the evidence'
open_artifact globals.sql @DUMP@
tail -n 5 -- "$into/globals.sql" | grep -q '^-- PostgreSQL database cluster dump complete' || fail 'globals.sql ends early'
open_artifact evidence.json @EVIDENCE@
if [ -n "$open_only" ]; then
    echo "opened: $into/globals.sql and $into/evidence.json"
    exit 0
fi

command -v psql >/dev/null 2>&1 || fail "psql is missing: install postgresql-client-@MAJOR@"

echo '3 restoring'
psql --no-psqlrc --quiet --dbname="${PGDATABASE:-postgres}" --file="$into/globals.sql" 2> "$into/errors.txt" ||
    fail "psql did not get to its end: $(tail -n 1 -- "$into/errors.txt")"
errors=$(grep -c 'ERROR: ' -- "$into/errors.txt" || true)
grep -v '^$' -- "$into/errors.txt" >&2 || true

printf 'restored roles and tablespaces as they were at @SNAPSHOT_AT@; errors: %s\n' "$errors"
echo "Expected is one: the superuser is there already. Delete globals.sql and both other files in $into: they hold password hashes."
"""

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How to restore a base backup with standard tools only (law 8): `RESTORE.md`, `restore.sh`, and `wal.sh` for the log.

As with dumps they lie beside the artifacts in clear, and tell nothing about the data. A base can be as large as a server, so it is
opened in one stream: no step leaves a copy of its own on the disk.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.instructions import cell, filled
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.opening import words_for
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import BackupRef, backup_prefix, manifest_key, wal_prefix
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Artifact, WalRange

__all__ = ["base_instructions"]


def base_instructions(
    ref: BackupRef,
    artifacts: Sequence[Artifact],
    server_version: str,
    snapshot_at: str,
    wal: WalRange,
    parent: str = "",
    method: str = "age",
    suffix: str = ".age",
) -> Mapping[str, bytes]:
    """`RESTORE.md`, `restore.sh` and `wal.sh` of a sealed base backup; `parent` is what an incremental one builds on."""
    bases = [artifact for artifact in artifacts if artifact.role == "base"]
    manifest = next(artifact for artifact in artifacts if artifact.role == "backup_manifest")
    tablespaces = [artifact.name.partition(".")[0] for artifact in bases[1:]]
    volumes = {artifact.name: shlex.join(volume.name for volume in artifact.volumes) for artifact in (*bases, manifest)}
    stream, opened = _STREAMS[method]
    key, option = _KEYS[method]
    values = {
        "INTRO": _INCREMENTAL_INTRO if parent else "",
        "SHORT": _INCREMENTAL_SHORT if parent else _FULL_SHORT,
        "HAND_COMBINE": _HAND_COMBINE if parent else "",
        "HAND_TABLESPACES": "".join(_HAND_TABLESPACE.replace("@OID@", oid) for oid in tablespaces),
        "COMBINE": _COMBINE if parent else _ALONE,
        "PARENT_USAGE": " --parent DIRECTORY [--parent DIRECTORY]..." if parent else "",
        "PARENT_CASE": _PARENT_CASE if parent else "",
        "PARENT_CHECK": _PARENT_CHECK if parent else "",
        "TABLESPACE_USAGE": " --tablespaces DIRECTORY" if tablespaces else "",
        "TABLESPACE_PATH": " --tablespaces /path/to/tablespaces" if tablespaces else "",
        "TABLESPACE_CASE": _TABLESPACE_CASE if tablespaces else "",
        "TABLESPACE_CHECK": _TABLESPACE_CHECK if tablespaces else "",
        "TABLESPACES": "".join(
            f'unpack "$spaces/{oid}" {volumes[artifact.name]}\nln -s -- "$spaces/{oid}" "$part/pg_tblspc/{oid}"\n'
            for oid, artifact in zip(tablespaces, bases[1:])
        ),
        "TABLESPACE_MAPPING": "".join(f' --tablespace-mapping="$part.tablespaces/{oid}=$tablespaces/{oid}"' for oid in tablespaces),
        "FORGET_MAP": _FORGET_MAP if tablespaces else "",
        "COMBINE_TOOL": "pg_combinebackup " if parent else "",
        "COMBINE_CODE": ", `pg_combinebackup`" if parent else "",
        "WAL_WORDS": _WAL_INCLUDED if wal.included else _WAL_ARCHIVED,
        **words_for(method),
        "KEY_ABSOLUTE": "" if not key else f'{key}=$(absolute "${key}")\n',
        "KEY_PASS": "" if not key else f' --{option} "${key}"',
        "STREAM": stream,
        "STREAM_OPENED": opened,
        "BACKUP_ID": ref.backup_id,
        "PARENT": parent,
        "PREFIX": backup_prefix(ref),
        "WAL_PREFIX": wal_prefix(ref.system),
        "WAL_SUFFIX": f".zst{suffix}",
        "MANIFEST": manifest_key(ref),
        "SYSTEM": cell(ref.system),
        "SNAPSHOT_AT": snapshot_at,
        "SERVER_VERSION": server_version,
        "MAJOR": server_version.partition(".")[0],
        "FIRST": wal.first,
        "LAST": wal.last,
        "STOP_LSN": wal.stop_lsn,
        "BASE": volumes[bases[0].name],
        "SERVER_MANIFEST": volumes[manifest.name],
        "DIGESTS": "\n".join(f"{volume.sha256}  {volume.name}" for artifact in (*bases, manifest) for volume in artifact.volumes),
    }
    return {
        "RESTORE.md": filled(_GUIDE, values),
        "restore.sh": filled(_SCRIPT, values),
        "wal.sh": filled(_WAL_SCRIPT, values),
    }


# How to open from standard input to standard output, and what tells afterwards that all of it was opened.
_GPG_TOLD = """
    grep -q '^\\[GNUPG:\\] DECRYPTION_OKAY' -- "$home/status" || fail "gpg opened nothing in $1\""""
_STREAMS: Mapping[str, tuple[str, str]] = {
    "age": ('age --decrypt --identity "$identity"', ""),
    "gpg": ('gpg --homedir "$home" --batch --quiet --status-fd 3 --decrypt 3> "$home/status"', _GPG_TOLD),
    "gpg-symmetric": (
        'gpg --homedir "$home" --batch --quiet --pinentry-mode loopback --passphrase-file "$passphrase" --status-fd 3 -d 3> "$home/status"',
        _GPG_TOLD,
    ),
    "none": ("cat", ""),
}

_KEYS: Mapping[str, tuple[str, str]] = {
    "age": ("identity", "identity"),
    "gpg": ("identity", "identity"),
    "gpg-symmetric": ("passphrase", "passphrase-file"),
    "none": ("", ""),
}
"""The shell variable of the key and its option, as words_for calls them."""

_GUIDE = """\
# Restore this base backup with standard tools

| | |
|---|---|
| what | a whole PostgreSQL server of system @SYSTEM@ |
| backup | `@BACKUP_ID@` |
| ended | @SNAPSHOT_AT@ at @STOP_LSN@ |
| taken from | PostgreSQL @SERVER_VERSION@ |
| lies under | `@PREFIX@` |
| its manifest | `@MANIFEST@` (a folder without a manifest is the remainder of a broken run: do not use it) |
| needs the log | from `@FIRST@` to `@LAST@`, and what follows to the moment you want |

@INTRO@You need: @TOOL_CODE@`zstd`, `tar`, `sha256sum`, the PostgreSQL @MAJOR@ programs
(`pg_verifybackup`@COMBINE_CODE@, the server), @SECRET@and disk space for the server.
It is restored as it was: same version, same architecture.

## The short way

@SHORT@
The script checks every file against its digest, opens it, unpacks it, and lets `pg_verifybackup` compare it with what the server
wrote. It stops at the first error. Run it as the user that runs PostgreSQL; the directory must be empty, or not exist.

## Then: the log, and the start

@WAL_WORDS@
In the restored directory, before the first start:

- look at `postgresql.conf`, `pg_hba.conf` and `postgresql.auto.conf`: they are production's. While you try, set
  `archive_mode = off`, or this server writes into production's archive; on Debian they lie in `/etc/postgresql` and are not in here.
- `touch recovery.signal`, and in `postgresql.auto.conf`:

      restore_command = 'sh /path/to/backup/wal.sh@KEY_PATH@ /path/to/wal "%f" "%p"'
      recovery_target_time = '2026-11-21 03:15:00+00'   # leave it out for all that there is
      recovery_target_action = 'pause'

- start the server, watch its log. **That it runs proves nothing**: where a segment is missing it comes up with less data. Look for
  the newest row you know of. When it is right: `SELECT pg_wal_replay_resume()`.

## The long way, by hand

    sha256sum @BASE@          # compare with the list at the end
    mkdir -m 0700 data
    cat @BASE@ @BY_HAND@| zstd -d | tar -x -f - -C data
    cat @SERVER_MANIFEST@ @BY_HAND@| zstd -d > data/backup_manifest
@HAND_TABLESPACES@    pg_verifybackup --no-parse-wal data
@HAND_COMBINE@
## Digests (SHA-256)

```
@DIGESTS@
```
"""

_INCREMENTAL_INTRO = """\
**This backup is incremental**: it builds on `@PARENT@`, and holds what changed since. Alone it is nothing. Get the folders of
all backups that it builds on, back to the full one: each one's RESTORE.md names the one before it.

"""

_DOWNLOAD = """\
1. Download the whole folder, for example one of
   - `cp -r REPOSITORY/@PREFIX@ backup`
   - `aws s3 cp --recursive s3://BUCKET/@PREFIX@ backup`
   - `sftp -r USER@HOST:PATH/@PREFIX@ backup`
   - `rclone copy REMOTE:PATH/@PREFIX@ backup`
"""

_FULL_SHORT = _DOWNLOAD + "2. `cd backup && sh restore.sh@KEY_PATH@ --into /path/to/data@TABLESPACE_PATH@`\n"

_INCREMENTAL_SHORT = (
    _DOWNLOAD
    + """\
   and in the same way each backup that it builds on, into a folder of its own.
2. `cd backup && sh restore.sh@KEY_PATH@ --into /path/to/data --parent /path/to/full --parent /path/to/next@TABLESPACE_PATH@`
   with the parents from the full one on, in order.
"""
)

_HAND_COMBINE = """
Each link of the chain is unpacked so, into a directory of its own. Then `pg_combinebackup FULL NEXT ... THIS -o /path/to/data`.
"""

_HAND_TABLESPACE = """\
    # the tar of tablespace @OID@ goes into a directory of its own, with data/pg_tblspc/@OID@ as a symbolic link to it;
    # afterwards empty data/tablespace_map, which names production's paths
"""

_WAL_ARCHIVED = """\
Without its log this backup is nothing. It lies under `@WAL_PREFIX@`: download that folder too, at least from `@FIRST@`
on. `wal.sh` takes segments out of it, one at a time, each checked against the digest in its name.
"""

_WAL_INCLUDED = """\
The log up to the backup's own end is in the backup: without an archive, leave out `recovery.signal` and all of the settings below, and the
server comes up as it was at @SNAPSHOT_AT@. To go on from there, download `@WAL_PREFIX@` as well; `wal.sh` takes
segments out of it, one at a time, each checked against the digest in its name.
"""

_PARENT_CASE = """
        --parent) [ $# -ge 2 ] || fail "$usage"; parents="$parents$2
"; shift 2 ;;"""
_PARENT_CHECK = """[ -n "$parents" ] || fail "this backup builds on @PARENT@: $usage"
"""
_TABLESPACE_CASE = """
        --tablespaces) [ $# -ge 2 ] || fail "$usage"; tablespaces=$2; shift 2 ;;"""
_TABLESPACE_CHECK = """[ -n "$tablespaces$part_only" ] || fail "this server has tablespaces: $usage"
"""

_SCRIPT = r"""#!/bin/sh
# Restores base backup @BACKUP_ID@ with standard tools. See RESTORE.md. Every step is checked.
set -eu
umask 077

usage='usage: sh restore.sh@KEY_USAGE@ --into DATA_DIRECTORY@PARENT_USAGE@@TABLESPACE_USAGE@'
fail() { printf 'restore.sh: %s\n' "$*" >&2; exit 1; }

@KEY_DEFAULT@into='' parents='' tablespaces='' part_only=''
while [ $# -gt 0 ]; do
    case $1 in@KEY_CASE@
        --into) [ $# -ge 2 ] || fail "$usage"; into=$2; shift 2 ;;@PARENT_CASE@@TABLESPACE_CASE@
        --part-only) part_only=yes; shift ;;
        *) fail "$usage" ;;
    esac
done
@KEY_CHECK@[ -n "$into" ] || fail "$usage"
for tool in @TOOL@zstd tar sha256sum; do
    command -v "$tool" >/dev/null 2>&1 || fail "$tool is missing: install it first"
done
for tool in pg_verifybackup @COMBINE_TOOL@; do
    command -v "$tool" >/dev/null 2>&1 || fail "$tool is missing: install postgresql-client-@MAJOR@, and have its directory in PATH"
done

# Paths are made absolute before this script goes to its own folder.
absolute() { case $1 in /*) printf '%s' "$1" ;; *) printf '%s/%s' "$PWD" "$1" ;; esac; }
empty() { # directory: made, or empty already; only for its owner
    mkdir -p -- "$1"
    [ -z "$(ls -A -- "$1")" ] || fail "$1 is not empty: nothing in it was touched"
    chmod 0700 -- "$1"
}
into=$(absolute "$into")
[ -z "$tablespaces" ] || tablespaces=$(absolute "$tablespaces")
@KEY_ABSOLUTE@started=$PWD
here=$(cd -- "$(dirname -- "$0")" && pwd)
cd -- "$here"

echo "1 checking digests of @BACKUP_ID@"
sha256sum --check --strict --quiet <<'DIGESTS' || fail 'a file is damaged or missing: take this backup from another repository'
@DIGESTS@
DIGESTS
@PREPARE@
# Every program of a stream says by itself that it failed: the shell asks the last one only.
failed=$(mktemp)
opened() { # volumes...
    cat -- "$@" | { @STREAM@ || echo "$1 cannot be opened" >> "$failed"; } |
        { zstd --decompress --quiet --stdout || echo "$1 cannot be decompressed" >> "$failed"; }
}
checked() { # volume
    [ ! -s "$failed" ] || fail "$(head -n 1 -- "$failed"): is this the right key?"@STREAM_OPENED@
}
unpack() { # directory, volumes...
    empty "$1"
    target=$1; shift
    opened "$@" | tar -x -f - -C "$target" || { checked "$1"; fail "$1 cannot be unpacked into $target"; }
    checked "$1"
}
@COMBINE@"""

_ALONE = r"""@TABLESPACE_CHECK@part=$into
if [ -n "$part_only" ]; then spaces=$into.tablespaces; else spaces=$tablespaces; fi
echo '2 opening and unpacking'
unpack "$part" @BASE@
opened @SERVER_MANIFEST@ > "$part/backup_manifest"
checked @SERVER_MANIFEST@
@TABLESPACES@rm -f -- "$failed"

echo '3 comparing it with what the server wrote'
pg_verifybackup --no-parse-wal --quiet "$part" || fail 'what was unpacked is not what the server wrote'
[ -z "$part_only" ] || exit 0
@FORGET_MAP@
printf 'restored into %s: it needs its log now, see RESTORE.md before you start it\n' "$into"
"""

_COMBINE = r"""@TABLESPACE_CHECK@part=$into
if [ -z "$part_only" ]; then
    @PARENT_CHECK@    part=$into.parts/this
    empty "$into"
    empty "$into.parts"
fi
spaces=$part.tablespaces
echo '2 opening and unpacking'
unpack "$part" @BASE@
opened @SERVER_MANIFEST@ > "$part/backup_manifest"
checked @SERVER_MANIFEST@
@TABLESPACES@rm -f -- "$failed"

echo '3 comparing it with what the server wrote'
pg_verifybackup --no-parse-wal --quiet "$part" || fail 'what was unpacked is not what the server wrote'
[ -z "$part_only" ] || exit 0

echo '4 its parents'
number=0
set --
while IFS= read -r parent; do
    [ -n "$parent" ] || continue
    number=$((number + 1))
    (cd -- "$started" && cd -- "$parent" && sh ./restore.sh@KEY_PASS@ --into "$into.parts/$number" --part-only) ||
        fail "the parent in $parent cannot be restored"
    set -- "$@" "$into.parts/$number"
done <<PARENTS
$parents
PARENTS

echo '5 putting them together'
rmdir -- "$into"
pg_combinebackup --output="$into"@TABLESPACE_MAPPING@ "$@" "$part" ||
    fail 'they do not belong together: give all parents, the full one first'
pg_verifybackup --no-parse-wal --quiet "$into" || fail 'what was put together is not what it should be'
rm -rf -- "$into.parts"
@FORGET_MAP@
printf 'restored into %s: it needs its log now, see RESTORE.md before you start it\n' "$into"
"""

# It names production's paths, where the server would look for its tablespaces.
_FORGET_MAP = """: > "$into/tablespace_map"
"""

_WAL_SCRIPT = r"""#!/bin/sh
# For restore_command: takes one file out of a downloaded WAL archive with standard tools. See RESTORE.md.
#   sh wal.sh@KEY_USAGE@ ARCHIVE_DIRECTORY NAME TARGET
# Ends with 0 when it was delivered, with 1 when it is certainly not there, and with 126 for anything else: at 1 a server takes the
# log for ended and comes up, at 126 it stops.
set -u
umask 077
fail() { printf 'wal.sh: %s\n' "$*" >&2; exit 126; }
usage='usage: sh wal.sh@KEY_USAGE@ ARCHIVE_DIRECTORY NAME TARGET'
@KEY_DEFAULT@into=''
while [ $# -gt 3 ]; do
    case $1 in@KEY_CASE@
        *) fail "$usage" ;;
    esac
done
[ $# -eq 3 ] || fail "$usage"
@KEY_CHECK@archive=$1 name=$2 target=$3
[ -d "$archive" ] || fail "there is no directory $archive"
timeline=$(printf '%.8s' "$name")
[ -d "$archive/$timeline" ] || exit 1
found=''
for file in "$archive/$timeline/$name"-*@WAL_SUFFIX@; do
    [ -e "$file" ] || continue
    [ -z "$found" ] || fail "$name is there twice, with different content"
    found=$file
done
[ -n "$found" ] || exit 1
digest=${found##*/}
digest=${digest#"$name"-}
digest=${digest%@WAL_SUFFIX@}
@PREPARE@
failed=$(mktemp) || fail 'no temporary file'
cat -- "$found" | { @STREAM@ || echo opened >> "$failed"; } |
    { zstd --decompress --quiet --stdout || echo decompressed >> "$failed"; } > "$target.tmp" || fail "$target cannot be written"
reason=$(head -n 1 -- "$failed"); rm -f -- "$failed"
[ -z "$reason" ] || { rm -f -- "$target.tmp"; fail "$name cannot be $reason"; }
printf '%s  %s\n' "$digest" "$target.tmp" | sha256sum --check --status || { rm -f -- "$target.tmp"; fail "$name is damaged"; }
mv -f -- "$target.tmp" "$target" || fail "$target cannot be written"
"""

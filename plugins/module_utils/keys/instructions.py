# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How to get a protected key back with standard tools only (law 8): `RESTORE.md` for people, `restore.sh` for tired ones.

They lie in clear beside the sealed key, so they do not say where the key lay on production: `key.json`, once opened, does.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.instructions import SCRIPT_HEAD, cell, filled
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.opening import words_for
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import BackupRef, backup_prefix, manifest_key
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Artifact

__all__ = ["key_instructions"]


def key_instructions(
    ref: BackupRef, artifacts: Sequence[Artifact], taken_at: str, fingerprint: str, several: bool, method: str
) -> Mapping[str, bytes]:
    """`RESTORE.md` and `restore.sh` of a sealed key, or of a directory of them."""
    sealed = [artifact for artifact in artifacts if artifact.role in ("key", "evidence")]
    volumes = {artifact.role: [volume.name for volume in artifact.volumes] for artifact in sealed}
    values = {
        **words_for(method),
        "OPTIONS": "",
        "OPTION_CASES": "",
        "DEFAULTS": "",
        "TAR": "tar " if several else "",
        "TAR_CODE": "`tar`, " if several else "",
        "BACKUP_ID": ref.backup_id,
        "PREFIX": backup_prefix(ref),
        "MANIFEST": manifest_key(ref),
        "NAME": cell(ref.name),
        "SYSTEM": cell(ref.system),
        "TAKEN_AT": taken_at,
        "FINGERPRINT": fingerprint,
        "KEY": shlex.join(volumes["key"]),
        "EVIDENCE": shlex.join(volumes["evidence"]),
        "OPENED": "keys.tar" if several else "key",
        "RESULT": "keys" if several else "key",
        "WHAT": "the directory `keys` with its files" if several else "the file `key`, byte for byte",
        "UNPACK_BY_HAND": _UNPACK_BY_HAND if several else "",
        "UNPACK": _UNPACK if several else "",
        "DIGESTS": "\n".join(f"{volume.sha256}  {volume.name}" for artifact in sealed for volume in artifact.volumes),
    }
    return {"RESTORE.md": filled(_GUIDE, values), "restore.sh": filled(SCRIPT_HEAD + _SCRIPT, values)}


_GUIDE = """\
# Get this key back with standard tools

| | |
|---|---|
| what | protected key @NAME@ of system @SYSTEM@ |
| backup | `@BACKUP_ID@` |
| in use at | @TAKEN_AT@ |
| fingerprint | `@FINGERPRINT@` (backups that need this key name it in their manifest, under `keys`) |
| lies under | `@PREFIX@` |
| its manifest | `@MANIFEST@` (a folder without a manifest is the remainder of a broken run: do not use it) |

You need: @TOOL_CODE@`zstd`, @TAR_CODE@`sha256sum`, and @SECRET@of one of the **key** recipients. What opens
the data does not open this.

## The short way

1. Download the whole folder, for example one of
   - `cp -r REPOSITORY/@PREFIX@ backup`
   - `aws s3 cp --recursive s3://BUCKET/@PREFIX@ backup`
   - `rclone copy REMOTE:PATH/@PREFIX@ backup`
   - `sftp -r HOST:PATH/@PREFIX@ backup`
2. `cd backup && sh restore.sh@KEY_PATH@ --into /dev/shm/key`

The script checks every file against its digest and leaves @WHAT@ and `key.json` in the directory after `--into`, readable for you only.
`/dev/shm` is memory: nothing stays on a disk. `key.json` says where the key lay on production, who owned it and with which mode.

## The long way, by hand

    umask 077
    sha256sum @KEY@          # compare with the list at the end
    cat @KEY@ @BY_HAND@> @OPENED@.zst
    zstd -d --rm @OPENED@.zst
@UNPACK_BY_HAND@
Put it where `key.json` (opened the same way from @EVIDENCE@) says, with the owner and the mode that it says. The bytes are exact: an
editor adds a line end, so use `install -m 0600 -o OWNER -g GROUP`. Then delete what you opened.

## Digests (SHA-256)

```
@DIGESTS@
```
"""

_SCRIPT = r"""
: "$open_only"  # to open is all there is to do
echo '2 opening the key'
[ ! -e "$into/@RESULT@" ] || fail "$into/@RESULT@ exists already: remove it, or give another --into"
open_artifact @OPENED@ @KEY@
open_artifact key.json @EVIDENCE@
@UNPACK@
echo "opened: $into/@RESULT@ and $into/key.json, which says where it belongs. Delete both when you are done."
"""

_UNPACK_BY_HAND = """\
    mkdir keys && tar -x -f keys.tar -C keys
"""

_UNPACK = r"""mkdir -- "$into/keys" || fail "$into/keys cannot be made"
tar -x -f "$into/keys.tar" -C "$into/keys" || fail 'the keys cannot be unpacked'
rm -f -- "$into/keys.tar"
"""

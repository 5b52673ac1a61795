# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the host remembers of its protected keys: the salt of their fingerprints (secret), and the fingerprints (not).

<state_dir>/<system>/salt                   0600
<state_dir>/<system>/fingerprints.json      0644; a database backup, which runs as another user, copies it into its manifest
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils import strict
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.fingerprint import check_text
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import encode_name

__all__ = ["FILE", "default_state_dir", "fingerprints_file", "make_way", "read_fingerprints", "salt_file", "write_fingerprints"]

FILE = "fingerprints.json"
SCHEMA = 1
_LIMIT_BYTES = 4 * 1024 * 1024
_MEND = "Remove it; key_escrow writes it anew."


def default_state_dir() -> Path:
    """`/var/lib/lifeboat/keys` for root, else a directory of the user's own."""
    if os.geteuid() == 0:
        return Path("/var/lib/lifeboat/keys")
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local/state") / "lifeboat" / "keys"


def fingerprints_file(system: str, state_dir: Path | None = None) -> Path:
    return (state_dir or default_state_dir()) / encode_name(system) / FILE


def salt_file(system: str, state_dir: Path | None = None) -> Path:
    return (state_dir or default_state_dir()) / encode_name(system) / "salt"


def make_way(folder: Path) -> None:
    """Make the directory and those above it, so that every user can get to the fingerprints; the salt keeps its own mode.

    Raises `ConfigurationError`.
    """
    missing = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    try:
        for path in reversed(missing):
            path.mkdir(mode=0o755)
            path.chmod(0o755)  # whatever the umask is
    except OSError as error:
        raise ConfigurationError(f"the state directory cannot be made: {error.strerror}", str(folder), "Set state_dir.") from None


def read_fingerprints(path: Path, system: str) -> dict[str, str]:
    """Fingerprints by the keys' names; nothing where there is no such file. Raises `ConfigurationError` for one that is broken."""
    try:
        with open(path, "rb") as file:
            data = file.read(_LIMIT_BYTES)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigurationError(f"fingerprints of protected keys cannot be read: {error.strerror}", str(path)) from None
    try:
        document = json.loads(data)
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise ValueError("of another schema")
        found: dict[str, str] = strict.mapping(lambda value: check_text(strict.text(value)))(document.get("keys"))
    except ValueError:
        raise ConfigurationError("this is not a file with fingerprints of protected keys", str(path), _MEND) from None
    if document.get("system") != system:
        raise ConfigurationError(f"these are the fingerprints of another system than {system!r}", str(path), "Name the file of this one.")
    return found


def write_fingerprints(path: Path, system: str, keys: Mapping[str, str]) -> None:
    """Replace the file, atomically and durably; readable for every user, since it tells nothing. Raises `ConfigurationError`."""
    document = {"schema": SCHEMA, "system": system, "keys": dict(keys)}
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644), "wb") as file:
            file.write(json.dumps(document, sort_keys=True, indent=2).encode() + b"\n")
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise ConfigurationError(f"fingerprints cannot be written: {error.strerror}", str(path), "Set state_dir.") from None

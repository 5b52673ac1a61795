# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the last prune saw and left, on this host's disk: the next one is held against it.

One small file per system and place. It proves nothing to anybody; it makes a sudden loss visible, and spares reading a backup again that
was read whole before. Without it (a container that is thrown away) the other doubts have to do.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import encode_name
from ansible_collections.lifeboat.postgres.plugins.module_utils.private_directory import private_directory
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.doubts import Seen
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import count, format_moment, moment, text

__all__ = ["Memory", "State", "default_state_dir", "part_of", "state_in"]

_SCHEMA = 1
_LIMIT_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Memory:
    """`seen` is None before the first prune; `verified` holds the ids of backups of each asset that were read whole, `damaged` what is
    wrong with those that this very run found to be damaged, which is not written down."""

    seen: Seen | None = None
    verified: Mapping[str, frozenset[str]] = field(default_factory=dict)
    damaged: Mapping[str, str] = field(default_factory=dict)


def default_state_dir() -> Path:
    """`/var/lib/lifeboat/prune` for root, else below the user's own state directory (XDG)."""
    if os.geteuid() == 0:
        return Path("/var/lib/lifeboat/prune")
    own = os.environ.get("XDG_STATE_HOME", "")
    return (Path(own) if os.path.isabs(own) else Path("~/.local/state").expanduser()) / "lifeboat" / "prune"


def state_in(given: str | None) -> State | None:
    """The directory that was named, the usual one when none was, or None for "". Raises `ConfigurationError` for an unusable one."""
    if given == "":
        return None
    folder = Path(given).expanduser() if given is not None else default_state_dir()
    if folder.exists():  # made with the first thing to remember, since check mode makes nothing
        private_directory(folder, "state", "state_dir")
    return State(folder)


class State:
    """A directory of such files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, repository: Repository, system: str) -> Memory:
        """What is known of the place; raises `ConfigurationError` for a file that cannot be read, because silence would be no doubt."""
        path = self._path(repository, system)
        try:
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as stream:
                document = json.loads(stream.read(_LIMIT_BYTES))
            if document["schema"] != _SCHEMA:
                raise ValueError(f"its schema is {document['schema']!r}")
            left = {text(asset): (count(entry["left"]), text(entry["newest"])) for asset, entry in document["assets"].items()}
            verified = {asset: frozenset(map(text, entry["verified"])) for asset, entry in document["assets"].items()}
            return Memory(Seen(moment(document["at"]), left), verified)
        except FileNotFoundError:
            return Memory()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            hint = "Remove it; the next prune is then held against nothing."
            raise ConfigurationError(f"what the last prune left behind cannot be read: {error}", str(path), hint) from None

    def write(self, repository: Repository, system: str, memory: Memory) -> None:
        """Replace it, whole or not at all."""
        if memory.seen is None:
            return
        assets: dict[str, dict[str, Any]] = {
            asset: {"left": number, "newest": newest, "verified": sorted(memory.verified.get(asset, ()))}
            for asset, (number, newest) in memory.seen.left.items()
        }
        private_directory(self._folder, "state", "state_dir")
        document = {"schema": _SCHEMA, "at": format_moment(memory.seen.at), "place": repository.description(), "assets": assets}
        descriptor, temporary = tempfile.mkstemp(prefix=".new-", dir=self._folder)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                json.dump(document, stream, sort_keys=True, indent=2)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, self._path(repository, system))
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise

    def _path(self, repository: Repository, system: str) -> Path:
        place = json.dumps([system, repository.description()], sort_keys=True)
        return self._folder / f"{encode_name(system)[:80]}-{hashlib.sha256(place.encode()).hexdigest()[:20]}.json"


def part_of(seen: Seen | None, kind: str | None, name: str | None) -> Seen | None:
    """What the last prune left of a part of the system; of all of it where `kind` is None. Pure."""
    if seen is None or kind is None:
        return seen
    one = f"{kind}/{name}"
    return Seen(
        seen.at, {asset: left for asset, left in seen.left.items() if asset == one or (name is None and asset.startswith(f"{kind}/"))}
    )

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The story of `fleet_report`: from the parts of the systems to one page with its twins, written only when a fact changed."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, ManifestError
from ansible_collections.lifeboat.postgres.plugins.module_utils.report import fleet_html, fleet_markdown
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.fleet import Fleet, System
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.fleet_light import counted, promised, worst, worst_first
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.fleet_schema import read_fleet, read_system
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import VERSION, now

__all__ = ["KEYS", "write"]

KEYS = ("parts", "unknown", "dest", "mode")
_WHERE = "fleet_report"
_LIMIT_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True)
class _Twin:
    """One of the files: what lies there (None: nothing), and what should."""

    path: Path
    before: bytes | None
    after: bytes
    mode: int

    @property
    def differs(self) -> bool:
        return self.before != self.after or stat.S_IMODE(os.stat(self.path).st_mode) != self.mode


def write(given: Mapping[str, Any], check_mode: bool = False) -> dict[str, Any]:
    """The module's result. Raises `ConfigurationError`, `ManifestError` for a part that is not well formed."""
    options.unknown_keys(given, KEYS, _WHERE)
    dest = options.path(given, "dest", _WHERE, absolute=True)
    if dest is not None and dest.suffix != ".html":
        raise ConfigurationError(f"dest: expected a file that ends in .html, found {dest.name!r}", _WHERE, "Its twins lie beside it.")
    mode = _mode(given)
    fleet = Fleet.of([*_parts(given), *_unknown(given)])
    twins: list[_Twin] = []
    if dest is not None:
        if not dest.parent.is_dir():
            hint = "Make it, with a mode for those who read the page."
            raise ConfigurationError("dest: its directory is not there", str(dest.parent), hint)
        fleet = _as_it_was(dest.with_suffix(".json"), fleet)
        contents = {".html": fleet_html.render(fleet).encode(), ".md": fleet_markdown.render(fleet).encode(), ".json": fleet.to_bytes()}
        # The document last: it is what the next run compares with, so a run that was killed before is made up for.
        twins = [_Twin(path, _read(path), data, mode) for path, data in ((dest.with_suffix(end), data) for end, data in contents.items())]
    changed = [twin for twin in twins if twin.differs]
    if not check_mode:
        for twin in changed:
            _replace(twin)
    judged = worst_first(fleet)
    return {
        "changed": bool(changed),
        "files": [str(twin.path) for twin in twins],
        "summary": counted(judged) or "no system",
        "good": bool(judged) and all(light.word == "proven" for _system, light in judged),
        "systems": {
            system.system: {
                "light": light.word,
                "reasons": [said for _verdict, said in light.reasons],
                "rpo_seconds": worst(system, "rpo").seconds,
                "rto_seconds": worst(system, "rto").seconds,
                "rpo_promised": promised(system, "rpo"),
                "rto_promised": promised(system, "rto"),
            }
            for system, light in judged
        },
        "diff": [_diff(twin) for twin in changed if twin.path.suffix == ".md"],
    }


def _mode(given: Mapping[str, Any]) -> int:
    text = options.text(given, "mode", _WHERE, "0600")
    if not re.fullmatch("0?[0-7]{3}", text):
        raise ConfigurationError(f"mode: expected an octal mode like 0640, found {text!r}", _WHERE)
    mode = int(text, 8)
    if mode & 0o133 or not mode & 0o400:
        raise ConfigurationError(
            f"mode: {text} lets others write, or somebody execute, or keeps its owner from reading", _WHERE, "Take 0600, 0640 or 0644."
        )
    return mode


def _parts(given: Mapping[str, Any]) -> Iterator[System]:
    items = given.get("parts") or ()
    if isinstance(items, (str, Mapping)):
        raise ConfigurationError("parts: expected a list of mappings", _WHERE, "Give it what fleet_report_info returned as part.")
    for number, item in enumerate(items, 1):
        yield read_system(item, f"{_WHERE}: part {number}")


def _unknown(given: Mapping[str, Any]) -> Iterator[System]:
    """Systems that nobody could look at: they are on the page, or nobody would miss them."""
    items = given.get("unknown") or ()
    if isinstance(items, (str, Mapping)):
        raise ConfigurationError("unknown: expected a list of mappings", _WHERE, "Each with system and reason.")
    for number, item in enumerate(items, 1):
        where = f"{_WHERE}: unknown, item {number}"
        options.unknown_keys(item, ("system", "reason"), where)
        reason = options.text(item, "reason", where, "") or "nobody could look at it"
        yield System(options.text(item, "system", where), "", now(), VERSION, unknown=(f"nothing is known: {reason}",))


def _as_it_was(document: Path, fleet: Fleet) -> Fleet:
    """What was written before, where it says the same: when somebody looked is no fact. One that cannot be read is written anew."""
    with contextlib.suppress(ManifestError):
        known = read_fleet(_read(document) or b"", str(document))
        if known.same_facts(fleet):
            return known
    return fleet


def _read(path: Path) -> bytes | None:
    try:
        with open(path, "rb") as stream:
            return stream.read(_LIMIT_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(f"what lies there cannot be read: {error.strerror}", str(path), "Move it away.") from None


def _replace(twin: _Twin) -> None:
    """The file, whole or not at all, and never readable by more than `mode` says."""
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=".", dir=twin.path.parent)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(twin.after)
            stream.flush()
            os.fchmod(stream.fileno(), twin.mode)
            os.fsync(stream.fileno())
        os.replace(temporary, twin.path)
    except OSError as error:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise ConfigurationError(f"it cannot be written: {error.strerror}", str(twin.path), "Let this user write there.") from None


def _diff(twin: _Twin) -> dict[str, str]:
    return {
        "before_header": str(twin.path),
        "after_header": str(twin.path),
        "before": (twin.before or b"").decode("utf-8", "replace"),
        "after": twin.after.decode("utf-8"),
    }

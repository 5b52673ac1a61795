# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Content digests that go in turn: since when every table has been in some backup's digests. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Coverage", "coverage_of", "read_part"]


@dataclass(frozen=True)
class Coverage:
    """Of `parts` that go in turn, `missing` are those that no backup holds whole. `since`: the moment (as manifests write it)
    of the oldest backup that is needed to cover all of them, or "" while one is missing."""

    parts: int
    since: str
    missing: tuple[int, ...]

    @property
    def words(self) -> str:
        if not self.missing:
            return f"every table was digested since {self.since[:16].replace('T', ' ')} UTC"
        parts = ", ".join(map(str, self.missing))
        return f"no backup holds digests of part {parts} of {self.parts}"

    def to_document(self) -> dict[str, Any]:
        return {**asdict(self), "missing": list(self.missing)}


def coverage_of(newest_first: Iterable[tuple[str, str]]) -> Coverage | None:
    """Of backups of one asset, each as `digested` and `snapshot_at` of its manifest; None when none has digests.

    In how many parts they go, the newest that has digests says; those that went in another number say nothing about it.
    """
    parts, found, since = 0, set[int](), ""
    for digested, snapshot_at in newest_first:
        if not digested:
            continue
        part, of = read_part(digested)
        parts = parts or of
        if of == parts and part not in found:
            found.add(part)
            since = snapshot_at
        if parts and len(found) == parts:
            return Coverage(parts, since, ())
    if not parts:
        return None
    return Coverage(parts, "", tuple(part for part in range(1, parts + 1) if part not in found))


def read_part(text: str) -> tuple[int, int]:
    """`3/7` as its two numbers; raises `ValueError`."""
    part, _slash, of = text.partition("/")
    if not (part.isdecimal() and of.isdecimal() and text.isascii() and 1 <= int(part) <= int(of)):
        raise ValueError(f"{text[:40]!r} is no part of several")
    return int(part), int(of)

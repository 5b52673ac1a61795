# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What production looked like, as a document that is sealed like the data: read strictly, written stably. Pure."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import strict
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import EvidenceError
from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import format_moment

__all__ = ["SCHEMA", "Collation", "Digests", "Evidence", "LargeObjects", "QueryRows", "SequencePosition", "TableRows"]

SCHEMA = 1


@dataclass(frozen=True)
class TableRows:
    """Exact rows of one table without its children; of a partitioned one the sum over its local partitions.

    `rows` is None when it was not counted. `partition_of` is the topmost partitioned table above it, or "". `rehashed`:
    a dump loads it through that one, so rows may end in another partition (docs/postgres-notes.md#enum-hash).
    """

    schema: str
    name: str
    rows: int | None
    partition_of: str = ""
    rehashed: bool = False

    @property
    def label(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class SequencePosition:
    """How far a sequence certainly was: a dump taken now is at this position or beyond, in its own direction."""

    name: str
    last_value: int
    is_called: bool
    ascending: bool


@dataclass(frozen=True)
class LargeObjects:
    """`total_bytes` is None where the role may not read them."""

    count: int
    total_bytes: int | None


@dataclass(frozen=True)
class Collation:
    """A collation in use ("database" for the database's own): the version its indexes were built with, and the host's."""

    name: str
    recorded: str
    actual: str


@dataclass(frozen=True)
class QueryRows:
    """A named query and its rows, each value as PostgreSQL writes it under pinned settings (None for NULL)."""

    query: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | None, ...], ...]


@dataclass(frozen=True)
class Digests:
    """Contents of tables, each as one number (digests.py), by the `rules` of that number.

    `tables` maps a name to its digest, `missing` one that was due to the reason why it has none. `wanted` is how many tables
    are digested in turn, in `parts` parts of which this is number `part` (from 1). `large_objects` is "" when not asked for.
    """

    rules: int
    tables: Mapping[str, str]
    missing: Mapping[str, str]
    large_objects: str
    wanted: int
    part: int
    parts: int

    @property
    def whole_part(self) -> str:
        """`3/7` when nothing that was due is missing, else ""."""
        return "" if self.missing else f"{self.part}/{self.parts}"

    @property
    def coverage(self) -> str:
        """How much of what was asked for was digested this time."""
        said = f"{len(self.tables)} of {self.wanted} tables digested"
        return said if self.parts == 1 else f"{said} (part {self.part} of {self.parts}, in turn by the day)"


@dataclass(frozen=True)
class Evidence:
    """Facts about production in the snapshot of its dump.

    `rules` says by which rules the digests in `objects` and `privileges` were made. `unstable` are objects that changed
    while the backup was taken: they are there, in whichever form. `missing` maps what could not be recorded to the reason.
    `encoding` maps the words of CREATE DATABASE to their values; `settings` are lines of ALTER DATABASE; `roles` those that
    own something here or were granted something, `superuser` the one that initdb made. `digests` is None when none were asked for.

    `later_rows` is None where all of this is exact. Else it belongs to a position in the log between two snapshots: `tables` and what
    else a snapshot shows are of the first, `later_rows` are the rows of each table in the second. Both are bounds (bounds.py).
    """

    snapshot_at: dt.datetime
    database: str
    server_version: str
    server_version_num: int
    system_identifier: str
    superuser: str
    database_bytes: int
    dump_bytes: int
    encoding: Mapping[str, str]
    rules: int
    tables: tuple[TableRows, ...]
    sequences: tuple[SequencePosition, ...]
    objects: Mapping[str, str]
    privileges: Mapping[str, str]
    unstable: tuple[str, ...]
    extensions: Mapping[str, str]
    collations: tuple[Collation, ...]
    large_objects: LargeObjects | None
    settings: tuple[str, ...]
    roles: tuple[str, ...]
    queries: Mapping[str, QueryRows]
    checks: Mapping[str, Any]
    missing: Mapping[str, str]
    digests: Digests | None = None
    later_rows: Mapping[str, int] | None = None

    @property
    def uncounted(self) -> tuple[str, ...]:
        """The tables whose rows were not counted."""
        return tuple(table.label for table in self.tables if table.rows is None)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the operator should know at backup time: what was not recorded, and why."""
        notes = [f"evidence: {what} was not recorded: {why}" for what, why in self.missing.items()]
        if self.uncounted:
            were = "table was" if len(self.uncounted) == 1 else "tables were"
            notes.append(f"evidence: {len(self.uncounted)} {were} not counted in the time allowed")
        if self.digests is not None:
            notes += [f"evidence: no digest of {what}: {why}" for what, why in self.digests.missing.items()]
        return tuple(notes)

    def to_bytes(self) -> bytes:
        """The document as UTF-8 JSON with sorted keys."""
        document = {"schema": SCHEMA, **dataclasses.asdict(self), "snapshot_at": format_moment(self.snapshot_at)}
        return json.dumps(document, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, where: str = "") -> Evidence:
        """Read a document strictly; raises `EvidenceError` that names what is wrong and `where`."""
        try:
            document = json.loads(data.decode("utf-8"))
            if not isinstance(document, dict):
                raise ValueError("it is not a JSON object")
            schema = document.pop("schema", None)
            if schema != SCHEMA:
                raise EvidenceError(
                    f"the evidence has schema {schema!r}, this version reads {SCHEMA}", where, "Use a newer lifeboat.postgres."
                )
            return strict.fields(cls, document, _READERS)
        except ValueError as error:
            raise EvidenceError(f"the evidence cannot be read: {error}", where, "It was altered or cut.") from None


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"expected a whole number, found {value!r}")
    return value


_READERS: dict[str, strict.Reader] = {
    "snapshot_at": strict.moment,
    "server_version_num": strict.count,
    "database_bytes": strict.count,
    "dump_bytes": strict.count,
    "encoding": strict.mapping(strict.text),
    "rules": strict.count,
    "tables": strict.tuple_of(
        strict.nested(TableRows, {"rows": strict.optional(strict.count), "rehashed": strict.boolean}),
    ),
    "sequences": strict.tuple_of(
        strict.nested(SequencePosition, {"last_value": _whole, "is_called": strict.boolean, "ascending": strict.boolean}),
    ),
    "objects": strict.mapping(strict.text),
    "privileges": strict.mapping(strict.text),
    "unstable": strict.tuple_of(strict.text),
    "extensions": strict.mapping(strict.text),
    "collations": strict.tuple_of(strict.nested(Collation)),
    "large_objects": strict.optional(
        strict.nested(LargeObjects, {"count": strict.count, "total_bytes": strict.optional(strict.count)}),
    ),
    "settings": strict.tuple_of(strict.text),
    "roles": strict.tuple_of(strict.text),
    "queries": strict.mapping(
        strict.nested(
            QueryRows, {"columns": strict.tuple_of(strict.text), "rows": strict.tuple_of(strict.tuple_of(strict.optional(strict.text)))}
        )
    ),
    "checks": strict.mapping(lambda value: value),
    "missing": strict.mapping(strict.text),
    "later_rows": strict.optional(strict.mapping(strict.count)),
    "digests": strict.optional(
        strict.nested(
            Digests,
            {
                "rules": strict.count,
                "tables": strict.mapping(strict.text),
                "missing": strict.mapping(strict.text),
                "wanted": strict.count,
                "part": strict.count,
                "parts": strict.count,
            },
        )
    ),
}

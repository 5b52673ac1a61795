# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a restored database is what production was: one answer per kind of evidence.

Each comparison answers `passed`, `failed`, or `unverified` for what was not recorded; none may pass by having nothing to
compare with. What is a property of the drill's host and not of the backup is said, and does not fail.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import FAILED, PASSED, UNVERIFIED, CheckResult
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import EvidenceError
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence import facts
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.bounds import only_bounded, within_bounds
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.counts import count_rows, partition_trees
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.digests import DIGEST_RULES, LARGE_OBJECTS, digests_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.document import Digests, Evidence, TableRows
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.queries import query_rows
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.schema import RULES, read_definitions, read_privileges
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.sequences import is_behind, read_sequences
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import psycopg, roll_back, savepoint
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.faults import first_line
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.snapshot import dumped_tables, named
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import many

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["compare"]


def compare(expected: Evidence, connection: Connection[Any]) -> list[CheckResult]:
    """Compare the restored database with the evidence; `connection` is an autocommit superuser of `open_connection`.

    On another major version than production's, what that version prints and grants otherwise is compared by its names alone.
    Runs read-only in one transaction. A comparison that breaks is `unverified` with its cause.
    """
    with _read_only(connection):
        answers: list[tuple[str, Callable[[], CheckResult]]] = [
            ("row counts", lambda: _rows(expected, connection)),
            ("sequences", lambda: _sequences(expected, connection)),
            ("schema", lambda: _schema(expected, connection)),
            ("privileges", lambda: _privileges(expected, connection)),
            ("extensions", lambda: _extensions(expected, connection)),
            ("collations", lambda: _collations(expected, connection)),
            ("large objects", lambda: _large_objects(expected, connection)),
            ("encoding and locale", lambda: _encoding(expected, connection)),
            ("database settings", lambda: _settings(expected, connection)),
        ]
        for name in sorted({*expected.queries, *_missing(expected, "query ")}):
            answers.append((f"query {name}", lambda name=name: _query(expected, connection, name)))  # type: ignore[misc]
        if expected.digests is not None:
            recorded = expected.digests
            answers.append(("content digests", lambda: _digests(recorded, connection)))
        results = [_answered(connection, name, answer) for name, answer in answers]
    return results if expected.later_rows is None else [only_bounded(result) for result in results]


@contextlib.contextmanager
def _read_only(connection: Connection[Any]) -> Iterator[None]:
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    try:
        yield
    finally:
        roll_back(connection)


def _answered(connection: Connection[Any], name: str, answer: Callable[[], CheckResult]) -> CheckResult:
    try:
        with savepoint(connection):
            return answer()
    except psycopg().Error as error:
        return CheckResult(name, UNVERIFIED, "", "could not be compared", first_line(error))


def _rows(expected: Evidence, connection: Connection[Any]) -> CheckResult:
    found = {table.label: table for table in count_rows(connection, dumped_tables(connection), partition_trees(connection))}
    if expected.later_rows is not None:
        return within_bounds(expected, found)
    recorded = {table.label: table for table in expected.tables}
    wrong = [
        f"{label}: expected {table.rows}, found {found[label].rows if label in found else 'no such table'}"
        for label, table in recorded.items()
        if label not in found or (table.rows is not None and not table.rehashed and table.rows != found[label].rows)
    ]
    wrong += [f"{label}: found, and not in production" for label in found if label not in recorded]
    return _verdict(
        "row counts",
        wrong,
        f"{many(_total(expected.tables), 'row')} in {many(len(recorded), 'table')}",
        f"{many(_total(found.values()), 'row')} in {many(len(found), 'table')}",
        [f"not counted in production: {named(expected.uncounted)}"] if expected.uncounted else [],
    )


def _total(tables: Any) -> int:
    """Each row once: not the sums of partitioned tables, which say the same again."""
    rows: Sequence[TableRows] = list(tables)
    parents = {table.partition_of for table in rows}
    return sum(table.rows or 0 for table in rows if table.label not in parents)


def _sequences(expected: Evidence, connection: Connection[Any]) -> CheckResult:
    found = read_sequences(connection)
    behind = []
    for position in expected.sequences:
        reading = found.get(position.name)
        if reading is None:
            behind.append(f"{position.name}: missing")
        elif is_behind(reading.position, position):
            behind.append(f"{position.name}: expected {position.last_value} or beyond, found {reading.position.last_value}")
    return _verdict(
        "sequences",
        behind,
        f"{many(len(expected.sequences), 'sequence')} at production's position or beyond",
        f"{len(expected.sequences) - len(behind)} of them",
        [],
        _changed_meanwhile([name for name in expected.unstable if name.startswith("sequence ")]),
    )


def _schema(expected: Evidence, connection: Connection[Any]) -> CheckResult:
    restored = read_definitions(connection)
    found = {name: definition.digest for name, definition in restored.objects.items()}
    wrong = _differences(expected.objects, expected.unstable, found, _by_definition(expected, connection))
    unverified = [f"{what}: {why}" for what, why in _missing(expected, "definition of ").items()]
    unverified += [f"every {kind} on the target: {why}" for kind, why in restored.unread.items()]
    return _verdict(
        "schema",
        wrong,
        f"{many(len({*expected.objects, *expected.unstable}), 'object')} as in production",
        f"{many(len(found), 'object')}, {len(wrong)} different",
        [*unverified, *_other_rules(expected)],
        "; ".join(filter(None, (_changed_meanwhile(expected.unstable), _other_major(expected, connection)))),
    )


def _privileges(expected: Evidence, connection: Connection[Any]) -> CheckResult:
    wrong = _differences(expected.privileges, (), read_privileges(connection), _by_definition(expected, connection))
    sides = (f"owners and grants of {many(len(expected.privileges), 'object')}", f"{len(wrong)} different")
    present = {row[0] for row in connection.execute("SELECT rolname::text FROM pg_roles").fetchall()}
    absent = [role for role in expected.roles if role not in present]
    if absent:
        # Owners and grants cannot come back to a role that is not there; that is the target's doing, not the backup's.
        return CheckResult("privileges", UNVERIFIED, *sides, f"roles missing on the target: {named(absent)}")
    return _verdict("privileges", wrong, *sides, _other_rules(expected), _other_major(expected, connection))


def _other_rules(expected: Evidence) -> list[str]:
    if expected.rules == RULES:
        return []
    return ["definitions were recorded by the rules of another version of lifeboat.postgres: only names were compared"]


def _other_major(expected: Evidence, connection: Connection[Any]) -> str:
    """What to say where the target is of another major version: it prints some definitions otherwise, and has privileges of its own."""
    recorded, here = expected.server_version_num // 10000, connection.info.server_version // 10000
    return "" if recorded == here else f"recorded on PostgreSQL {recorded}, and this is {here}: only names were compared"


def _by_definition(expected: Evidence, connection: Connection[Any]) -> bool:
    return expected.rules == RULES and not _other_major(expected, connection)


def _differences(recorded: Mapping[str, str], unstable: Sequence[str], restored: Mapping[str, str], definitions: bool) -> list[str]:
    """Missing, changed and surplus objects by name. What changed during the backup has to be there, in whichever form."""
    wrong = [f"{name} is missing" for name in [*recorded, *unstable] if name not in restored]
    if definitions:
        wrong += [f"{name} is different" for name, digest in recorded.items() if restored.get(name, digest) != digest]
    # A production that has dropped the schema public gets it back from template0.
    known = {*recorded, *unstable, "schema public"}
    return wrong + [f"{name} is not in production" for name in restored if name not in known]


def _extensions(expected: Evidence, connection: Connection[Any]) -> CheckResult:
    found = facts.extensions(connection)
    missing = [f"{name} is missing" for name in expected.extensions if name not in found]
    surplus = [f"{name} is not in production" for name in found if name not in expected.extensions]
    # A dump names no version: CREATE EXTENSION takes the one that the host has.
    other = [
        f"{name} {version} in production, {found[name]} on this host"
        for name, version in expected.extensions.items()
        if found.get(name, version) != version
    ]
    return _verdict("extensions", missing + surplus, _listed(expected.extensions), _listed(found), [], named(other))


def _collations(expected: Evidence, connection: Connection[Any]) -> CheckResult:
    installed = facts.installed_collation_versions(connection)
    remarks = [
        f"{one.name} has version {one.actual} in production and {installed[one.name]} on this host"
        for one in expected.collations
        if installed.get(one.name) and one.actual and installed[one.name] != one.actual
    ]
    stale = [one for one in expected.collations if one.recorded and one.actual and one.recorded != one.actual]
    notes = []
    if remarks:
        notes.append(f"{named(remarks)}: text may sort otherwise here; run amcheck wherever files, not dumps, move between such hosts")
    if stale:
        notes.append(
            f"production's own indexes over {named(one.name for one in stale)} were built with another version than its host has:"
            " run amcheck and REINDEX there"
        )
    count = many(len(expected.collations), "versioned collation")
    return CheckResult("collations", PASSED, count, f"{len(remarks)} of another version on this host", "; ".join(notes))


def _large_objects(expected: Evidence, connection: Connection[Any]) -> CheckResult:
    recorded = expected.large_objects
    if recorded is None:
        why = expected.missing.get("large objects", "not recorded")
        return CheckResult("large objects", UNVERIFIED, "", "could not be compared", why)
    found = facts.large_objects(connection)
    same_bytes = recorded.total_bytes is None or recorded.total_bytes == found.total_bytes
    detail = "" if recorded.total_bytes is not None else "their bytes were not recorded: the backup's role may not read pg_largeobject"
    verdict = PASSED if recorded.count == found.count and same_bytes else FAILED
    return CheckResult(
        "large objects", verdict, _sized(recorded.count, recorded.total_bytes), _sized(found.count, found.total_bytes), detail
    )


def _sized(count: int, total_bytes: int | None) -> str:
    return many(count, "object") if total_bytes is None else f"{many(count, 'object')}, {many(total_bytes, 'byte')}"


def _digests(recorded: Digests, connection: Connection[Any]) -> CheckResult:
    if recorded.rules != DIGEST_RULES:
        why = "digests were taken by the rules of another version of lifeboat.postgres"
        return CheckResult("content digests", UNVERIFIED, recorded.coverage, "not compared", why)
    expected = dict(recorded.tables)
    if recorded.large_objects:
        expected[LARGE_OBJECTS] = recorded.large_objects
    found = digests_of(
        connection, dumped_tables(connection), partition_trees(connection), recorded.tables, large_objects=bool(recorded.large_objects)
    )
    wrong = [
        f"{label}: {'other content than in production' if label in found.digests else 'no such table'}"
        for label, digest in expected.items()
        if label not in found.missing and found.digests.get(label) != digest
    ]
    unverified = [f"{label} has no digest in production: {why}" for label, why in recorded.missing.items()]
    unverified += [f"{label} could not be digested here: {why}" for label, why in found.missing.items()]
    same = sum(found.digests.get(label) == digest for label, digest in expected.items())
    return _verdict("content digests", wrong, recorded.coverage, f"{same} of {len(expected)} equal", unverified)


def _encoding(expected: Evidence, connection: Connection[Any]) -> CheckResult:
    found = facts.encoding(connection)
    wrong = [
        f"{word}: expected {expected.encoding.get(word, 'none')}, found {found.get(word, 'none')}"
        for word in sorted({*expected.encoding, *found})
        if expected.encoding.get(word) != found.get(word)
    ]
    return _verdict("encoding and locale", wrong, _listed(expected.encoding), _listed(found))


def _settings(expected: Evidence, connection: Connection[Any]) -> CheckResult:
    found = facts.settings(connection)
    # Values may be secrets (an application's own settings), so only names are shown.
    wrong = [f"{line.partition('=')[0]} is missing or different" for line in expected.settings if line not in found]
    names = {line.partition("=")[0] for line in expected.settings}
    wrong += [f"{line.partition('=')[0]} is not in production" for line in found if line.partition("=")[0] not in names]
    return _verdict("database settings", wrong, many(len(expected.settings), "setting"), many(len(found), "setting"))


def _query(expected: Evidence, connection: Connection[Any], name: str) -> CheckResult:
    label = f"query {name}"
    recorded = expected.queries.get(name)
    if recorded is None:
        return CheckResult(label, UNVERIFIED, "", "could not be compared", expected.missing.get(label, "not recorded"))
    try:
        with savepoint(connection):
            found = query_rows(connection, name, recorded.query)
    except EvidenceError as error:
        return CheckResult(label, FAILED, many(len(recorded.rows), "row"), "more rows", error.what)
    except psycopg().Error as error:
        if isinstance(error, psycopg().OperationalError):
            raise
        return CheckResult(label, FAILED, many(len(recorded.rows), "row"), "the query fails", first_line(error))
    if len(recorded.rows) == len(found.rows) == 1:
        sides = (_row(recorded.rows[0]), _row(found.rows[0]))
    else:
        sides = (many(len(recorded.rows), "row"), many(len(found.rows), "row"))
    if (recorded.columns, recorded.rows) == (found.columns, found.rows):
        return CheckResult(label, PASSED, *sides)
    for number, (left, right) in enumerate(zip_longest(recorded.rows, found.rows), 1):
        if left != right:
            detail = f"row {number}: expected {_row(left)}, found {_row(right)}"
            return CheckResult(label, FAILED, *sides, detail)
    return CheckResult(label, FAILED, *sides, f"columns: expected {_row(recorded.columns)}, found {_row(found.columns)}")


def _row(row: tuple[str | None, ...] | None) -> str:
    """One row in a line."""
    if row is None:
        return "none"
    text = ", ".join("NULL" if value is None else " ".join(value.split()) for value in row)
    return text if len(text) <= 200 else text[:199] + "…"


def _missing(expected: Evidence, prefix: str) -> dict[str, str]:
    """What could not be recorded under a prefix, without it."""
    return {what[len(prefix) :]: why for what, why in expected.missing.items() if what.startswith(prefix)}


def _changed_meanwhile(names: Sequence[str]) -> str:
    return f"changed while the backup was taken, so only looked for by name: {named(names)}" if names else ""


def _listed(items: Mapping[str, str]) -> str:
    return named(f"{name} {value}" for name, value in items.items()) or "none"


def _verdict(name: str, wrong: Sequence[str], expected: str, found: str, unverified: Sequence[str] = (), remark: str = "") -> CheckResult:
    """Failed when something is wrong, else unverified when something could not be told, else passed."""
    verdict = FAILED if wrong else UNVERIFIED if unverified else PASSED
    parts = [named(wrong)] if wrong else []
    return CheckResult(name, verdict, expected, found, "; ".join([*parts, *unverified, *([remark] if remark else [])]))

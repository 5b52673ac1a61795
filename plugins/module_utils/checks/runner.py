# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks asked one after the other, none able to change the data, to stop the others, or to pass without an answer (law 2)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import FAILED, UNVERIFIED, Check, CheckResult, Inside, Restored
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.relations import RelationMissing
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import duration

if TYPE_CHECKING:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.opened import OpenedKey
    from psycopg import Connection

__all__ = ["run_checks"]


def run_checks(
    checks: Sequence[Check],
    connect: Callable[[], AbstractContextManager[Connection[Any]]],
    recorded: Mapping[str, Any],
    snapshot_at: dt.datetime,
    inside: Inside | None = None,
    replayed_to: str = "",
    keys: Mapping[str, OpenedKey] | None = None,
) -> list[CheckResult]:
    """One answer per check, in order. `recorded` maps names of checks to what was recorded about production;
    `replayed_to` is where its log was replayed to, "" for a dump. `keys` are the protected keys out of the vault.

    Each check has a connection (autocommit, as `open_connection` gives it), a read-only transaction and its statement
    timeout of its own. A check that breaks is `unverified` with its cause; a table that production had is `failed`.
    Checks that start programs are asked last: what those do to the data must not mislead the others.
    """
    asked = sorted(range(len(checks)), key=lambda number: checks[number].starts_programs)
    answers = {
        number: _answer(checks[number], connect, recorded.get(checks[number].name), snapshot_at, inside, replayed_to, keys or {})
        for number in asked
    }
    return [answers[number] for number in range(len(checks))]


def _answer(
    check: Check,
    connect: Callable[[], AbstractContextManager[Connection[Any]]],
    recorded: Any | None,
    snapshot_at: dt.datetime,
    inside: Inside | None,
    replayed_to: str,
    keys: Mapping[str, OpenedKey],
) -> CheckResult:
    try:
        with connect() as conn:
            conn.read_only = not check.makes_objects
            with conn.transaction(force_rollback=True):
                conn.execute("SELECT pg_catalog.set_config('statement_timeout', %s, true)", (f"{check.timeout_seconds * 1000:.0f}",))
                return check.run(Restored(conn, recorded, snapshot_at, inside, replayed_to, keys))
    except RelationMissing as error:
        # What was recorded shows that production had it: then it is lost, and not a name that someone mistyped.
        verdict = UNVERIFIED if recorded is None else FAILED
        expected = "" if recorded is None else "the table and columns that production had"
        return CheckResult(check.name, verdict, expected, error.what, error.next_step if recorded is None else "")
    except LifeboatError as error:
        return CheckResult(check.name, UNVERIFIED, "", "could not be checked", str(error))
    except Exception as error:  # noqa: BLE001 - whatever breaks a check, the others are still asked
        return CheckResult(check.name, UNVERIFIED, "", "could not be checked", _cause(error, check))


def _cause(error: Exception, check: Check) -> str:
    """The first line of an error of PostgreSQL or of Python, in one sentence."""
    diagnosis = getattr(error, "diag", None)
    if getattr(diagnosis, "sqlstate", None) == "57014":
        return f"it took longer than its timeout of {duration(check.timeout_seconds)}; raise the check's timeout"
    message = getattr(diagnosis, "message_primary", None) or str(error)
    return f"{type(error).__name__}: {' '.join(message.split())}"[:500]

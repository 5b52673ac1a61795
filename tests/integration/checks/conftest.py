# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A database to break, and one way to ask a check about it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import CheckResult
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.factory import parse
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.runner import run_checks
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import Login, open_connection
from support.clusters import Server

SNAPSHOT_AT = dt.datetime(2026, 11, 20, 12, 0, tzinfo=dt.timezone.utc)


class Database:
    """A database, asked as a backup and a drill ask: with pinned settings, evidence through JSON, the runner around it."""

    def __init__(self, login: Login) -> None:
        self._login = login

    def execute(self, *statements: str) -> None:
        with open_connection(self._login, application_name="test") as connection:
            connection.execute("SET search_path = public")
            for statement in statements:
                connection.execute(statement)

    def evidence(self, **check: Any) -> Any:
        """What a backup records, as it comes back from the evidence document."""
        with open_connection(self._login, application_name="test") as connection:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            recorded = parse([check])[0].evidence(connection)
            row = connection.execute("SELECT pg_catalog.current_setting('search_path'), txid_current_if_assigned()").fetchone()
            assert row == ("pg_catalog", None), "a check left something behind in the snapshot's transaction"
            return json.loads(json.dumps(recorded))

    def ask(self, recorded: Any = None, snapshot_at: dt.datetime = SNAPSHOT_AT, **check: Any) -> CheckResult:
        """The answer of one check, given as in an inventory: `ask(not_empty={"tables": ["orders"]})`."""
        checks = parse([check])
        answers = run_checks(checks, self.connect, {checks[0].name: recorded}, snapshot_at)
        assert len(answers) == 1
        assert answers[0].name == checks[0].name
        return answers[0]

    def connect(self) -> Any:
        return open_connection(self._login, application_name="test")


@pytest.fixture
def database(postgres: Server) -> Iterator[Database]:
    """An empty database of PostgreSQL 15 and of 18 in turn."""
    with postgres.database() as name:
        yield Database(postgres.login(name))

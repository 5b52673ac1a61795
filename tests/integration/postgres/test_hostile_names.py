# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A name is a name: in psycopg, in pg_dump's and pg_restore's arguments, in evidence, whatever it looks like."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import open_connection
from psycopg import sql
from support import roundtrip
from support.clusters import Server
from support.roundtrip import Pair, alarms, compared, restored

NAMES = {
    "spaces": "  two words ",
    "quotes": 'it\'s "quoted" \\ back\\',
    "conninfo": "x host=evil.example port=1",
    "conninfo alone": "dbname=postgres",
    "uri": "postgresql://evil.example/x",
    "option": "-c",
    "long option": "--version",
    "shell": "$(touch /tmp/evil);`id`|&",
    "format": "%s %(x)s {0}",
    "utf-8": "Büro 💾 日本",
    "tab": "a\tb",
    "newline": "new\nline\r",
    "longest": "x" * 63,
}


@pytest.mark.parametrize("kind", NAMES)
def test_a_hostile_name_survives_dump_and_restore(pair: Pair, tmp_path: Path, kind: str) -> None:
    name = NAMES[kind]
    with pair.production.database(name), pair.production.connect(name) as connection:
        for statement in (
            "CREATE SCHEMA {0}",
            "CREATE TABLE {0}.{0} ({0} serial PRIMARY KEY)",
            "INSERT INTO {0}.{0} SELECT generate_series(1, 10)",
            "CREATE VIEW {0}.{1} AS SELECT {0} AS {1} FROM {0}.{0}",
            "CREATE FUNCTION {0}.{0}({0} int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "COMMENT ON TABLE {0}.{0} IS 'named'",
        ):
            connection.execute(sql.SQL(statement).format(sql.Identifier(name), sql.Identifier("v" + name[:62])))
        taken = roundtrip.dump(pair.production, name, tmp_path / "dump")
        assert taken.evidence.database == name
        assert [(table.schema, table.name, table.rows) for table in taken.evidence.tables] == [(name, name, 10)]
        with restored(pair.target, taken) as errors:
            assert not errors.issues
            assert not alarms(compared(pair.target, taken.evidence))
    assert not Path("/tmp/evil").exists()


def test_the_environment_leads_nowhere_else(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in {
        "PGHOST": "evil.example",
        "PGHOSTADDR": "192.0.2.1",
        "PGPORT": "1",
        "PGDATABASE": "evil",
        "PGUSER": "evil",
        "PGOPTIONS": "-c default_transaction_read_only=on -c search_path=evil",
        "PGAPPNAME": "evil",
    }.items():
        monkeypatch.setenv(variable, value)
    with open_connection(postgres.login(), application_name="ours") as connection:
        row = connection.execute(
            "SELECT current_database(), current_user, current_setting('application_name'), inet_server_addr()"
        ).fetchone()
        assert row == ("postgres", "postgres", "ours", None)
        assert connection.execute("SHOW search_path").fetchone() == ("pg_catalog",)

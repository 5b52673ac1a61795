# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Law 3 with the real pg_cron: a job of production's that is due whenever a server starts never runs on the one that was recovered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.leaks import eventually
from support.parts import require
from support.pitr import Production

pytestmark = pytest.mark.needs("postgresql:15", "extension:15/pg_cron", "program:age", "program:zstd")

# It counts its runs, and would tell production of each.
JOB = """
CREATE EXTENSION pg_cron;
CREATE EXTENSION dblink;
CREATE TABLE runs (at timestamptz DEFAULT now());
CREATE TABLE told (at timestamptz DEFAULT now());
SELECT cron.schedule('whenever a server starts', '@reboot', $job$
    INSERT INTO public.runs DEFAULT VALUES;
    SELECT public.dblink_exec('host=@SOCKET@ port=@PORT@ user=postgres dbname=postgres', 'INSERT INTO public.told DEFAULT VALUES') $job$);
"""


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    require("program:age", "program:zstd")
    cron = {"shared_preload_libraries": "pg_cron", "cron.use_background_workers": "on", "max_worker_processes": "20"}
    shop = Production(15, tmp_path_factory.mktemp("keys"), **cron)
    server = shop.server
    try:
        shop.query("ALTER SYSTEM SET shared_preload_libraries = 'pg_cron'")
        server.execute(JOB.replace("@SOCKET@", str(server.socket_dir)).replace("@PORT@", str(server.port)))
        server.halt()
        server.start()
        # So the job works, and does what it is there for: on production. It tells before it has committed what it did itself.
        done = "SELECT count(*) FROM cron.job_run_details WHERE status = 'succeeded'"
        eventually(lambda: shop.query(done) == 1, "production's job has run, and that is noted")
        assert (shop.query("SELECT count(*) FROM runs"), shop.query("SELECT count(*) FROM told")) == (1, 1)
        shop.archive()
        shop.back_up()
        shop.query("CREATE TABLE later ()")
        shop.archive()
        yield shop
    finally:
        shop.stop()


def asked(query: str, expected: Any) -> dict[str, Any]:
    return {"sql": {"query": query, "expect": expected}}


@pytest.mark.parametrize("libraries", [[], ["pg_cron"]], ids=["as it is", "with its library, by name"])
def test_a_job_that_is_due_never_runs_on_a_recovered_server(production: Production, work_dir: Path, libraries: list[str]) -> None:
    checks = [
        asked("SELECT count(*) FROM cron.job WHERE active", 1),
        asked("SELECT current_setting('shared_preload_libraries')", ",".join(libraries)),
        # Time enough for a job that would run; without its library there is nobody who could. Asked for afterwards, in a
        # transaction of its own, since the server starts its launcher beside everything else.
        asked("SELECT count(*) FROM pg_sleep(5)", 1),
        asked("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_cron launcher'", len(libraries)),
        asked("SELECT count(*) FROM runs", 1),
        asked("SELECT count(*) FROM cron.job_run_details", 1),
    ]
    report = production.drill(work_dir, checks=checks, preload_libraries=libraries)
    assert report["verdict"] == "passed", (report["reason"], report["checks"])
    assert report["isolation"]["isolated"]
    assert production.query("SELECT count(*) FROM told") == 1


def test_a_library_that_is_not_installed_here_is_named_and_says_nothing_about_the_backup(production: Production, work_dir: Path) -> None:
    report = production.drill(work_dir, preload_libraries=["of_production_only"])
    assert report["verdict"] == "unverified"
    assert "library 'of_production_only' of preload_libraries is not installed on this host" in report["reason"]

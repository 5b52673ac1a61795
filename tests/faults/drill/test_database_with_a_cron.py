# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Law 3 with the real pg_cron, which has to be loaded where its extension is restored: its jobs are there, and do not run."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.clusters import Server
from support.drills import back_up

SCHEMA = """
CREATE EXTENSION pg_cron;
CREATE TABLE runs (at timestamptz DEFAULT now());
SELECT cron.schedule('whenever a server starts', '@reboot', 'INSERT INTO public.runs DEFAULT VALUES');
SELECT cron.schedule('all the time', '* * * * *', 'INSERT INTO public.runs DEFAULT VALUES');
"""


@pytest.mark.needs("postgresql:15", "extension:15/pg_cron", "program:age", "program:zstd")
def test_jobs_of_a_restored_database_are_there_and_do_not_run(work_dir: Path, tmp_path: Path) -> None:
    # On production they cannot run either, so that the number of runs says something.
    cron = {"shared_preload_libraries": "pg_cron", "cron.database_name": "shop", "cron.host": "/nonexistent", "cron.log_run": "off"}
    with Server(15, cron) as server, server.database("shop"):
        server.execute(SCHEMA, "shop")
        shop = back_up(server, "shop", tmp_path)
        jobs = "SELECT count(*) FROM cron.job, pg_sleep(2) WHERE active"
        checks = [{"sql": {"query": jobs, "expect": 2}}, {"sql": {"query": "SELECT count(*) FROM runs", "expect": 0}}]
        report = shop.drill(work_dir, checks=checks)
    assert report["verdict"] == "passed", (report["reason"], report["checks"])
    assert report["settings"]["cron.database_name"] == "shop"

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A drill ends, whatever a restored database does to make it wait; nothing of it is left, and it has not passed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from support.clusters import Server
from support.drills import back_up, work_dir

__all__ = ["work_dir"]

# In production it is patient: it waits where somebody restores it. Once it is told to stop, it goes on.
WAITING = """
CREATE FUNCTION wait() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('data_directory') LIKE '%/drill-%' THEN
        LOOP
            BEGIN
                PERFORM pg_sleep(3600);
            EXCEPTION WHEN OTHERS OR query_canceled THEN
                NULL;
            END;
        END LOOP;
    END IF;
    RETURN 1;
END $$;
CREATE TABLE orders AS SELECT 1 AS id;
"""


@pytest.mark.parametrize("where", ["restore", "checks"])
def test_a_function_that_waits_for_ever_ends_with_the_drill(where: str, postgres18: Server, work_dir: Path, tmp_path: Path) -> None:
    with postgres18.database() as name:
        postgres18.execute(WAITING, name)
        if where == "restore":
            postgres18.execute("CREATE MATERIALIZED VIEW trap AS SELECT public.wait()", name)
        taken = back_up(postgres18, name, tmp_path)
        checks = [{"sql": {"name": "trap", "query": "SELECT public.wait()", "expect": 1}}] if where == "checks" else []
        for seconds in (6, 60, 300):  # the longer ones where a busy machine does not get so far in the shortest
            began = time.monotonic()
            report = taken.drill(work_dir, timeout=f"{seconds}s", checks=checks)
            assert time.monotonic() - began < seconds + 120
            assert report["verdict"] == "unverified"
            if f"during {where}" in report["reason"]:
                break
    assert report["reason"].startswith(f"the drill did not end within its timeout of {seconds} s and was ended (during {where})")
    assert report["teardown"]["complete"]
    assert report["verified_seconds"] is None

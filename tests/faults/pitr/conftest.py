# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A place for drills, and one shop with its archive, which tests copy before they break it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from support.drills import work_dir
from support.parts import require
from support.pitr import Production

__all__ = ["Shop", "shop", "work_dir"]


@dataclass
class Shop:
    """Order n lies in segment n of `names`; `moments[n]` is between the orders n and n + 1."""

    production: Production
    base: str
    names: list[str]
    moments: list[dt.datetime]
    before_base: dt.datetime
    lsn_before_base: str


@pytest.fixture(scope="package")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    require("postgresql:18", "program:age", "program:zstd")
    production = Production(18, tmp_path_factory.mktemp("keys"))
    try:
        production.query("CREATE TABLE orders (id int PRIMARY KEY)")
        # What production would do, and a drill must not.
        production.query("ALTER SYSTEM SET archive_command = 'touch /nonexistent/of-production'")
        production.query("ALTER SYSTEM SET shared_preload_libraries = 'pg_cron_of_production'")
        production.query("ALTER SYSTEM SET primary_conninfo = 'host=production.invalid'")
        production.query("ALTER SYSTEM SET recovery_target_name = 'of production'")
        production.archive()
        before, lsn = production.moment(), production.query("SELECT pg_current_wal_insert_lsn()::text")
        base = production.back_up()
        names, moments = [], []
        for number in range(5):
            production.query(f"INSERT INTO orders VALUES ({number})")
            moments.append(production.moment())
            names.append(production.archive())
        yield Shop(production, base, names, moments, before, lsn)
    finally:
        production.stop()

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A place for drills, and one backed-up shop that tests copy before they break it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.clusters import Server, postgres15, postgres18
from support.drills import BackedUp, back_up, work_dir

__all__ = ["postgres15", "postgres18", "shop", "work_dir"]

SHOP = """
CREATE TABLE orders (id bigserial PRIMARY KEY, total_cents integer NOT NULL, note text);
INSERT INTO orders (total_cents, note) SELECT n, md5(n::text) || md5((n * 7)::text) FROM generate_series(1, 40000) n;
"""


@pytest.fixture(scope="package")
def shop(postgres18: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackedUp]:
    """A signed backup in several volumes."""
    with postgres18.database() as name:
        postgres18.execute(SHOP, name)
        yield back_up(postgres18, name, tmp_path_factory.mktemp("shop"), volume_size="256KiB")

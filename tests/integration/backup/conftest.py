# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A database worth backing up, keys, and two places to put it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.clusters import Server
from support.logical import Identity, new_identity, options, posix

SHOP = """
CREATE TABLE orders (id bigserial PRIMARY KEY, total_cents integer NOT NULL, note text);
INSERT INTO orders (total_cents, note) SELECT n, md5(n::text) FROM generate_series(1, 20000) n;
CREATE TABLE "odd ""name"" $(x)" (v text); INSERT INTO "odd ""name"" $(x)" VALUES ('a'), (NULL);
CREATE VIEW turnover AS SELECT sum(total_cents) AS cents FROM orders;
SELECT lo_from_bytea(0, 'large object');
"""


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return new_identity(tmp_path / "identity.txt")


@pytest.fixture
def places(tmp_path: Path) -> dict[str, dict[str, Any]]:
    """Two directories as repositories."""
    return {"here": posix(tmp_path / "here"), "offsite": posix(tmp_path / "offsite")}


@pytest.fixture
def shop(postgres: Server) -> Iterator[str]:
    """A small shop on each of the servers in turn."""
    with postgres.database() as name:
        postgres.execute(SHOP, name)
        yield name


@pytest.fixture
def given(postgres: Server, shop: str, places: dict[str, Any], identity: Identity, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """The module's options for a backup of the shop; keywords override."""

    def build(**more: Any) -> dict[str, Any]:
        return {**options(postgres, shop, places, identity, tmp_path / "locks"), **more}

    return build

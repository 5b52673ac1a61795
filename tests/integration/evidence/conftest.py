# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Production and a throwaway target of the same major version, for evidence that goes through a dump."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.clusters import Server
from support.roundtrip import Pair


@pytest.fixture(scope="session", params=[15, 18], ids=["pg15", "pg18"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    production = request.getfixturevalue(f"postgres{request.param}")
    with Server(request.param) as target:
        yield Pair(production, target)

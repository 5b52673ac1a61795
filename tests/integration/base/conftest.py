# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers that archive, one of each major version for a file of tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.bases import Production, produced


@pytest.fixture(scope="module")
def production18(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    with produced(18, tmp_path_factory.mktemp("base18")) as found:
        yield found


@pytest.fixture(scope="module")
def production15(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    with produced(15, tmp_path_factory.mktemp("base15")) as found:
        yield found


@pytest.fixture(params=[15, 18], ids=["pg15", "pg18"])
def production(request: pytest.FixtureRequest) -> Production:
    """Each of the two in turn."""
    found: Production = request.getfixturevalue(f"production{request.param}")
    return found

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers to be configured: one that archives nothing, and one that would archive if it were told how."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.clusters import Server
from support.wal_config import Configured


@pytest.fixture(scope="module", params=[15, 18], ids=["pg15", "pg18"])
def running(request: pytest.FixtureRequest) -> Iterator[Configured]:
    """A server of each version that archives nothing."""
    with Server(request.param) as server:
        yield Configured(server)


@pytest.fixture
def pg(running: Configured) -> Iterator[Configured]:
    """The same for one test, and clean after it."""
    yield running
    running.clean()


@pytest.fixture(scope="module", params=[15, 18], ids=["pg15", "pg18"])
def archiving(request: pytest.FixtureRequest) -> Iterator[Configured]:
    """A server of each version with archive_mode on, by its configuration file, and no command."""
    with Server(request.param, initdb=("--wal-segsize=1",)) as server:
        configured = Configured(server)
        configured.main += "archive_mode = on\n"
        configured.clean()
        server.halt()
        server.start()
        yield configured


@pytest.fixture
def archiver(archiving: Configured) -> Iterator[Configured]:
    yield archiving
    archiving.clean()

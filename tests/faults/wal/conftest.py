# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the fault tests of the WAL archive share: real files, keys, and stores with a proxy before them."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.logical import Identity, new_identity
from support.store_fixtures import bucket, proxy, short_pauses
from support.wal import Place, archive_place, wal15, wal18

__all__ = ["bucket", "proxy", "short_pauses", "wal15", "wal18"]


@pytest.fixture
def keys(tmp_path: Path) -> Identity:
    return new_identity(tmp_path / "identity.txt")


@pytest.fixture
def place() -> Place:
    return archive_place()

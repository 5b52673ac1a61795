# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A database to reach, and the options of a backup of it that say everything but the way to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.logical import new_identity, posix


@pytest.fixture
def asked(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Options of `pg_logical_backup`, to which a test adds the way to the server."""
    identity = new_identity(tmp_path / "identity.txt")

    def build(**way: Any) -> dict[str, Any]:
        return {
            "system": "shop",
            "repositories": {"here": posix(tmp_path / "here")},
            "encryption": {"method": "age", "recipients": [identity.recipient]},
            "lock_dir": str(tmp_path / "locks"),
            **way,
        }

    return build

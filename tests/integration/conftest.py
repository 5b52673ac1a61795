# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers that every integration test may ask for; each starts once, when the first test wants it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup import lock
from support.clusters import postgres, postgres15, postgres18
from support.roundtrip import pair

__all__ = ["own_locks", "pair", "postgres", "postgres15", "postgres18"]


@pytest.fixture(scope="session", autouse=True)
def own_locks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Who names no lock_dir gets one of these tests' own: other tests run beside them, and their system is called `shop`, too."""
    folder = tmp_path_factory.mktemp("locks")
    folder.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lock, "default_lock_dir", lambda: folder)
        yield

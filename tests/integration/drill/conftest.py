# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A place for drills, and a throwaway server of each major version."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.target import Target
from support.drills import throwaway, work_dir

__all__ = ["new_target", "work_dir"]


@pytest.fixture
def new_target(work_dir: Path) -> Iterator[Callable[..., Target]]:
    """A started throwaway server: `new_target(major, **plan options)`; torn down after the test."""
    with ExitStack() as stack:
        yield lambda major, **more: stack.enter_context(throwaway(work_dir, major, **more))

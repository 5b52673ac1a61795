# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A place for drills: short, since the path of a Unix socket has 107 bytes."""

from __future__ import annotations

from support.drills import work_dir

__all__ = ["work_dir"]

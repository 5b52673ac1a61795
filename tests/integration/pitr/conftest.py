# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A place for drills."""

from __future__ import annotations

from support.drills import work_dir

__all__ = ["work_dir"]

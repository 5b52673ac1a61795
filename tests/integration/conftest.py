# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers that every integration test may ask for; each starts once, when the first test wants it."""

from __future__ import annotations

from support.clusters import postgres, postgres15, postgres18
from support.roundtrip import pair

__all__ = ["pair", "postgres", "postgres15", "postgres18"]

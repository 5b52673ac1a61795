# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers and stores that fault tests may ask for."""

from __future__ import annotations

from support.clusters import postgres, postgres15, postgres18
from support.store_fixtures import no_ambient_aws, rclone_bucket, rclone_server, versity_bucket, versity_server

__all__ = ["no_ambient_aws", "postgres", "postgres15", "postgres18", "rclone_bucket", "rclone_server", "versity_bucket", "versity_server"]

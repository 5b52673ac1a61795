# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from support.store_fixtures import no_ambient_aws, rclone_bucket, rclone_server

__all__ = ["no_ambient_aws", "rclone_bucket", "rclone_server"]

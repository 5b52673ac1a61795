# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sign of life to a dead man's switch: a service that alerts when it hears nothing, whatever broke, the host included.

A GET of the URL says that the job succeeded, a GET of the URL with `/fail` that it did not, as Healthchecks and those that
followed it understand it. The URL is a secret: who has it can keep the switch quiet.
"""

from __future__ import annotations

from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils.jobs.secret_url import request

__all__ = ["ping"]

_ATTEMPTS = 3
_TIMEOUT_SECONDS = 10.0


def ping(url_file: Path, succeeded: bool, timeout_seconds: float = _TIMEOUT_SECONDS) -> str:
    """Tell the switch; what went wrong with that, or "". Never raises: a switch that is not reached alerts by itself."""
    return request(url_file, timeout_seconds, suffix="" if succeeded else "/fail", attempts=_ATTEMPTS)

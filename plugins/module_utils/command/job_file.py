# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file that says of what the command speaks: JSON with the options of a module, no secret among them."""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError

__all__ = ["read_job"]


def read_job(path: str | None, default: str) -> dict[str, Any]:
    """The options in the file that was named, or in the usual one; raises `ConfigurationError`."""
    given = default if path is None else path
    try:
        with open(given, encoding="utf-8") as stream:
            job = json.load(stream)
    except OSError as error:
        hint = "Name it: lifeboat -c FILE …" if path is None else ""
        raise ConfigurationError(f"the job file cannot be read: {error.strerror}", given, hint) from None
    except ValueError:  # not JSON, or not UTF-8
        raise ConfigurationError("the job file is not JSON", given) from None
    if not isinstance(job, dict):
        raise ConfigurationError("the job file is not a JSON object", given)
    return job

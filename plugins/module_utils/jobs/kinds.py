# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job can be: a static registry of kinds, each a function that takes options and gives a result. Loaded when it is run."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError

__all__ = ["KINDS", "function_of"]

_LIBRARY = "ansible_collections.lifeboat.postgres.plugins.module_utils"

KINDS: Mapping[str, str] = {
    "logical": "backup.run:run",
    "base": "backup.physical_run:run",
    "copy": "copies.run:run",
    "prune": "prune.run:run",
    "keys": "keys.run:run",
    "verify": "jobs.errands:verify",
    "drill": "drill.run:run",
    "reap": "drill.reap:run",
    "heartbeat": "jobs.errands:heartbeat",
    "catch-up": "jobs.errands:catch_up",
    "freshness": "monitoring.freshness:run",
}
"""Kind to "module:function"; the options are those of the Ansible module of the same purpose."""


def function_of(kind: str) -> Callable[[Mapping[str, Any], Callable[[str], None]], Mapping[str, Any]]:
    """The function of a kind, to be called with options and with where it tells its progress."""
    module, _colon, name = KINDS[kind].partition(":")
    try:
        function = getattr(importlib.import_module(f"{_LIBRARY}.{module}"), name)
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith(_LIBRARY):
            raise
        raise ConfigurationError(f"this version runs no job of kind {kind}", "kind", "Install a newer lifeboat.postgres.") from None
    tells = "progress" in inspect.signature(function).parameters

    def call(given: Mapping[str, Any], progress: Callable[[str], None]) -> Mapping[str, Any]:
        result: Mapping[str, Any] = function(given, progress=progress) if tells else function(given)
        return result

    return call

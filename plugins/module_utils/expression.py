# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""JMESPath, the query language that Ansible's `json_query` speaks, over plain JSON data."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import deps
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError

__all__ = ["check", "search"]


def check(expression: str, where: str) -> None:
    """Raises `ConfigurationError` when the expression is not well formed, `MissingTool` without the library."""
    _evaluate(lambda jmespath: jmespath.compile(expression), where)


def search(expression: str, data: Any, where: str) -> Any:
    """What the expression finds in the data; raises `ConfigurationError` for a mistake in it, `MissingTool`."""
    return _evaluate(lambda jmespath: jmespath.search(expression, data), where)


def _evaluate(ask: Callable[[ModuleType], Any], where: str) -> Any:
    jmespath = deps.load("jmespath", debian="python3-jmespath")
    try:
        return ask(jmespath)
    except jmespath.exceptions.JMESPathError as error:
        said = " ".join(str(error).split())
        raise ConfigurationError(f"the JMESPath expression cannot be evaluated: {said}", where, "See https://jmespath.org.") from None

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""JMESPath, the query language that Ansible's `json_query` speaks, over plain JSON data."""

from __future__ import annotations

from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import deps
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError

__all__ = ["search"]


def search(expression: str, data: Any, where: str) -> Any:
    """What the expression finds in the data; raises `ConfigurationError` for a mistake in it, `MissingTool`."""
    jmespath = deps.load("jmespath", debian="python3-jmespath")
    try:
        return jmespath.search(expression, data)
    except jmespath.exceptions.JMESPathError as error:
        said = " ".join(str(error).split())
        raise ConfigurationError(f"the JMESPath expression cannot be evaluated: {said}", where, "See https://jmespath.org.") from None

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a repository's options to the repository. The registry is static: inside a module nothing is discovered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.posix import open_posix, validate_posix
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3 import open_s3, validate_s3
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.terms import terms_of

__all__ = ["TYPES", "open_repository", "validate"]

_REGISTRY: dict[str, tuple[Callable[[str, Mapping[str, Any]], object], Callable[[str, Mapping[str, Any], bool], Repository]]] = {
    "posix": (validate_posix, open_posix),
    "s3": (validate_s3, open_s3),
}

TYPES = tuple(_REGISTRY)


def validate(name: str, spec: Mapping[str, Any]) -> None:
    """Check every option of a repository without touching it; raises `ConfigurationError` naming repository and option."""
    _REGISTRY[_type_of(name, spec)][0](name, spec)


def open_repository(name: str, spec: Mapping[str, Any], read_only: bool = False) -> Repository:
    """The repository of these options; its place is first touched by the first call.

    `read_only`: refuse to write, and answer `can_write` with False where nothing but this machine could write (posix).
    Raises `ConfigurationError`.
    """
    return _REGISTRY[_type_of(name, spec)][1](name, spec, read_only)


def _type_of(name: str, spec: Mapping[str, Any]) -> str:
    where = f"repository {name!r}"
    options.mapping({"repository": spec}, "repository", where)
    kind: str = options.choice(spec, "type", where, TYPES)
    terms_of(name, spec)
    return kind

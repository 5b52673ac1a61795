# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a drill restores to: PostgreSQL of this host, of an image, or of a service's image in a Compose project. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError

__all__ = ["AUTO", "COMPOSE", "CONTAINER", "ENGINES", "LOCAL", "TYPES", "Throwaway"]

LOCAL, CONTAINER, COMPOSE = TYPES = ("local", "container", "compose")
AUTO, PODMAN, DOCKER = ENGINES = ("auto", "podman", "docker")

_OF_TYPE = {"engine": CONTAINER, "image": CONTAINER, "service": COMPOSE, "project_directory": COMPOSE, "files": COMPOSE}


@dataclass(frozen=True)
class Throwaway:
    """`engine` and `image` are a container's; `service` and where its Compose file is, a project's."""

    type: str = LOCAL
    engine: str = AUTO
    image: str = ""
    service: str = ""
    project_directory: str = ""
    files: tuple[str, ...] = ()

    @classmethod
    def from_options(cls, given: Mapping[str, Any], where: str) -> Throwaway:
        """Read the option `throwaway`; raises `ConfigurationError`."""
        given = {key: value for key, value in given.items() if value is not None}
        options.unknown_keys(given, ("type", *_OF_TYPE), where)
        kind = options.choice(given, "type", where, TYPES, LOCAL)
        for key, wanted in _OF_TYPE.items():
            if key in given and kind != wanted:
                raise ConfigurationError(
                    f"{key} is for type {wanted}, and the type is {kind}", where, f"Say type: {wanted}, or leave it out."
                )
        if kind == LOCAL:
            return cls()
        if kind == CONTAINER:
            image = _word(given, "image", where)
            return cls(kind, options.choice(given, "engine", where, ENGINES, AUTO), image)
        directory = options.path(given, "project_directory", where, absolute=True)
        files = tuple(os.path.expanduser(file) for file in options.texts(given, "files", where, ()))
        if directory is None and not files:
            raise ConfigurationError("where the Compose file is, is not said", where, "Give project_directory, or files.")
        for file in files:
            if not os.path.isabs(file):
                raise ConfigurationError(f"files: expected an absolute path, found {file!r}", where, "Give the whole path.")
        return cls(kind, DOCKER, "", _word(given, "service", where), "" if directory is None else str(directory), files)


def _word(given: Mapping[str, Any], key: str, where: str) -> str:
    """A name that becomes an argument of a program."""
    word: str = options.text(given, key, where)
    if word.startswith("-") or word != "".join(word.split()):
        raise ConfigurationError(f"{key}: {word!r} cannot be a name", where, "It has no spaces, and begins with no dash.")
    return word

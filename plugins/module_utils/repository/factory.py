# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a repository's options to the repository. The registry is static: inside a module nothing is discovered.

A type's own file is loaded when a repository is of that type.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.terms import terms_of

__all__ = ["TYPES", "open_repository", "validate"]

TYPES = ("posix", "s3", "sftp", "rclone")


def validate(name: str, spec: Mapping[str, Any]) -> None:
    """Check every option of a repository without touching it; raises `ConfigurationError` naming repository and option."""
    kind = _type_of(name, spec)
    if kind == "posix":
        from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.posix import validate_posix

        validate_posix(name, spec)
    elif kind == "s3":
        from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_options import parse_s3

        parse_s3(name, spec)
    elif kind == "sftp":
        from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_options import parse_sftp

        parse_sftp(name, spec)
    else:
        from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.rclone_options import parse_rclone

        parse_rclone(name, spec)


def open_repository(name: str, spec: Mapping[str, Any], read_only: bool = False) -> Repository:
    """The repository of these options; its place is first touched by the first call.

    `read_only`: refuse to write, and answer `can_write` with False where nothing but this machine could write (posix).
    Raises `ConfigurationError`.
    """
    kind = _type_of(name, spec)
    if kind == "posix":
        from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.posix import open_posix

        return open_posix(name, spec, read_only)
    if kind == "s3":
        from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3 import open_s3

        return open_s3(name, spec, read_only)
    if kind == "sftp":
        from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp import open_sftp

        return open_sftp(name, spec, read_only)
    from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.rclone import open_rclone

    return open_rclone(name, spec, read_only)


def _type_of(name: str, spec: Mapping[str, Any]) -> str:
    where = f"repository {name!r}"
    options.mapping({"repository": spec}, "repository", where)
    kind: str = options.choice(spec, "type", where, TYPES)
    terms_of(name, spec)
    return kind

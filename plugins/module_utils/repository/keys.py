# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which keys a repository takes and shows; the same in every kind, so that each backup can be copied to each."""

from __future__ import annotations

import secrets

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import UnsafeName
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import check_key

__all__ = ["check_object_key", "check_prefix", "is_foreign", "probe_key"]


def check_object_key(key: str) -> str:
    """The key itself when it is safe; raises `UnsafeName`.

    Beyond `check_key`, a leading dot is reserved in every component: unfinished uploads have one (ours in a directory,
    rclone's in a bucket), and so have the file system's own names (`.snapshot`, `.nfs…`).
    """
    if any(is_foreign(component) for component in check_key(key).split("/")):
        raise UnsafeName(f"{key!r} is not a safe key", next_step="A leading dot is reserved; nothing was read or written.")
    return key


def check_prefix(prefix: str) -> str:
    """The same for a prefix of a listing: empty, or a key that may stop in the middle of a component or after a slash."""
    if prefix:
        check_key(prefix.removesuffix("/"))
    return prefix


def is_foreign(name: str) -> bool:
    """Whether one component can be no part of a key, so that listing passes it by."""
    return name.startswith(".") or not name.isprintable() or "\\" in name


def probe_key(prefix: str) -> str:
    """A new key below `prefix` for trying something out."""
    return f"{prefix.rstrip('/')}/probe-{secrets.token_hex(8)}".lstrip("/")

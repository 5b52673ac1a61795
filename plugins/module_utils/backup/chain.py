# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A chain of base backups: a full one and the incremental ones that build on it. One unit: without its parents, a link is nothing. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ManifestError
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import BackupRef, moment_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest

__all__ = ["LONGEST", "chain_of", "parent_ref"]

LONGEST = 1000
"""No chain has more links; what seems to, goes round in a circle."""


def parent_ref(manifest: Manifest) -> BackupRef | None:
    """What a backup builds on, or None for one that stands alone."""
    return dataclasses.replace(manifest.ref, backup_id=manifest.parent) if manifest.parent else None


def chain_of(manifest: Manifest, find: Callable[[BackupRef], Manifest | None]) -> list[Manifest]:
    """All that is needed to restore this backup, oldest first, itself last; `find` gives the manifest of a ref, None when there is none.

    Raises `ManifestError` that names the link that is missing or does not belong there.
    """
    links = [manifest]
    while (ref := parent_ref(links[-1])) is not None:
        what = f"backup {manifest.backup_id} builds on {ref.backup_id}"
        if len(links) >= LONGEST or moment_of(ref.backup_id) > moment_of(links[-1].backup_id):
            raise ManifestError(f"{what}, which is not older than what builds on it", f"{ref.kind}/{ref.name}")
        parent = find(ref)
        if parent is None:
            raise ManifestError(f"{what}, which is not there", f"{ref.kind}/{ref.name}", "Without it this one is nothing.")
        if parent.system_identifier != links[-1].system_identifier:
            raise ManifestError(f"{what}, which is of another server", f"{ref.kind}/{ref.name}")
        links.append(parent)
    return links[::-1]

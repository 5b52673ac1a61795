# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which artifacts without a manifest are the remains of a killed run, and which a sign that the listing is not to be believed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence

from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import RetentionRefused
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.doubts import Doubt
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.look import Orphan
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import many

__all__ = ["many_orphans", "old_orphans", "require_listed"]

_FEW = 3


def old_orphans(orphans: Iterable[Orphan], grace_seconds: float, store_now: dt.datetime, now: dt.datetime) -> list[Orphan]:
    """Those that nobody can be writing any more: by the store's dates, and by their names, whatever the store's dates say."""
    grace = dt.timedelta(seconds=grace_seconds)
    return [
        orphan
        for orphan in orphans
        if orphan.newest is not None and store_now - orphan.newest > grace and now - layout.moment_of(orphan.ref.backup_id) > grace
    ]


def many_orphans(orphans: Sequence[Orphan], there: int) -> list[Doubt]:
    """A doubt where so much lies without a manifest that manifests may be gone. Pure."""
    if len(orphans) <= max(_FEW, there / 2):
        return []
    return [Doubt("orphans", f"{many(len(orphans), 'folder')} without a manifest, beside {many(there, 'backup')}: are manifests gone?")]


def require_listed(repository: Repository, orphans: Iterable[Orphan], began: dt.datetime) -> None:
    """Ask for the manifests of what seems to have none: a listing that ends early makes orphans of all that it leaves out.

    Raises `RetentionRefused`. One that was finished since the listing `began` is no fault of it.
    """
    for orphan in orphans:
        info = repository.stat(layout.manifest_key(orphan.ref))
        if info is not None and (info.modified is None or info.modified < began - dt.timedelta(minutes=1)):
            raise RetentionRefused(
                f"backup {orphan.ref.backup_id} of {orphan.ref.kind}/{orphan.ref.name} was not listed and exists",
                f"repository {repository.name!r}",
                "The listing cannot be believed; look at the store.",
            )

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys never rest where data rests (law 4): a vault that is the store under another name is refused, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.place import overlap, place_of, same_disk

__all__ = ["require_apart"]


def require_apart(
    vaults: Mapping[str, Mapping[str, Any]], stores: Mapping[str, Mapping[str, Any]], what: str = "data repository"
) -> list[str]:
    """Compare every key repository with every data repository; return what is allowed and unwise, as sentences.

    Raises `ConfigurationError` when two share an account, a bucket, a directory or a credential, whatever they are called.
    """
    notes = []
    places = {name: place_of(name, spec) for name, spec in stores.items()}
    for vault, spec in vaults.items():
        place = place_of(vault, spec)
        for store, other in places.items():
            shared = overlap(place, other)
            if shared:
                raise ConfigurationError(
                    f"key repository {vault!r} and {what} {store!r} are not apart: {shared}",
                    "law 4: keys never rest where data rests",
                    "Give the keys a place and a credential of their own.",
                )
            if same_disk(place, other):
                notes.append(f"key repository {vault!r} lies on the same disk as {what} {store!r}: one broken disk takes both")
    return notes

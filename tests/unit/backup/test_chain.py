# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A chain is found from its newest link back to the full backup, or refused by name."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.chain import chain_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ManifestError
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest
from support.backups import manifest_for, new_ref


def link(number: int, parent: str = "", cluster: str = "7") -> Manifest:
    ref = dataclasses.replace(new_ref(kind="base", name="cluster"), backup_id=backup_id(number))
    return dataclasses.replace(manifest_for(ref)((), {}), parent=parent, system_identifier=cluster)


def backup_id(number: int) -> str:
    return f"202611{number:02d}T000000Z-{number:08x}"


def test_a_chain_is_given_oldest_first() -> None:
    links = [link(1), link(2, backup_id(1)), link(3, backup_id(2))]
    known = {one.ref: one for one in links}
    assert chain_of(links[2], known.get) == links
    assert chain_of(links[0], known.get) == links[:1]


@pytest.mark.parametrize(
    ("links", "says"),
    [
        ([link(2, backup_id(1))], "builds on 20261101T000000Z-00000001, which is not there"),
        ([link(1, cluster="8"), link(2, backup_id(1))], "which is of another server"),
        ([link(1, backup_id(2)), link(2, backup_id(1))], "which is not older than what builds on it"),
        ([link(2, backup_id(2))], "which is not older|goes round"),
    ],
)
def test_a_chain_that_is_none_is_refused_by_name(links: list[Manifest], says: str) -> None:
    known = {one.ref: one for one in links}
    with pytest.raises(ManifestError, match=says):
        chain_of(links[-1], known.get)

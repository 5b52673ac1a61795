# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which keys a repository takes."""

from __future__ import annotations

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import UnsafeName
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.keys import check_object_key, check_prefix, is_foreign, probe_key
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize("key", [".hidden", "a/.lifeboat-unfinished-0", "a/.nfs000/b", "..", "a/..", "a//b", "a\u0085b", "\u2028"])
def test_refuses_hidden_and_unprintable_names(key: str) -> None:
    with pytest.raises(UnsafeName):
        check_object_key(key)


@given(st.text(min_size=1, max_size=60), st.text(min_size=1, max_size=60), st.text(min_size=1, max_size=60))
def test_takes_whatever_the_layout_makes_of_any_name(system: str, name: str, artifact: str) -> None:
    try:
        ref = layout.BackupRef(system, "database", name, "20261121T031500Z-1a2b3c4d")
        keys = [layout.manifest_key(ref), layout.artifact_key(ref, artifact)]
    except UnicodeEncodeError:
        return  # a lone surrogate, which no PostgreSQL name holds
    for key in keys:
        if len(key) <= 900:
            assert check_object_key(key) == key


@pytest.mark.parametrize("prefix", ["", "shop", "shop/", "shop/manifests/database/sh"])
def test_takes_a_prefix_that_stops_anywhere(prefix: str) -> None:
    assert check_prefix(prefix) == prefix


@pytest.mark.parametrize("prefix", ["/", "../", "a/../", "a//", "/etc"])
def test_refuses_a_prefix_that_leads_elsewhere(prefix: str) -> None:
    with pytest.raises(UnsafeName):
        check_prefix(prefix)


def test_passes_foreign_names_by() -> None:
    assert [name for name in (".snapshot", "a", "b\nc", "d\\e", "\udcff", "ü") if not is_foreign(name)] == ["a", "ü"]


def test_makes_probe_keys_that_never_meet() -> None:
    assert probe_key("shop/probe/").startswith("shop/probe/probe-")
    assert probe_key("").startswith("probe-")
    assert len({probe_key("p") for _ in range(100)}) == 100

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps a drill from beginning, each guard on both sides of its line."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill import guard
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.plan import DrillPlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, DrillRefused, ManifestError
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import host_id, host_name
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.signature import sign
from support.backups import manifest_for, new_ref
from support.keys import ssh_pair


@pytest.fixture
def manifest() -> Manifest:
    """A backup that another host took."""
    return manifest_for(new_ref())([], {})


def plan(work_dir: Path) -> DrillPlan:
    return DrillPlan("shop", "shop", {}, "/identity", work_dir=work_dir)


# Asked for in the test: what a name service answers is no part of a test's name, which every process has to know alike.
NAMES: Mapping[str, Callable[[], str]] = {
    "its name": host_name,
    "its name in capitals": lambda: host_name().upper(),
    "its whole name": socket.getfqdn,
    **{name: lambda name=name: name for name in ("localhost", "127.0.0.1", "127.8.9.10", "::1")},  # type: ignore[misc]
}


@pytest.mark.parametrize("name", NAMES)
def test_a_production_host_by_name_or_address_is_refused(name: str) -> None:
    with pytest.raises(DrillRefused, match="this is the production host"):
        guard.check_production(["db.invalid", NAMES[name]()])


def test_a_host_of_another_address_is_no_production_host() -> None:
    assert guard.check_production(["192.0.2.7", "2001:db8::7"]) == []


def test_a_production_host_that_does_not_resolve_is_said() -> None:
    assert "by its name only" in guard.check_production(["db.invalid"])[0]


def test_the_host_that_took_the_backup_is_refused(manifest: Manifest) -> None:
    guard.check_same_host(manifest)
    with pytest.raises(DrillRefused, match="this host took the backup"):
        guard.check_same_host(dataclasses.replace(manifest, host_id=host_id()) if host_id() else manifest)
    with pytest.raises(DrillRefused, match="this host took the backup"):
        guard.check_same_host(dataclasses.replace(manifest, host_id="", host_name=host_name()))


def test_a_manifest_must_be_signed_by_an_allowed_key(manifest: Manifest, tmp_path: Path) -> None:
    ours, other = ssh_pair(tmp_path / "ours"), ssh_pair(tmp_path / "other")
    signed = dataclasses.replace(manifest, signature=sign(manifest.signed_bytes(), ours.path))
    guard.check_signature(signed, [other.public, ours.public])
    with pytest.raises(ManifestError, match="not among the allowed"):
        guard.check_signature(signed, [other.public])
    with pytest.raises(ManifestError, match="does not hold"):
        guard.check_signature(dataclasses.replace(signed, plain_bytes=7), [ours.public])
    with pytest.raises(ManifestError, match="not signed"):
        guard.check_signature(manifest, [ours.public])
    for unknown in (signed, manifest):
        with pytest.raises(DrillRefused, match="verify_keys is not set"):
            guard.check_signature(unknown, [])


def test_a_credential_that_can_write_is_refused(tmp_path: Path) -> None:
    spec = {"type": "posix", "path": str(tmp_path)}
    guard.check_credential(open_repository("here", spec, read_only=True), "shop")
    with pytest.raises(DrillRefused, match="can write where backups rest"):
        guard.check_credential(open_repository("here", spec), "shop")


def test_room_is_counted_from_the_manifest(manifest: Manifest, work_dir: Path) -> None:
    small = dataclasses.replace(manifest, plain_bytes=10**6, database_bytes=2 * 10**6)
    guard.check_space(plan(work_dir), small)
    large = dataclasses.replace(manifest, plain_bytes=10**15, database_bytes=10**15)
    with pytest.raises(DrillRefused, match=r"needs \d.* TiB, .* are free"):
        guard.check_space(plan(work_dir), large)
    assert guard.needed_bytes(large) > 2 * 10**15


def test_a_directory_in_use_is_refused(manifest: Manifest, work_dir: Path) -> None:
    work_dir.mkdir()
    (work_dir / "PG_VERSION").write_text("18")
    with pytest.raises(DrillRefused, match="in use: it holds 'PG_VERSION'"):
        guard.check_space(plan(work_dir), manifest)


def test_a_socket_path_that_the_kernel_refuses_is_refused_before(manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="the kernel allows 107"):
        guard.check_space(plan(tmp_path / ("x" * 90)), manifest)


def test_missing_extensions_are_named_with_their_packages() -> None:
    guard.check_extensions(["plpgsql", "vector"], ["plpgsql", "vector", "hstore"], 18)
    with pytest.raises(DrillRefused) as refused:
        guard.check_extensions(["plpgsql", "vector", "hstore", "my_own"], ["plpgsql"], 17)
    assert "hstore, my_own, vector" in refused.value.what
    assert "postgresql-17, postgresql-17-my-own, postgresql-17-pgvector" in refused.value.next_step

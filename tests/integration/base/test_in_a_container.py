# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server inside a real podman container that publishes no port: its base backup comes through `exec`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.physical_run import run
from support.bases import base_of
from support.containers import CONTAINERS_CONF, PASSWORD, Container, podman_container
from support.leaks import eventually, leaves_nothing
from support.logical import new_identity, opened, posix

pytestmark = pytest.mark.needs("root", "postgresql:15", "program:podman", "program:runc", "program:age", "program:zstd")


@pytest.fixture
def container() -> Iterator[Container]:
    """Its server asks for a password, over its socket, too."""
    with pytest.MonkeyPatch.context() as patch, podman_container("--env", "LOCAL_AUTH=scram-sha-256") as found:
        patch.setenv("CONTAINERS_CONF", str(CONTAINERS_CONF))
        yield found


def test_a_base_backup_through_exec_is_whole_and_leaves_nothing(container: Container, tmp_path: Path) -> None:
    keys, place = new_identity(tmp_path / "identity.txt"), posix(tmp_path / "here")
    given = {
        "system": "shop",
        "repositories": {"here": place},
        "encryption": {"method": "age", "recipients": [keys.recipient]},
        "lock_dir": str(tmp_path / "locks"),
        "state_dir": str(tmp_path / "state"),
        "exec": container.exec,
        "login_password": PASSWORD,
        "wal": "included",
    }
    with leaves_nothing():
        result = run(given)
    manifest = base_of(place, result["backup_id"])
    assert len(opened(tmp_path / "here", manifest, "base", keys)) == manifest.plain_bytes
    eventually(
        lambda: container.psql("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'lifeboat%'") == "0", "sessions end"
    )
    assert ".lifeboat" not in container.run("sh", "-c", "echo /tmp/.* /dev/shm/.*")

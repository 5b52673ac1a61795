# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A drill host that keeps no identity: it comes out of the vault, is nowhere on a disk, and opens backups of before a rotation, too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.plan import DrillPlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.run import run as run_drill
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, SealError
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import backup_prefix
from support.clusters import Server, postgres18
from support.drills import BackedUp, back_up, work_dir
from support.keys import ssh_pair
from support.logical import Identity, new_identity
from support.vaults import Escrow

__all__ = ["postgres18", "work_dir"]

pytestmark = pytest.mark.needs("program:age", "program:zstd", "netns", "postgresql:18")


class Held:
    """A backup whose identity is in the vault, and on no disk any more."""

    def __init__(self, server: Server, name: str, root: Path) -> None:
        self.server, self.name, self.root = server, name, root
        self.escrow = Escrow(root)
        self.secrets: list[bytes] = []

    def back_up(self, directory: str) -> BackedUp:
        """Sealed for a new identity, which is shipped and then forgotten here."""
        (self.root / directory).mkdir(mode=0o700)
        identity: Identity = new_identity(self.root / f"{directory}.identity")
        signer = ssh_pair(self.root / f"{directory}-signing")
        backup = back_up(self.server, self.name, self.root / directory, keys=(identity, signer))
        self.escrow.run(keys=[{"name": "backups", "path": str(identity.file)}])
        self.secrets += [line for line in identity.file.read_bytes().splitlines() if line.startswith(b"AGE-SECRET-KEY-")]
        identity.file.unlink()
        return backup

    def terms(self, **more: Any) -> dict[str, Any]:
        return {
            "identity_file": None,
            "identity_key": "backups",
            "key_repositories": {"vault": self.escrow.vault},
            "key_identity_file": str(self.escrow.keys.file),
            "waive": ["same_host", "signature"],
            "verify_keys": [],
            **more,
        }

    def on_disk(self) -> list[Path]:
        """Files in which one of the identities lies open."""
        files = [path for path in self.root.rglob("*") if path.is_file()]
        return [path for path in files if any(secret in path.read_bytes() for secret in self.secrets)]


@pytest.fixture
def held(postgres18: Server, tmp_path: Path) -> Iterator[Held]:
    (tmp_path / "host").mkdir()
    with postgres18.database() as name:
        postgres18.execute("CREATE TABLE t AS SELECT FROM generate_series(1, 10)", name)
        yield Held(postgres18, name, tmp_path / "host")


def test_backups_of_before_and_after_a_rotation_are_opened_and_no_disk_has_held_the_identity(held: Held, work_dir: Path) -> None:
    backups = [held.back_up("old"), held.back_up("new")]
    assert len(held.secrets) == 2
    assert "rehearsal" in run_drill(backups[0].options(work_dir, **held.terms()), check_mode=True)
    for backup in backups:
        report = backup.drill(work_dir, **held.terms())
        assert report["verdict"] == "passed", report["reason"]
        assert next(phase["name"] for phase in report["phases"]) == "identity"
        (said,) = [warning for warning in report["warnings"] if warning.startswith("the identity was taken from the vault: backups, ")]
        assert said.count("from vault") == 2
        assert not [secret for secret in held.secrets if secret.decode() in str(report)]
    assert held.on_disk() == []


def test_without_the_key_of_the_vault_nothing_is_opened_and_nobody_says_that_it_was(held: Held, work_dir: Path) -> None:
    backup = held.back_up("one")
    report = backup.drill(work_dir, **held.terms(identity_key="another"))
    assert (report["verdict"], "no vault holds a key another" in report["reason"]) == ("unverified", True)
    report = backup.drill(work_dir, **held.terms(key_identity_file=str(held.escrow.data.file)))
    assert report["verdict"] == "unverified"
    [manifest] = held.escrow.manifests("backups")
    artifact = held.escrow.root / "vault" / backup_prefix(manifest.ref) / manifest.artifact("key").name
    artifact.write_bytes(artifact.read_bytes()[:-1])
    report = backup.drill(work_dir, **held.terms())
    assert (report["verdict"], "key.zst.age is truncated" in report["reason"]) == ("failed", True), report["reason"]
    with pytest.raises(SealError, match="no vault holds a key another"):
        run_drill(backup.options(work_dir, **held.terms(identity_key="another")), check_mode=True)


def test_where_the_identity_is_is_said_once(tmp_path: Path) -> None:
    escrow = Escrow(tmp_path)
    given = {"system": "shop", "name": "shop", "repositories": {"store": escrow.store}, "identity_key": "backups"}
    with pytest.raises(ConfigurationError, match="identity_key without key_repositories"):
        DrillPlan.from_options(given)
    vault = {"key_repositories": {"vault": escrow.vault}, "key_identity_file": str(escrow.keys.file)}
    with pytest.raises(ConfigurationError, match="identity_file and identity_key both say"):
        DrillPlan.from_options({**given, **vault, "identity_file": str(escrow.data.file)})

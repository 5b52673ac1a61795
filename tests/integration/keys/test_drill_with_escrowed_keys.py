# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The escrow is proven by a drill: the key comes out of the vault, is the one that production used, and opens what it sealed."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.keys import FetchedKeys, fetch_keys
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.plan import DrillPlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.run import run as run_drill
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, DrillRefused, SealError
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.opened import OpenedKey
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import backup_prefix, manifest_key
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from support.backups import manifest_for, new_ref
from support.clusters import Server, postgres18
from support.drills import BackedUp, back_up, work_dir
from support.keys import ssh_pair
from support.vaults import Escrow, written

__all__ = ["postgres18", "work_dir"]

pytestmark = pytest.mark.needs("program:age", "program:zstd", "netns", "postgresql:18")

SEALED = "the customer's tax id"


class Shop:
    """A production whose customers are encrypted with the key that is escrowed."""

    def __init__(self, server: Server, name: str, root: Path) -> None:
        self.server, self.name, self.escrow = server, name, Escrow(root)
        self.dotenv = written(root / "production" / ".env", b"")
        self.rotate()

    def rotate(self) -> None:
        """A new key, with which everything is encrypted anew."""
        key = os.urandom(32)
        written(self.escrow.master, key)
        written(self.dotenv, b"PORT=80\nMASTER_KEY=" + key.hex().encode() + b"\n")
        with self.server.connect(self.name) as connection:
            connection.execute("DROP TABLE IF EXISTS customers")
            connection.execute("CREATE TABLE customers (id int PRIMARY KEY, secret bytea)")
            for number in range(3):
                nonce = os.urandom(12)
                value = nonce + AESGCM(key).encrypt(nonce, SEALED.encode(), None)
                connection.execute("INSERT INTO customers VALUES (%s, %s)", (number, value))

    @property
    def keys(self) -> list[dict[str, Any]]:
        return [{"name": "master-key", "path": str(self.escrow.master)}, {"name": "env", "path": str(self.dotenv)}]

    def ship(self) -> dict[str, Any]:
        return self.escrow.run(keys=self.keys)

    def back_up(self, directory: Path, **more: Any) -> BackedUp:
        directory.mkdir(mode=0o700)
        return back_up(self.server, self.name, directory, keys_file=str(self.escrow.fingerprints), **more)

    def terms(self, **more: Any) -> dict[str, Any]:
        """What a drill needs to know about the vault."""
        return {
            "key_repositories": {"vault": self.escrow.vault},
            "key_identity_file": str(self.escrow.keys.file),
            "waive": ["same_host", "signature"],
            "verify_keys": [],
            "checks": [
                {"decrypt": {"table": "customers", "column": "secret", "key": "master-key", "name": "by the file"}},
                {
                    "decrypt": {
                        "table": "customers", "column": "secret", "key": "env", "key_part": "MASTER_KEY", "key_encoding": "hex",
                        "name": "by the variable",
                    }
                },
            ],
            **more,
        }  # fmt: skip


@pytest.fixture
def shop(postgres18: Server, tmp_path: Path) -> Iterator[Shop]:
    (tmp_path / "shop").mkdir()
    with postgres18.database() as name:
        yield Shop(postgres18, name, tmp_path / "shop")


def answers(report: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["verdict"] for check in report["checks"]}


def test_the_escrowed_keys_open_what_production_sealed_and_after_a_rotation_the_old_backup_has_the_old_key(
    shop: Shop, work_dir: Path, tmp_path: Path
) -> None:
    backups = []
    for name in ("old", "new"):
        fingerprints = shop.ship()["fingerprints"]
        backups.append(shop.back_up(tmp_path / name))
        assert Manifest.from_bytes(backups[-1].manifest.read_bytes()).keys == fingerprints
        if name == "old":
            shop.rotate()
    rehearsal = run_drill(backups[0].options(work_dir, **shop.terms()), check_mode=True)["rehearsal"]
    assert [note for note in rehearsal["notes"] if note.startswith("protected key master-key: lk1:")]
    for backup in backups:
        report = backup.drill(work_dir, **shop.terms())
        assert report["verdict"] == "passed", report["reason"]
        found = answers(report)
        asked = ("protected key master-key", "protected key env", "by the file", "by the variable")
        assert [found[name] for name in asked] == ["passed"] * 4
        assert any(phase["name"] == "keys" for phase in report["phases"])
        said = json.dumps(report)
        assert not [secret for secret in (shop.escrow.master.read_bytes().hex(), SEALED) if secret in said]


def test_a_wrong_key_in_the_vault_is_found_by_decrypting_and_a_lost_one_by_its_absence(shop: Shop, work_dir: Path, tmp_path: Path) -> None:
    """What was escrowed is a key, and not the one that production encrypts with: only a real decryption tells."""
    written(shop.escrow.master, os.urandom(32))
    shop.ship()
    backup = shop.back_up(tmp_path / "first")
    [manifest] = shop.escrow.manifests("env")
    (shop.escrow.root / "vault" / manifest_key(manifest.ref)).unlink()
    with pytest.raises(DrillRefused, match="protected key env: not in the vault"):
        run_drill(backup.options(work_dir, **shop.terms()), check_mode=True)
    report = backup.drill(work_dir, **shop.terms())
    found = answers(report)
    assert report["verdict"] == "failed"
    assert (found["protected key master-key"], found["by the file"]) == ("passed", "failed")
    assert (found["protected key env"], found["by the variable"]) == ("failed", "unverified")


class TestFetching:
    """The same without a database: what each state of the vault is answered with."""

    @pytest.fixture
    def escrow(self, tmp_path: Path) -> Escrow:
        escrow = Escrow(tmp_path)
        escrow.run()
        return escrow

    def fetched(self, escrow: Escrow, keys: dict[str, str] | None = None, **more: Any) -> FetchedKeys:
        fingerprints = escrow.manifests()[-1].keys if keys is None else keys
        manifest = dataclasses.replace(manifest_for(new_ref())([], {}), keys=fingerprints)
        given = {
            "system": "shop",
            "name": "shop",
            "repositories": {"store": escrow.store},
            "key_repositories": {"vault": escrow.vault},
            "key_identity_file": str(escrow.keys.file),
            **more,
        }
        return fetch_keys(DrillPlan.from_options(given), manifest)

    def test_the_key_is_there_in_memory_and_in_no_answer(self, escrow: Escrow) -> None:
        fetched = self.fetched(escrow)
        assert fetched.keys["master-key"].part() == escrow.master.read_bytes()
        assert [result.verdict for result in fetched.results] == ["passed"]
        assert repr(escrow.master.read_bytes())[2:-1] not in repr(fetched)

    def test_a_damaged_key_fails_and_the_file_is_named(self, escrow: Escrow) -> None:
        [manifest] = escrow.manifests()
        artifact = escrow.root / "vault" / backup_prefix(manifest.ref) / manifest.artifact("key").name
        damaged = bytearray(artifact.read_bytes())
        damaged[-1] ^= 1
        artifact.write_bytes(damaged)
        [result] = self.fetched(escrow).results
        assert result.verdict == "failed"
        assert "key.zst.age has another SHA-256 digest" in result.detail

    def test_a_key_that_is_not_there_fails_and_what_is_there_is_counted(self, escrow: Escrow) -> None:
        [result] = self.fetched(escrow, {"master-key": "lk1:" + "0" * 32}).results
        assert (result.verdict, result.found) == ("failed", "not in the vault")
        assert "holds 1 others of this name" in result.detail

    def test_the_identity_of_the_data_opens_no_key_which_proves_nothing(self, escrow: Escrow) -> None:
        [result] = self.fetched(escrow, key_identity_file=str(escrow.data.file)).results
        assert (result.verdict, result.found) == ("unverified", "key_identity_file does not open it")

    def test_a_manifest_that_lies_about_the_fingerprint_fails(self, escrow: Escrow) -> None:
        [manifest] = escrow.manifests()
        lie = {"master-key": "lk1:" + "0" * 32}
        (escrow.root / "vault" / manifest_key(manifest.ref)).write_bytes(dataclasses.replace(manifest, keys=lie).to_bytes())
        [result] = self.fetched(escrow, lie).results
        assert result.verdict == "failed"
        assert "its fingerprint differs" in result.detail

    def test_a_manifest_of_somebody_else_fails_where_signatures_are_asked_for(self, escrow: Escrow) -> None:
        signer = ssh_pair(escrow.root / "signing")
        [result] = self.fetched(escrow, verify_keys=[signer.public]).results
        assert result.verdict == "failed"
        escrow.run(signing_key=signer.path)
        [result] = self.fetched(escrow, verify_keys=[signer.public]).results
        assert result.verdict == "passed", result

    def test_a_backup_from_before_the_escrow_gets_the_key_and_only_decrypting_proves_it(self, escrow: Escrow) -> None:
        check = {"decrypt": {"table": "t", "column": "c", "key": "master-key"}}
        fetched = self.fetched(escrow, {}, checks=[check])
        assert (fetched.keys["master-key"].part(), fetched.results) == (escrow.master.read_bytes(), [])
        assert any("does not say which protected key master-key it needs" in note for note in fetched.notes)

    def test_keys_that_nobody_looks_for_are_said(self, escrow: Escrow) -> None:
        fetched = self.fetched(escrow, key_repositories=None, key_identity_file=None)
        assert (fetched.keys, list(fetched.results)) == ({}, [])
        assert any("nobody looked whether they are safe" in note for note in fetched.notes)

    def test_a_recovery_that_went_beyond_its_base_gets_the_key_that_came_after(self, escrow: Escrow) -> None:
        old = escrow.manifests()[-1].keys
        base = dataclasses.replace(manifest_for(new_ref(kind="base"))([], {}), keys=old)
        written(escrow.master, os.urandom(32))
        escrow.run()
        vault = {"key_repositories": {"vault": escrow.vault}, "key_identity_file": str(escrow.keys.file)}
        plan = DrillPlan.from_options({"system": "shop", "name": "shop", "repositories": {"store": escrow.store}, **vault})
        assert fetch_keys(plan, base, now()).keys["master-key"].part() == escrow.master.read_bytes()
        assert fetch_keys(plan, base, base.snapshot_at).keys["master-key"].part() != escrow.master.read_bytes()

    def test_a_part_that_is_not_there_is_named_with_the_nearest(self, escrow: Escrow) -> None:
        env = OpenedKey("env", (("", b"MASTER_KEY=abc\nOTHER=x\n"),))
        assert env.part("MASTER_KEY") == b"abc"
        with pytest.raises(SealError, match=r"no variable MASTER.* Did you mean MASTER_KEY\?"):
            env.part("MASTER")
        with pytest.raises(SealError, match=r"Set key_part to one of: a\.pem, b\.pem"):
            OpenedKey("tls", (("a.pem", b"1"), ("b.pem", b"2"))).part("c.pem")

    def test_a_check_that_asks_for_a_key_needs_a_vault_apart_from_the_data(self, escrow: Escrow) -> None:
        checks = [{"decrypt": {"table": "t", "column": "c", "key": "master-key"}}]
        with pytest.raises(ConfigurationError, match="asks for the protected key 'master-key', and key_repositories is not set"):
            self.fetched(escrow, checks=checks, key_repositories=None, key_identity_file=None)
        with pytest.raises(ConfigurationError, match="key_repositories without key_identity_file"):
            self.fetched(escrow, key_identity_file=None)
        with pytest.raises(ConfigurationError, match="'vault' and data repository 'store' are not apart"):
            self.fetched(escrow, key_repositories={"vault": escrow.store})

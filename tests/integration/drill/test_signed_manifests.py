# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A manifest that is forged, altered or moved is named: by the catalogue, by `backup_info`, and by a drill, which fails."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup_list import list_backups
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.signature import sign
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.ssh_keys import fingerprint
from support.clusters import Server
from support.drills import BackedUp, back_up
from support.keys import KeyPair, ssh_pair

pytestmark = pytest.mark.needs("program:ssh-keygen", "library:cryptography")


@pytest.fixture(scope="module")
def taken(postgres18: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackedUp]:
    with postgres18.database() as name:
        postgres18.execute("CREATE TABLE orders AS SELECT generate_series(1, 10) AS id", name)
        yield back_up(postgres18, name, tmp_path_factory.mktemp("taken"))


def name_of(pair: KeyPair) -> str:
    return fingerprint(base64.b64decode(pair.public.split()[1]))


def rewritten(backup: BackedUp, change: Callable[[Manifest], Manifest]) -> None:
    manifest = change(Manifest.from_bytes(backup.manifest.read_bytes()))
    backup.manifest.chmod(0o600)
    backup.manifest.write_bytes(manifest.to_bytes())


def altered(backup: BackedUp, _stranger: KeyPair) -> str:
    rewritten(backup, lambda manifest: dataclasses.replace(manifest, plain_bytes=manifest.plain_bytes + 1))
    return f"the signature by {name_of(backup.signer)} does not hold"


def one_byte(backup: BackedUp, _stranger: KeyPair) -> str:
    document = backup.manifest.read_bytes()
    backup.manifest.chmod(0o600)
    backup.manifest.write_bytes(document.replace(b'"client_version": "18', b'"client_version": "19', 1))
    return f"the signature by {name_of(backup.signer)} does not hold"


def forged(backup: BackedUp, stranger: KeyPair) -> str:
    rewritten(backup, lambda manifest: dataclasses.replace(manifest, signature=sign(manifest.signed_bytes(), stranger.path)))
    return f"signed by a key that is not among the allowed ones: {name_of(stranger)}"


def signature_of_another(backup: BackedUp, _stranger: KeyPair) -> str:
    other = dataclasses.replace(Manifest.from_bytes(backup.manifest.read_bytes()), system="other")
    rewritten(backup, lambda manifest: dataclasses.replace(manifest, signature=sign(other.signed_bytes(), backup.signer.path)))
    return "does not hold"


def removed(backup: BackedUp, _stranger: KeyPair) -> str:
    rewritten(backup, lambda manifest: dataclasses.replace(manifest, signature=""))
    return "it is not signed"


def nonsense(backup: BackedUp, _stranger: KeyPair) -> str:
    rewritten(backup, lambda manifest: dataclasses.replace(manifest, signature="-----BEGIN SSH SIGNATURE-----\nAAAA\n"))
    return "the signature is not an OpenSSH signature"


def moved(backup: BackedUp, _stranger: KeyPair) -> str:
    newer = dataclasses.replace(backup.ref, backup_id="20991231T000000Z-00000000")
    (backup.repository / layout.manifest_key(newer)).write_bytes(backup.manifest.read_bytes())
    return f"the manifest speaks of another backup, {backup.backup_id}"


@pytest.mark.parametrize(
    "damage", [altered, one_byte, forged, signature_of_another, removed, nonsense, moved], ids=lambda damage: damage.__name__
)
def test_a_manifest_that_is_not_what_was_signed_is_named(
    damage: Callable[[BackedUp, KeyPair], str], taken: BackedUp, work_dir: Path, tmp_path: Path
) -> None:
    copy = taken.copy(tmp_path)
    said = damage(copy, ssh_pair(tmp_path / "stranger"))
    report = copy.drill(work_dir)
    assert report["verdict"] == "failed"
    assert said in report["reason"]
    assert report["service_ready_seconds"] is None
    found = list_backups(info_options(copy))
    if damage is moved:
        assert said in found["broken"][0]["reason"]
        return
    (backup,) = found["backups"]
    assert (backup["good"], backup["signed_by"]) == (False, "")
    assert any(said in problem for problem in backup["problems"])
    assert found["newest"][f"database/{copy.name}"] is None


def test_what_is_signed_as_it_should_be_says_by_whom(taken: BackedUp, work_dir: Path, tmp_path: Path) -> None:
    stranger = ssh_pair(tmp_path / "stranger")
    (backup,) = list_backups(info_options(taken, stranger))["backups"]
    assert (backup["good"], backup["signed_by"]) == (True, name_of(taken.signer))
    report = taken.drill(work_dir)
    assert report["verdict"] == "passed"
    (check,) = [check for check in report["checks"] if check["name"] == "signature"]
    assert (check["verdict"], check["found"]) == ("passed", f"signed by {name_of(taken.signer)}")


def test_a_forged_manifest_in_one_place_is_named_and_the_genuine_one_elsewhere_is_believed(
    taken: BackedUp, work_dir: Path, tmp_path: Path
) -> None:
    copy = taken.copy(tmp_path)
    said = forged(copy, ssh_pair(tmp_path / "stranger"))
    places = {name: {"type": "posix", "path": str(where.repository)} for name, where in (("first", copy), ("second", taken))}
    report = copy.drill(work_dir, repositories=places)
    assert (report["verdict"], report["repository"]) == ("failed", "second")
    assert said in report["reason"]
    assert report["reason"].startswith("repository first")
    assert "restore" in {phase["name"] for phase in report["phases"]}
    (backup,) = list_backups({**info_options(taken), "repositories": places})["backups"]
    assert (backup["good"], backup["signed_by"]) == (False, name_of(taken.signer))
    assert json.dumps(backup["problems"]).count("first: ") == 2


def info_options(backup: BackedUp, *others: KeyPair) -> dict[str, Any]:
    keys = [pair.public for pair in (*others, backup.signer)]
    return {"system": "shop", "repositories": {"copy": {"type": "posix", "path": str(backup.repository)}}, "verify_keys": keys}

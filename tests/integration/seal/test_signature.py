# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""ssh-keygen accepts our signatures, and we accept ssh-keygen's; both refuse the same."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ManifestError, SealError
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal import signature
from support.backups import manifest_for, new_ref
from support.keys import KeyPair, ssh_pair

pytestmark = pytest.mark.needs("program:ssh-keygen", "library:cryptography")

DATA = bytes(range(256)) * 40 + b"\n"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return ssh_pair(tmp_path_factory.mktemp("key") / "signing_key")


def ssh_keygen_accepts(place: Path, key: KeyPair, data: bytes, signed: str, namespace: str = signature.NAMESPACE) -> bool:
    (place / "allowed_signers").write_text(f"backup@shop {key.public}\n")
    (place / "manifest.sig").write_text(signed)
    argv = ["ssh-keygen", "-Y", "verify", "-f", "allowed_signers", "-I", "backup@shop", "-n", namespace, "-s", "manifest.sig"]
    return subprocess.run(argv, cwd=place, input=data, capture_output=True).returncode == 0


def ssh_keygen_signs(place: Path, key: KeyPair, data: bytes, *more: str) -> str:
    (place / "manifest").write_bytes(data)
    (place / "manifest.sig").unlink(missing_ok=True)
    argv = ["ssh-keygen", "-Y", "sign", "-f", key.path, "-n", signature.NAMESPACE, *more, str(place / "manifest")]
    subprocess.run(argv, check=True, capture_output=True)
    return (place / "manifest.sig").read_text()


@pytest.mark.parametrize("data", [b"", b"x", DATA])
def test_ssh_keygen_verifies_what_we_sign_and_nothing_else(tmp_path: Path, key: KeyPair, data: bytes) -> None:
    signed = signature.sign(data, key.path)
    assert ssh_keygen_accepts(tmp_path, key, data, signed)
    assert not ssh_keygen_accepts(tmp_path, key, data + b"\n", signed)
    assert not ssh_keygen_accepts(tmp_path, key, data, signed, namespace="git")
    assert not ssh_keygen_accepts(tmp_path, ssh_pair(tmp_path / "other"), data, signed)


def test_we_verify_what_ssh_keygen_signs_and_nothing_else(tmp_path: Path, key: KeyPair) -> None:
    signed = ssh_keygen_signs(tmp_path, key, DATA)
    fingerprint = subprocess.run(["ssh-keygen", "-l", "-f", key.path], capture_output=True, text=True, check=True).stdout.split()[1]
    assert signature.verify(DATA, signed, [key.public]) == fingerprint
    assert signed == signature.sign(DATA, key.path)
    with pytest.raises(ManifestError, match="does not hold"):
        signature.verify(DATA[1:], signed, [key.public])


def test_the_older_digest_is_accepted_too(tmp_path: Path, key: KeyPair) -> None:
    signed = ssh_keygen_signs(tmp_path, key, DATA, "-O", "hashalg=sha256")
    assert signature.verify(DATA, signed, [key.public])


def test_a_signature_by_an_rsa_key_is_refused_by_name(tmp_path: Path, key: KeyPair) -> None:
    signed = ssh_keygen_signs(tmp_path, ssh_pair(tmp_path / "rsa", "rsa", "", "-b", "2048"), DATA)
    with pytest.raises(ManifestError, match="not an ed25519 one"):
        signature.verify(DATA, signed, [key.public])


def test_a_key_with_a_passphrase_or_of_another_type_cannot_sign(tmp_path: Path) -> None:
    with pytest.raises(SealError, match="protected by a passphrase"):
        signature.sign(DATA, ssh_pair(tmp_path / "locked", passphrase="correct horse").path)
    with pytest.raises(SealError, match="not of type ed25519"):
        signature.sign(DATA, ssh_pair(tmp_path / "rsa", "rsa", "", "-b", "2048").path)


def test_the_public_key_line_is_what_ssh_keygen_writes(key: KeyPair) -> None:
    assert signature.check_signing_key(key.path) == " ".join(key.public.split()[:2])


def test_the_commands_of_the_documentation_verify_a_manifest_and_refuse_an_altered_one(tmp_path: Path, key: KeyPair) -> None:
    page = (Path(signature.__file__).parents[3] / "docs" / "sealing.md").read_text()
    commands = page.partition("runs these lines -->\n```sh\n")[2].partition("```")[0]
    unsigned = manifest_for(new_ref(system="Bücher & Söhne"))([], {"here": ""})
    signed = dataclasses.replace(unsigned, signature=signature.sign(unsigned.signed_bytes(), key.path))
    (tmp_path / "signing_key.pub").write_text(key.public + "\n")
    for manifest, accepted in ((signed, True), (dataclasses.replace(signed, system="Bücher & Tochter"), False)):
        (tmp_path / "20261121T031500Z-1a2b3c4d.json").write_bytes(manifest.to_bytes())
        done = subprocess.run(["sh", "-c", commands], cwd=tmp_path, capture_output=True, text=True)
        assert (done.returncode == 0) is accepted, done

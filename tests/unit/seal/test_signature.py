# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A signature holds for exactly these bytes, this key and this purpose. Against ssh-keygen itself: tests/integration/seal."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, ManifestError, SealError
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal import signature
from hypothesis import given, settings
from hypothesis import strategies as st
from support.keys import KeyPair, ssh_line

pytestmark = pytest.mark.needs("library:cryptography")

DATA = b'{"schema": 1}\n'


def make_key(path: Path, key: object | None = None) -> KeyPair:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    private = key or Ed25519PrivateKey.generate()
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))  # type: ignore[attr-defined]
    path.chmod(0o600)
    public = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)  # type: ignore[attr-defined]
    return KeyPair(public.decode() + " ops@shop", str(path))


def armored(body: bytes) -> str:
    return f"-----BEGIN SSH SIGNATURE-----\n{base64.b64encode(body).decode()}\n-----END SSH SIGNATURE-----\n"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return make_key(tmp_path_factory.mktemp("key") / "signing_key")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return make_key(tmp_path_factory.mktemp("key") / "other_key")


@pytest.fixture(scope="module")
def signed(key: KeyPair) -> str:
    return signature.sign(DATA, key.path)


def test_a_signature_holds_and_names_the_key(key: KeyPair, other: KeyPair, signed: str) -> None:
    name = signature.verify(DATA, signed, [other.public, key.public])
    assert name.startswith("SHA256:")
    assert name == signature.verify(DATA, signed, [signature.check_signing_key(key.path)])


def test_the_same_bytes_give_the_same_signature(key: KeyPair, signed: str) -> None:
    assert signature.sign(DATA, key.path) == signed


@settings(deadline=None)
@given(data=st.binary(max_size=200))
def test_it_holds_for_no_other_bytes(key: KeyPair, signed: str, data: bytes) -> None:
    if data != DATA:
        with pytest.raises(ManifestError, match="does not hold"):
            signature.verify(data, signed, [key.public])


def test_a_key_that_is_not_allowed_is_named(other: KeyPair, signed: str) -> None:
    with pytest.raises(ManifestError, match=r"signed by a key that is not among the allowed ones: SHA256:"):
        signature.verify(DATA, signed, [other.public])


def test_a_signature_for_another_purpose_does_not_pass(key: KeyPair) -> None:
    commit = signature.sign(DATA, key.path, namespace="git")
    with pytest.raises(ManifestError, match="was made for 'git', not for 'lifeboat-manifest'"):
        signature.verify(DATA, commit, [key.public])


def test_relabelling_the_purpose_breaks_it(key: KeyPair) -> None:
    namespace = "x" * len(signature.NAMESPACE)
    body = base64.b64decode("".join(signature.sign(DATA, key.path, namespace=namespace).splitlines()[1:-1]))
    relabelled = armored(body.replace(namespace.encode(), signature.NAMESPACE.encode()))
    with pytest.raises(ManifestError, match="does not hold"):
        signature.verify(DATA, relabelled, [key.public])


@settings(deadline=None)
@given(position=st.integers(0, 162), bit=st.integers(0, 7))
def test_no_bit_of_it_can_be_flipped(key: KeyPair, signed: str, position: int, bit: int) -> None:
    body = bytearray(base64.b64decode("".join(signed.splitlines()[1:-1])))
    body[position % len(body)] ^= 1 << bit
    with pytest.raises(ManifestError):
        signature.verify(DATA, armored(bytes(body)), [key.public])


@pytest.mark.parametrize("cut", [0, 1, 40, -1, -2, -40])
def test_a_cut_signature_is_refused(key: KeyPair, signed: str, cut: int) -> None:
    with pytest.raises(ManifestError):
        signature.verify(DATA, signed.strip()[:cut], [key.public])


@pytest.mark.parametrize(
    "text",
    [
        "\n",
        "no",
        "-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----",
        "é",
        "-----BEGIN SSH SIGNATURE-----\nU1NIU0lH\n-----END SSH SIGNATURE-----",
    ],
)
def test_garbage_is_no_signature(key: KeyPair, text: str) -> None:
    with pytest.raises(ManifestError, match="is not an OpenSSH signature"):
        signature.verify(DATA, text, [key.public])


@settings(deadline=None)
@given(text=st.text())
def test_any_text_is_refused_with_a_sentence(key: KeyPair, text: str) -> None:
    with pytest.raises(ManifestError):
        signature.verify(DATA, text, [key.public])


def test_no_signature_is_said_as_such(key: KeyPair) -> None:
    with pytest.raises(ManifestError, match="it is not signed"):
        signature.verify(DATA, "", [key.public])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "no public key is given"),
        (["ssh-rsa AAAA"], "number 1"),
        ([ssh_line("ssh-ed25519", bytes(31))], "not a public key of type ssh-ed25519"),
        ([ssh_line("ssh-rsa", b"\1\0\1", b"\xff" * 256)], "not a public key of type ssh-ed25519"),
        (["-----BEGIN OPENSSH PRIVATE KEY-----"], "this is a private key"),
    ],
)
def test_what_is_allowed_must_be_public_keys(signed: str, lines: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        signature.verify(DATA, signed, lines)


# --- signing keys


def test_a_signing_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    key = make_key(tmp_path / "key")
    Path(key.path).chmod(0o640)
    with pytest.raises(SealError, match=r"others can read it \(mode 0640\)"):
        signature.check_signing_key(key.path)


def test_a_key_of_another_type_is_refused(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

    key = make_key(tmp_path / "key", generate_private_key(SECP256R1()))
    with pytest.raises(SealError, match=r"the key is not of type ed25519 .* ssh-keygen -t ed25519"):
        signature.sign(DATA, key.path)


@pytest.mark.parametrize("content", ["", "hunter2", "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n-----END OPENSSH PRIVATE KEY-----"])
def test_a_file_that_is_no_key_is_refused_and_not_shown(tmp_path: Path, content: str) -> None:
    path = tmp_path / "key"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(SealError) as caught:
        signature.sign(DATA, str(path))
    assert "hunter2" not in str(caught.value)


def test_a_damaged_key_is_refused(tmp_path: Path) -> None:
    key = make_key(tmp_path / "key")
    lines = Path(key.path).read_text().splitlines()
    Path(key.path).write_text("\n".join([lines[0], lines[1], lines[-1]]))
    with pytest.raises(SealError, match="the key is damaged"):
        signature.sign(DATA, key.path)

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures in OpenSSH's format, so that `ssh-keygen -Y verify` can check a manifest without lifeboat.

Format: OpenSSH's PROTOCOL.sshsig, version 1. Keys are ed25519, made with `ssh-keygen -t ed25519`; the private half has
no passphrase, since a backup runs with nobody there. The namespace keeps a signature made for anything else (a Git
commit, a login) from passing as one over a manifest.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ansible_collections.lifeboat.postgres.plugins.module_utils import deps
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, ManifestError, SealError
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.secret_file import read_secret_file
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.ssh_keys import (
    fingerprint,
    has_passphrase,
    pack,
    public_key_fields,
    unpack,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["NAMESPACE", "check_signing_key", "parse_public_keys", "sign", "verify"]

NAMESPACE = "lifeboat-manifest"

_KEY_TYPE = b"ssh-ed25519"
_MAGIC = b"SSHSIG"
_VERSION = (1).to_bytes(4, "big")
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_LINE = 70
_HASHES = {b"sha256": hashlib.sha256, b"sha512": hashlib.sha512}  # all that PROTOCOL.sshsig allows
_MAKE_KEY = "Make one with: ssh-keygen -t ed25519 -N '' -f FILE"
_ALTERED = "It was altered, or signed by somebody else; use another repository, and find out."


def sign(data: bytes, key_file: str, namespace: str = NAMESPACE) -> str:
    """The armored signature over `data` by the private key in `key_file`.

    Raises `SealError` for an unusable key file, `MissingTool` without the library cryptography.
    """
    private = _load_private_key(key_file)
    key = pack(_KEY_TYPE) + pack(_raw_public_key(private))
    algorithm = b"sha512"
    signature = private.sign(_to_be_signed(data, namespace, algorithm))
    blob = _MAGIC + _VERSION
    for item in (key, namespace.encode(), b"", algorithm, pack(_KEY_TYPE) + pack(signature)):
        blob += pack(item)
    return "\n".join([_BEGIN, *textwrap.wrap(base64.b64encode(blob).decode(), _LINE), _END]) + "\n"


def verify(data: bytes, signature: str, allowed_public_keys: Sequence[str], namespace: str = NAMESPACE) -> str:
    """The fingerprint (`SHA256:…`) of the allowed key that signed `data`.

    `allowed_public_keys` are lines of .pub files. Raises `ManifestError` when the signature is missing, unreadable, by
    another key, for another namespace, or does not hold; `ConfigurationError` for an allowed key that is none.
    """
    allowed = parse_public_keys(allowed_public_keys)
    if not signature:
        raise ManifestError("it is not signed", "", _ALTERED)
    key, algorithm, raw = _parse(signature, namespace)
    name = fingerprint(key)
    if key not in allowed:
        raise ManifestError(f"it is signed by a key that is not among the allowed ones: {name}", "", _ALTERED)
    deps.load("cryptography", minimum="3.3", package="cryptography", debian="python3-cryptography")
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(unpack(key)[1]).verify(raw, _to_be_signed(data, namespace, algorithm))
    except InvalidSignature:
        raise ManifestError(f"the signature by {name} does not hold", "", _ALTERED) from None
    return name


def parse_public_keys(lines: Sequence[str]) -> tuple[bytes, ...]:
    """The keys of public key lines, as bytes; raises `ConfigurationError` that names the position of a wrong one."""
    keys = []
    for position, line in enumerate(lines, 1):
        where = f"public keys, number {position}"
        if "PRIVATE KEY" in line:
            raise ConfigurationError("this is a private key", where, "Give its public half, and treat this key as leaked.")
        key = public_key_fields(line)
        if key is None or key[0].encode() != _KEY_TYPE or len(key[1]) != 1 or len(key[1][0]) != 32:
            raise ConfigurationError("not a public key of type ssh-ed25519", where, "Give one line of a .pub file.")
        keys.append(pack(_KEY_TYPE) + pack(key[1][0]))
    if not keys:
        raise ConfigurationError("no public key is given to check signatures with", "public keys")
    return tuple(keys)


def check_signing_key(key_file: str) -> str:
    """The public key line of a usable private key file, before anything runs; raises `SealError`, `MissingTool`."""
    key = pack(_KEY_TYPE) + pack(_raw_public_key(_load_private_key(key_file)))
    return f"{_KEY_TYPE.decode()} {base64.b64encode(key).decode()}"


def _to_be_signed(data: bytes, namespace: str, algorithm: bytes) -> bytes:
    return _MAGIC + pack(namespace.encode()) + pack(b"") + pack(algorithm) + pack(_HASHES[algorithm](data).digest())


def _parse(signature: str, namespace: str) -> tuple[bytes, bytes, bytes]:
    """Key, hash algorithm and raw signature of an armored signature; raises `ManifestError`."""
    lines = signature.strip().splitlines()
    try:
        if lines[0] != _BEGIN or lines[-1] != _END:
            raise ValueError("no armor")
        blob = base64.b64decode("".join(lines[1:-1]), validate=True)
        if not blob.startswith(_MAGIC + _VERSION):
            raise ValueError("no SSHSIG of version 1")
        key, signed_namespace, _reserved, algorithm, wrapped = unpack(blob[len(_MAGIC + _VERSION) :])
        key_fields, (kind, raw) = unpack(key), unpack(wrapped)
    except (ValueError, IndexError, binascii.Error):
        raise ManifestError("the signature is not an OpenSSH signature", "", _ALTERED) from None
    if kind != _KEY_TYPE or key_fields[:1] != [_KEY_TYPE] or list(map(len, key_fields[1:])) != [32] or algorithm not in _HASHES:
        raise ManifestError("the signature is not an ed25519 one", "", _ALTERED)
    if signed_namespace != namespace.encode():
        purpose = signed_namespace.decode("utf-8", "replace")
        raise ManifestError(f"the signature was made for {purpose!r}, not for {namespace!r}", "", _ALTERED)
    return key, algorithm, raw


def _load_private_key(key_file: str) -> Ed25519PrivateKey:
    deps.load("cryptography", minimum="3.3", package="cryptography", debian="python3-cryptography")
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ed25519
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    where = f"signing key {key_file}"
    text = read_secret_file(key_file, where)
    if "-----BEGIN OPENSSH PRIVATE KEY-----" not in text:
        raise SealError("this is not an OpenSSH private key", where, _MAKE_KEY)
    if has_passphrase(text, where):
        raise SealError("the key is protected by a passphrase, and nobody is there to type it", where, _MAKE_KEY)
    try:
        private = load_ssh_private_key(text.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SealError("the key is damaged, or of a type that cannot be used", where, _MAKE_KEY) from None
    if not isinstance(private, ed25519.Ed25519PrivateKey):
        raise SealError("the key is not of type ed25519", where, _MAKE_KEY)
    return private


def _raw_public_key(private: Ed25519PrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

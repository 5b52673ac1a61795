# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's keys: two age identities, a signing key, and the shop's own master key."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Keys:
    """Paths of the secret halves (mode 0600) and the public halves as text."""

    identity_file: Path
    offline_identity_file: Path
    stranger_identity_file: Path
    recipients: tuple[str, str]
    signing_key_file: Path
    verify_key: str
    master_key_file: Path
    stranger_master_key_file: Path


def make_keys(folder: Path) -> Keys:
    """New keys of every kind the demo needs, and a stranger's identity and master key for the cases that must fail."""
    identity, recipient = _age(folder / "drill.age")
    offline, offline_recipient = _age(folder / "offline.age")
    stranger, _unused = _age(folder / "stranger.age")
    signing_key, verify_key = _signing_key(folder / "signing")
    return Keys(
        identity_file=identity,
        offline_identity_file=offline,
        stranger_identity_file=stranger,
        recipients=(recipient, offline_recipient),
        signing_key_file=signing_key,
        verify_key=verify_key,
        master_key_file=_write(folder / "master.key", secrets.token_bytes(32)),
        stranger_master_key_file=_write(folder / "stranger-master.key", secrets.token_bytes(32)),
    )


def _age(path: Path) -> tuple[Path, str]:
    from pyrage import x25519

    identity = x25519.Identity.generate()
    return _write(path, f"{identity}\n".encode()), str(identity.to_public())


def _signing_key(path: Path) -> tuple[Path, str]:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return _write(path, private), public.decode()


def _write(path: Path, data: bytes) -> Path:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    return path

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenSSH's key files, as far as sealing and signing ask about them. Pure.

Formats: RFC 4251 section 5 and RFC 4253 section 6.6 (public keys), OpenSSH's PROTOCOL.key (private keys).
"""

from __future__ import annotations

import base64
import binascii
import hashlib

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import SealError

__all__ = ["fingerprint", "has_passphrase", "pack", "public_key_fields", "unpack"]

_PRIVATE_MAGIC = b"openssh-key-v1\0"


def pack(data: bytes) -> bytes:
    """One length-prefixed string."""
    return len(data).to_bytes(4, "big") + data


def unpack(data: bytes) -> list[bytes]:
    """The length-prefixed strings that make up `data`; raises `ValueError` when they do not."""
    fields = []
    while data:
        length = int.from_bytes(data[:4], "big")
        if len(data) < 4 + length:
            raise ValueError("a string is cut")
        fields.append(data[4 : 4 + length])
        data = data[4 + length :]
    return fields


def public_key_fields(line: str) -> tuple[str, list[bytes]] | None:
    """Type and fields of a public key line (`ssh-ed25519 AAAA… comment`), or None when it is not a whole one."""
    words = line.split()
    if len(words) < 2:
        return None
    try:
        fields = unpack(base64.b64decode(words[1], validate=True))
    except (binascii.Error, ValueError):
        return None
    if not fields or fields[0] != words[0].encode():
        return None
    return words[0], fields[1:]


def fingerprint(public_key: bytes) -> str:
    """`SHA256:…` of a public key's bytes, as `ssh-keygen -l` shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(public_key).digest()).decode().rstrip("=")


def has_passphrase(text: str, where: str) -> bool:
    """Whether a private key file asks for one; raises `SealError` when it is not whole."""
    if "-----BEGIN OPENSSH PRIVATE KEY-----" not in text:
        return "ENCRYPTED" in text  # PEM says it in its header
    body = "".join(line.strip() for line in text.splitlines() if not line.startswith("-----"))
    try:
        data = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    start = len(_PRIVATE_MAGIC) + 4
    length = int.from_bytes(data[start - 4 : start], "big")
    if not data.startswith(_PRIVATE_MAGIC) or len(data) < start + length:
        raise SealError("the SSH key is damaged", where)
    return data[start : start + length] != b"none"

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which credential lets a repository in, as a digest: enough to see that two are one, never enough to be one.

What is digested is what a server could show about us anyhow (an access key's id, a public key), or a long random secret.
"""

from __future__ import annotations

import base64
import binascii
import configparser
import contextlib
import hashlib
import os
import struct

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_options import S3Options, read_credential

__all__ = ["access_key", "amazon_account", "digest", "of_key_file"]

_MAGIC = b"openssh-key-v1\0"
_AMBIENT = "the machine's own identity"


def digest(kind: str, *words: str) -> str:
    """The fingerprint of a credential that consists of these words; "" when there is none."""
    if not any(words):
        return ""
    return f"{kind}:" + hashlib.sha256("\0".join(("lifeboat credential", kind, *words)).encode()).hexdigest()[:32]


def access_key(given: S3Options) -> str:
    """The id of the access key that a repository in S3 uses; a fixed text where the machine or its environment decides later."""
    if given.credentials_file is not None:
        with contextlib.suppress(ConfigurationError):
            found = read_credential(given)
            return found.access_key if found else ""
        return f"file {os.path.realpath(given.credentials_file)} {given.profile or 'default'}"
    profile = given.profile or os.environ.get("AWS_PROFILE") or ""
    if not profile and os.environ.get("AWS_ACCESS_KEY_ID"):
        return os.environ["AWS_ACCESS_KEY_ID"]
    path = os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or os.path.expanduser("~/.aws/credentials")
    parser = configparser.RawConfigParser()
    with contextlib.suppress(OSError, UnicodeDecodeError, configparser.Error):
        with open(path, encoding="utf-8") as stream:
            parser.read_file(stream)
        return parser.get(profile or "default", "aws_access_key_id")
    return f"profile {profile}" if profile else _AMBIENT


def amazon_account(access_key_id: str) -> str:
    """The twelve digits of the account that an access key of Amazon belongs to, or "": the key's id carries them."""
    if len(access_key_id) != 20 or access_key_id[:4] not in ("AKIA", "ASIA"):
        return ""
    with contextlib.suppress(binascii.Error, ValueError):
        raw = int.from_bytes(base64.b32decode(access_key_id[4:])[:6], "big")
        return f"{(raw & 0x7FFFFFFFFF80) >> 7:012d}"
    return ""


def of_key_file(path: str) -> str:
    """The fingerprint of an SSH private key; no passphrase is needed, because its public half lies in clear in the file.

    A key that cannot be read is told by its path, an old PEM one by its bytes. "" without a path.
    """
    if not path:
        return ""
    try:
        with open(path, "rb") as stream:
            content = stream.read(1024 * 1024)
    except OSError:
        return digest("ssh", f"file {os.path.realpath(path)}")
    public = _public_half(content)
    if public is None:
        return digest("ssh", hashlib.sha256(content.strip()).hexdigest())
    return digest("ssh", hashlib.sha256(public).hexdigest())


def _public_half(content: bytes) -> bytes | None:
    """The first public key of the format of OpenSSH (PROTOCOL.key), or None for any other."""
    lines = [line for line in content.split() if line and not line.startswith(b"-") and not line.endswith(b"-----")]
    with contextlib.suppress(binascii.Error, ValueError, struct.error):
        raw = base64.b64decode(b"".join(line for line in lines if line not in (b"OPENSSH", b"PRIVATE")), validate=True)
        if not raw.startswith(_MAGIC):
            return None
        position = len(_MAGIC)
        for _field in ("cipher", "key derivation", "its options"):
            position += 4 + struct.unpack_from(">I", raw, position)[0]
        if struct.unpack_from(">I", raw, position)[0] < 1:
            return None
        size = struct.unpack_from(">I", raw, position + 4)[0]
        public = raw[position + 8 : position + 8 + size]
        return public if len(public) == size else None
    return None

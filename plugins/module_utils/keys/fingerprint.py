# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is it the same key? A fingerprint tells, and tells nobody what the key is (docs/keys.md#fingerprints).

A plain digest of a short secret is the secret: whoever reads a manifest could try out passwords at 10^10 a second. So the
digest is made with a salt of 256 bits that is itself a secret: it lies with root on the host, and sealed beside each
protected key, and nowhere else. The function is slow as well, for the day on which a salt gets out.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import MissingTool, SealError
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.secret_file import read_secret_bytes

__all__ = ["SALT_BYTES", "check_text", "fingerprint", "new_salt", "read_salt", "same", "short"]

SALT_BYTES = 32
PREFIX = "lk1:"
"""The version: bytes as below, through scrypt (RFC 7914) with these costs: 16 MiB and some 50 ms for each guess."""
_N, _R, _P, _BYTES = 2**14, 8, 1, 16
_TEXT = re.compile(r"lk1:[0-9a-f]{32}")


def fingerprint(files: Sequence[tuple[str, bytes]], salt: bytes) -> str:
    """The fingerprint of the exact bytes: of one value without a name, or of files with theirs, in any order.

    Raises `MissingTool` where this Python's OpenSSL has no scrypt.
    """
    if len(files) == 1 and not files[0][0]:
        message = b"one\0" + files[0][1]
    else:
        message = b"several\0"
        for name, data in sorted(files):
            encoded = name.encode("utf-8", "surrogateescape")
            message += len(encoded).to_bytes(8, "big") + encoded + len(data).to_bytes(8, "big") + data
    try:
        raw = hashlib.scrypt(message, salt=salt, n=_N, r=_R, p=_P, maxmem=64 * 1024 * 1024, dklen=_BYTES)
    except (AttributeError, ValueError):
        raise MissingTool(
            "this Python cannot compute scrypt", "fingerprint of a key", "Use one that is linked with OpenSSL 1.1 or newer."
        ) from None
    return PREFIX + raw.hex()


def same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def short(text: str) -> str:
    """A fingerprint's beginning, for people who compare two lines."""
    return text[: len(PREFIX) + 12]


def check_text(text: str) -> str:
    """The fingerprint itself when it is one of ours; raises `ValueError`."""
    if not _TEXT.fullmatch(text):
        raise ValueError("not a fingerprint of a protected key")
    return text


def read_salt(path: Path) -> bytes | None:
    """This host's salt. Secret. None when there is none yet; raises `SealError` for one that others can read or that is damaged."""
    where = f"salt of fingerprints {path}"
    if not os.path.lexists(path):
        return None
    try:
        salt = bytes.fromhex(read_secret_bytes(str(path), where).decode("ascii", "replace"))
    except ValueError:
        salt = b""
    if len(salt) != SALT_BYTES:
        raise SealError("it is damaged", where, "Remove it: the next run makes another one, and ships every key anew.")
    return salt


def new_salt(path: Path) -> bytes:
    """Make this host's salt, durably, for its owner only; the one that is there when another run was faster. Secret."""
    salt = secrets.token_bytes(SALT_BYTES)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(salt.hex().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(partial, path)
        except FileExistsError:
            there = read_salt(path)
            if there is not None:
                return there
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise SealError(f"cannot be written: {error.strerror}", f"salt of fingerprints {path}", "Set state_dir.") from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()
    return salt

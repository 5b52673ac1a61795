# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values that an application sealed with AES-256-GCM: its key from a file, its way of writing nonce, ciphertext and tag.

No error from here holds any part of a key, a ciphertext or a plaintext.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import deps
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import SealError
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.secret_file import read_secret_bytes

__all__ = ["Cipher", "NotSealedError", "WrongKeyError", "key_of", "read_key"]

KEY_BYTES = 32
TAG_BYTES = 16
_PLACE_IT = "Place the escrowed key there for the drill."


class NotSealedError(ValueError):
    """A value that has not the shape of a sealed one."""


class WrongKeyError(ValueError):
    """A value that this key does not open: another key, other associated data, or a changed byte."""


def read_key(path: str, encoding: str) -> bytes:
    """The 32 bytes of a protected key; raises `SealError` that says what is wrong with the file, never what is in it."""
    try:
        content = read_secret_bytes(path, path)
    except SealError as error:
        raise SealError(f"the protected key: {error.what}", path, error.next_step or _PLACE_IT) from None
    return key_of(content, encoding, path)


def key_of(content: bytes, encoding: str, where: str) -> bytes:
    """The 32 bytes that `content` says; raises `SealError` as `read_key` does."""
    if not content.strip():
        raise SealError("the protected key is empty", where, _PLACE_IT)
    if encoding == "raw":
        key = content
    else:
        try:
            key = _decode(content, encoding)
        except ValueError:
            raise SealError(f"the protected key is not written in {encoding}", where, "Set key_encoding.") from None
    if len(key) == KEY_BYTES:
        return key
    hint = f"AES-256 takes {KEY_BYTES} bytes; see key_encoding."
    if encoding == "raw" and len(key) == KEY_BYTES + 1 and key.endswith(b"\n"):
        hint = "Its last byte is a line feed that an editor added; a key is its exact bytes."
    raise SealError(f"the protected key has {len(key)} bytes", where, hint)


class Cipher:
    """AES-256-GCM as one application writes it. `separator` stands between parts that are encoded one by one."""

    def __init__(self, key: bytes, encoding: str, layout: str, nonce_bytes: int, separator: str = "") -> None:
        aead = deps.load("cryptography.hazmat.primitives.ciphers.aead", package="cryptography", debian="python3-cryptography")
        self._invalid_tag: Any = deps.load("cryptography.exceptions", package="cryptography").InvalidTag
        self._cipher = aead.AESGCM(key)
        self._encoding = encoding
        self._tag_first = layout == "nonce_tag_ciphertext"
        self._nonce_bytes = nonce_bytes
        self._separator = separator.encode()

    def open(self, value: bytes, aad: bytes | None) -> bytes:
        """The plaintext; raises `NotSealedError` or `WrongKeyError`."""
        sealed = self._bytes_of(value)
        if len(sealed) < self._nonce_bytes + TAG_BYTES:
            raise NotSealedError("too short")
        nonce, rest = sealed[: self._nonce_bytes], sealed[self._nonce_bytes :]
        if self._tag_first:
            rest = rest[TAG_BYTES:] + rest[:TAG_BYTES]
        try:
            plaintext: bytes = self._cipher.decrypt(nonce, rest, aad)
        except self._invalid_tag:
            raise WrongKeyError("the tag does not fit") from None
        return plaintext

    def _bytes_of(self, value: bytes) -> bytes:
        if self._encoding == "raw":
            return value
        parts = value.split(self._separator) if self._separator else [value]
        try:
            return b"".join(_decode(part, self._encoding) for part in parts)
        except ValueError:
            raise NotSealedError(f"not {self._encoding}") from None


def _decode(text: bytes, encoding: str) -> bytes:
    """Hexadecimal or base64 (either alphabet, padded or not), blanks and line ends left out; raises `ValueError`."""
    compact = re.sub(rb"\s", b"", text)
    if encoding == "hex":
        return binascii.unhexlify(compact[2:] if compact[:2] in (b"\\x", b"0x") else compact)
    compact = compact.rstrip(b"=").replace(b"-", b"+").replace(b"_", b"/")
    return base64.b64decode(compact + b"=" * (-len(compact) % 4), validate=True)

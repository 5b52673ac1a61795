# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Codes of an authenticator: time-based one-time passwords (RFC 6238 over RFC 4226). No error holds any part of a secret."""

from __future__ import annotations

import base64
import binascii
import hmac
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.spec import ALGORITHMS

__all__ = ["Authenticator", "NoSecretError"]


class NoSecretError(ValueError):
    """Not an authenticator's secret; says what is wrong with it, never what it is."""


@dataclass(frozen=True)
class Authenticator:
    """One secret with its parameters."""

    secret: bytes = field(repr=False)
    digits: int = 6
    period_seconds: int = 30
    algorithm: str = "SHA1"

    @classmethod
    def read(cls, content: bytes, encoding: str, digits: int, period_seconds: int, algorithm: str) -> Authenticator:
        """From what an application or a person keeps: an `otpauth://` URL, whose own parameters go first, or the encoded
        secret. Raises `NoSecretError`.
        """
        if content.strip().lower().startswith(b"otpauth://"):
            return cls._from_url(content.strip(), digits, period_seconds, algorithm)
        return cls(_decoded(content, encoding), digits, period_seconds, algorithm)

    @classmethod
    def _from_url(cls, url: bytes, digits: int, period_seconds: int, algorithm: str) -> Authenticator:
        try:
            parts = urlsplit(url.decode())
            given = {name.lower(): values[-1] for name, values in parse_qs(parts.query).items()}
        except ValueError:
            raise NoSecretError("the otpauth URL cannot be read") from None
        if (parts.hostname or "") != "totp":
            raise NoSecretError("the otpauth URL is not of type totp")
        name = given.get("algorithm", algorithm).upper().replace("HMAC", "").replace("-", "")
        if name not in ALGORITHMS:
            raise NoSecretError("the otpauth URL names an unknown algorithm")
        count, period = _number(given, "digits", digits, 6, 10), _number(given, "period", period_seconds, 1, 3600)
        return cls(_decoded(given.get("secret", "").encode(), "base32"), count, period, name)

    def code(self, moment: float) -> str:
        """The code at a moment (seconds since 1970)."""
        counter = struct.pack(">Q", int(moment) // self.period_seconds)
        digest = hmac.new(self.secret, counter, self.algorithm.lower()).digest()
        offset = digest[-1] & 0x0F
        number = struct.unpack(">I", digest[offset : offset + 4])[0] & 0x7FFFFFFF
        return str(number % 10**self.digits).zfill(self.digits)


def _number(given: Mapping[str, str], key: str, default: int, least: int, most: int) -> int:
    text = given.get(key, str(default))
    if not text.isdecimal() or not least <= int(text) <= most:
        raise NoSecretError(f"the otpauth URL has no sane {key}")
    return int(text)


def _decoded(content: bytes, encoding: str) -> bytes:
    compact = b"".join(content.split())
    try:
        if encoding == "raw":
            secret = content
        elif encoding == "hex":
            secret = binascii.unhexlify(compact)
        elif encoding == "base64":
            secret = base64.b64decode(compact, validate=True)
        else:
            # As people copy it: in small letters, in groups, without its padding.
            letters = compact.replace(b"-", b"").rstrip(b"=").upper()
            secret = base64.b32decode(letters + b"=" * (-len(letters) % 8))
    except ValueError:
        raise NoSecretError(f"it is not written in {encoding}") from None
    if not secret:
        raise NoSecretError("it is empty")
    return secret

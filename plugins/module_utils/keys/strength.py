# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is this a key at all? Refused are nothing, zeros, what is short, and what everybody knows. Pure.

No answer holds any part of the value, nor its length where it is short.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Iterable

__all__ = ["LEAST_BYTES", "decoded", "same_secret", "weakness"]

LEAST_BYTES = 16
"""128 bits: below that a key can be tried out (NIST SP 800-131A takes 112 for the least)."""
LEAST_DIFFERENT = 5
"""Sixteen random hexadecimal digits have fewer different ones once in two million times."""
_PERIOD = 8
"""A piece of so many bytes that is repeated is no longer a key of the whole length."""

# As examples, defaults of frameworks and test vectors write them: letters and digits only, in lower case.
_KNOWN = frozenset((
    "admin", "adminadmin", "administrator", "changeit", "correcthorsebatterystaple", "default", "development", "devsecret", "dummy",
    "example", "examplekey", "foobar", "keyboardcat", "letmein", "masterkey", "minioadmin", "mykey", "mysecret", "mysecretkey",
    "mysecretpassword", "mysupersecret", "passphrase", "password", "password123", "postgres", "postgresql", "qwerty", "qwertyuiop", "root",
    "sample", "secret", "secretkey", "secretkeybase", "secretpassword", "secretsecret", "somerandomstring",
    "somerandomstringof32characters", "supersecret", "supersecretkey", "supersecretpassword", "test", "testing", "testkey", "testsecret",
    "thisisasecret", "thisisasecretkey", "topsecret", "verysecret", "verysecretkey", "0123456789abcdef", "deadbeef", "cafebabe",
    # FIPS 197 and SP 800-38A, which libraries show in their own examples
    "2b7e151628aed2a6abf7158809cf4f3c", "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
    "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b", "feffe9928665731c6d6a8f9467308308",
    "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
))  # fmt: skip
_TELLING = (
    "changeme", "changethis", "chngeme", "djangoinsecure", "donotuse", "examplesecret", "fillmein", "generateme", "insecure", "insertkey",
    "keygoeshere", "notasecret", "notsecret", "placeholder", "pleasechange", "putyour", "replaceme", "replacethis", "replacewith",
    "secretgoeshere", "setme", "todochange", "yourapikey", "yourencryptionkey", "yourkey", "yourjwtsecret", "yourmasterkey",
    "yourpassword", "yoursecret", "yoursupersecret", "your256bitsecret",
)  # fmt: skip
"""Words that no generated key would hold: eight letters in a row come up by chance once in 10^11 keys."""

_PATTERNS = (
    "it is all zero",
    "it is one byte again and again",
    "its bytes count up or down, as in an example",
    "it is a short piece again and again",
    f"it is made of fewer than {LEAST_DIFFERENT} different bytes",
)
"""What a value can look like, the plainest first: of several readings of one value the plainest is said."""

_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")


def weakness(value: bytes, encoding: str = "", least_bytes: int = LEAST_BYTES) -> str:
    """Why this is no key to rely on, as the end of a sentence ("it is …"), or "".

    `encoding` (`hex`, `base64`) says how the bytes are written; without it both are tried where the value looks like that.
    """
    if not value.strip():
        return "it is empty"
    readings = [value]
    if encoding:
        try:
            readings.append(decoded(value, encoding))
        except ValueError:
            return f"it is not written in {encoding}"
    else:
        readings += _guessed(value)
    found = [pattern for pattern in map(_pattern, readings) if pattern]
    if found:
        return min(found, key=_PATTERNS.index)
    if any(_is_known(reading) for reading in readings):
        return "it is a default or an example that everybody knows"
    cut = _unended(value)
    if cut:
        return f"it begins a {cut} and does not end it: it was cut"
    if len(readings[-1] if encoding else _trimmed(value)) < least_bytes:
        return f"it is shorter than {least_bytes} bytes"
    return ""


def decoded(value: bytes, encoding: str) -> bytes:
    """The bytes behind a text in `hex` or `base64` (either alphabet, padded or not); raises `ValueError`."""
    compact = re.sub(rb"\s", b"", value)
    if encoding == "hex":
        return binascii.unhexlify(compact[2:] if compact[:2] in (b"\\x", b"0x") else compact)
    compact = compact.rstrip(b"=").replace(b"-", b"+").replace(b"_", b"/")
    return base64.b64decode(compact + b"=" * (-len(compact) % 4), validate=True)


def same_secret(one: bytes, others: Iterable[bytes]) -> bool:
    """Whether a value is one of the others, line ends at the end left out; in the time that it takes for any value."""
    found = False
    for other in others:
        found |= hmac.compare_digest(one.rstrip(b"\r\n"), other.rstrip(b"\r\n"))
    return found


def _guessed(value: bytes) -> list[bytes]:
    """What the value says when it is read as hexadecimal or base64, where it can be."""
    text = value.strip()
    text = text.removeprefix(b"base64:")
    readings = []
    for encoding, shape in (("hex", rb"(?:0x|\\x)?(?:[0-9A-Fa-f]{2}){8,}"), ("base64", rb"[0-9A-Za-z+/_-]{12,}={0,2}")):
        if re.fullmatch(shape, text):
            try:
                readings.append(decoded(text, encoding))
            except ValueError:
                continue
    return readings


def _trimmed(value: bytes) -> bytes:
    """A text without the blanks around it; of other bytes each counts."""
    return value.strip() if value.isascii() and value.strip().decode().isprintable() else value


def _pattern(value: bytes) -> str:
    text = _trimmed(value)
    if not any(value) or not text.strip(b"0"):
        return _PATTERNS[0]
    if len(set(text)) == 1:
        return _PATTERNS[1]
    steps = {(after - before) % 256 for before, after in zip(text, text[1:])}
    if len(text) >= _PERIOD and len(steps) == 1:
        return _PATTERNS[2]
    if len(text) >= 2 * _PERIOD and any(text == (text[:period] * len(text))[: len(text)] for period in range(2, _PERIOD + 1)):
        return _PATTERNS[3]
    if len(text) >= LEAST_BYTES and len(set(text)) < LEAST_DIFFERENT:
        return _PATTERNS[4]
    return ""


def _is_known(value: bytes) -> bool:
    plain = re.sub(rb"[^0-9a-z]", b"", value.lower()).decode()
    if len(value) > 256 or b"\n" in value.strip():
        return False  # a file of many lines: its values are judged one by one, where they are known
    once = {plain[:length] for length in range(4, len(plain) // 2 + 1) if plain == (plain[:length] * len(plain))[: len(plain)]}
    return bool({plain, plain.rstrip("0123456789"), value.hex(), *once} & _KNOWN) or any(word in plain for word in _TELLING)


def _unended(value: bytes) -> str:
    for begin in _BEGIN.findall(value):
        if value.count(b"-----BEGIN " + begin + b"-----") > value.count(b"-----END " + begin + b"-----"):
            return str(begin.decode("ascii").lower())
    return ""

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A `.env` file read as Docker Compose reads it, byte for byte. Pure.

Unquoted values end at the end of the line or before ` #`, and `$` begins a variable; in double quotes escapes are read as
well; in single quotes everything is itself. What Compose would fill in from the environment of whoever starts it cannot
be known from the file, so such a value is refused instead of guessed.

Reference: docs.docker.com/compose/how-tos/environment-variables/variable-interpolation; tests compare with the program.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["EnvFileError", "parse", "parse_literally", "value_of"]

_BLANK = b"\t\v\f\r \x85\xa0"
_SPACE = _BLANK + b"\n"
_NAME = re.compile(rb"[^\s=:#'\"]+")
_ESCAPE = re.compile(rb'\\(?:[abcfnrtv$"\\]|0\d{0,3})')
_SIMPLE = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v", b"\\": b"\\", b'"': b'"'}
_BOM = b"\xef\xbb\xbf"


class EnvFileError(ValueError):
    """A line or a value that cannot be read; says which line and why, never what is in it."""


def parse(data: bytes) -> dict[str, bytes | EnvFileError]:
    """Every variable with its value, or why that cannot be known; the last one of a name counts. Raises `EnvFileError`.

    A name without a value is not in it: Compose takes that from its own environment.
    """
    found: dict[str, bytes | EnvFileError] = {}
    rest, line = data.removeprefix(_BOM), 1
    while True:
        stripped = rest.lstrip(_SPACE)
        line += rest[: len(rest) - len(stripped)].count(b"\n")
        rest = stripped
        if not rest:
            return found
        if rest.startswith(b"#"):
            rest = rest.partition(b"\n")[2]
            line += 1
            continue
        name, rest, inherited = _name(rest, line)
        if inherited:
            line += 1
            continue
        begun = line
        value, after = _value(rest, begun)
        line += rest[: len(rest) - len(after)].count(b"\n")
        rest = after
        found[name] = value


def parse_literally(data: bytes) -> dict[str, bytes]:
    """Every variable with all that stands between the first `=` and the end of its line: for what reads a file so itself."""
    found: dict[str, bytes] = {}
    for line in data.split(b"\n"):
        name, equals, value = line.rstrip(b"\r").partition(b"=")
        name = name.strip()
        if equals and not name.startswith(b"#"):
            found[_text(name[len(b"export ") :].strip() if name.startswith(b"export ") else name)] = value
    return found


def value_of(variables: Mapping[str, bytes | EnvFileError], name: str) -> bytes:
    """One value; raises `KeyError`, `EnvFileError` when it cannot be known."""
    value = variables[name]
    if isinstance(value, EnvFileError):
        raise value
    return value


def _name(rest: bytes, line: int) -> tuple[str, bytes, bool]:
    """The name, what follows its separator, and whether there is no value at all."""
    if re.match(rb"export\s", rest):
        rest = rest[len(b"export") :].lstrip(_BLANK)
    match = _NAME.match(rest)
    if match is None:
        raise EnvFileError(f"line {line} does not begin with a variable's name")
    name, after = match.group(), rest[match.end() :].lstrip(_BLANK)
    if not after or after.startswith(b"\n"):
        return _text(name), after[1:], True
    if after[:1] not in b"=:":
        raise EnvFileError(f"line {line}: after the variable's name there is neither = nor the end")
    return _text(name), after[1:].lstrip(_BLANK), False


def _value(rest: bytes, line: int) -> tuple[bytes | EnvFileError, bytes]:
    """The value, and what follows it."""
    quote = rest[:1]
    if quote not in (b"'", b'"'):
        value, newline, after = rest.partition(b"\n")
        # A comment that stands at once where the value would: there is none.
        value = b"" if value.startswith(b"#") else value.partition(b" #")[0].rstrip(_SPACE)
        return _interpolated(value, line), newline + after
    kept, position = bytearray(), 1
    while position < len(rest):
        character = rest[position : position + 1]
        if character == quote:
            text = bytes(kept)
            value_or_fault = text if quote == b"'" else _interpolated(_ESCAPE.sub(_unescaped, text), line)
            return value_or_fault, rest[position + 1 :]
        if character == b"\\" and rest[position + 1 : position + 2] == quote:
            kept += quote
            position += 2
            continue
        if character == b"\\":
            # The sign after it is looked at with it, so that \\" is a backslash and the end.
            kept += rest[position : position + 2]
            position += 2
            continue
        kept += character
        position += 1
    raise EnvFileError(f"line {line}: a quoted value does not end")


def _unescaped(match: re.Match[bytes]) -> bytes:
    escape = match.group()[1:]
    if escape == b"$":
        return b"$$"
    if escape in _SIMPLE:
        return _SIMPLE[escape]
    if not escape.startswith(b"0"):
        return match.group()
    digits = escape[1:]
    if len(digits) == 3 and not set(digits) - set(b"01234567") and int(digits, 8) < 256:
        return chr(int(digits, 8)).encode()  # a sign, not a byte: Compose writes it in UTF-8
    return b"\\" + digits


def _interpolated(value: bytes, line: int) -> bytes | EnvFileError:
    plain = value.replace(b"$$", b"")
    if b"$" in plain:
        return EnvFileError(
            f"line {line}: Compose would put the value of a variable where the value has a $, from the environment in which it is started"
        )
    return value.replace(b"$$", b"$")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")

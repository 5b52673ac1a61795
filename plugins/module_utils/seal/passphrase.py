# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A passphrase in a file: one line, nobody else's to read, and long enough that guessing it is hopeless.

Of a passphrase file gpg uses the first line and ignores the rest in silence; so a file of several lines is refused here.
"""

from __future__ import annotations

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import SealError
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.secret_file import read_secret_bytes

__all__ = ["Passphrase"]

LEAST_CHARACTERS = 20
"""Seven words of a list, or 20 random letters. Each guess costs a tenth of a second; a short one is guessed all the same."""
LEAST_DIFFERENT = 8
MOST_BYTES = 255
_MAKE = "Make one with: (umask 077; openssl rand -base64 33 > FILE)"


class Passphrase:
    """The passphrase in the file at `path`, read once: a run seals everything with the same. Raises `SealError`."""

    __slots__ = ("_line", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._line = _checked(read_secret_bytes(path, _where(path)), _where(path)) + b"\n"

    def __repr__(self) -> str:
        return f"Passphrase({self.path!r})"

    def line(self) -> bytes:
        """The passphrase as gpg reads it, with its end of line. Secret."""
        return self._line


def _where(path: str) -> str:
    return f"passphrase file {path}"


def _checked(data: bytes, where: str) -> bytes:
    line = data[:-1] if data.endswith(b"\n") else data
    if not line.strip():
        raise SealError("it is empty", where, _MAKE)
    if b"\n" in line:
        raise SealError("it holds more than one line, and gpg would use the first one only", where, "Leave one line in it.")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        raise SealError("it is not text in UTF-8, so it could not be typed by hand", where, _MAKE) from None
    if any(ord(character) < 32 or ord(character) == 127 for character in text) or text != text.strip():
        raise SealError("it holds control characters, or blanks at an end, which nobody can see", where, _MAKE)
    if len(text) < LEAST_CHARACTERS or len(set(text)) < LEAST_DIFFERENT:
        raise SealError(
            f"it is too easy to guess: {LEAST_CHARACTERS} characters at least, {LEAST_DIFFERENT} of them different", where, _MAKE
        )
    if len(line) > MOST_BYTES:
        raise SealError(f"it is longer than {MOST_BYTES} bytes", where, _MAKE)
    return line

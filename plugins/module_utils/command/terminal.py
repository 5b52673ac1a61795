# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the command speaks: lines in which nothing steers the terminal, coloured only where a person looks at them."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from typing import Any, TextIO

__all__ = ["Terminal", "complain", "escaped"]

_CODES = {"title": "1", "good": "32", "bad": "31", "doubt": "33"}


def escaped(text: str) -> str:
    """A text that does nothing to a terminal, whatever it holds."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def complain(words: str) -> None:
    """Say in one line what went wrong, where errors go: a terminal, or the log of the server that started us.

    A log that nobody reads any more changes nothing. What Python could not write it tries again when it exits, and a
    failure of that would become the exit status, which a recovery takes for the end of the log.
    """
    try:
        sys.stderr.write(f"lifeboat: {escaped(words)}\n")
        sys.stderr.flush()
    except OSError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


class Terminal:
    """A stream and whether it takes colours: on a terminal that is not dumb, and never with NO_COLOR (no-color.org)."""

    def __init__(self, stream: TextIO, environment: Mapping[str, str] = os.environ) -> None:
        self._stream = stream
        self.coloured = stream.isatty() and environment.get("TERM") != "dumb" and not environment.get("NO_COLOR")

    def line(self, text: str = "", tone: str = "") -> None:
        """Print one line, escaped; `tone` is title, good, bad or doubt."""
        # What the stream's encoding has no sign for is shown as an escape, too: a name must not end the command.
        encoding = self._stream.encoding or "ascii"
        text = escaped(text).encode(encoding, "backslashreplace").decode(encoding)
        if tone and self.coloured and text:
            text = f"\033[{_CODES[tone]}m{text}\033[0m"
        self._stream.write(f"{text}\n")

    def json(self, document: Any) -> None:
        """Print a document for machines: JSON in ASCII, which steers no terminal either."""
        self._stream.write(json.dumps(document, indent=2) + "\n")

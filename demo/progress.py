# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the demo prints: one line per step with its seconds, and tables that fit a terminal of 100 columns."""

from __future__ import annotations

import contextlib
import os
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence

WIDTH = 98
ROOM, SECONDS = 12, 9
COLOURS = {"passed": "32", "failed": "31", "unverified": "33"}


class Progress:
    """Prints steps to standard output; colours and overwriting only on a terminal, and never with NO_COLOR."""

    def __init__(self) -> None:
        self.live = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self.coloured = self.live and not os.environ.get("NO_COLOR")
        self._announced = ""

    def title(self, text: str) -> None:
        self._print(text)

    def note(self, text: str, room: str = "") -> None:
        """A sentence, wrapped below the text column."""
        indent = " " * (ROOM + 2)
        lines = textwrap.wrap(text, WIDTH, initial_indent=f"  {room:<{ROOM}}", subsequent_indent=indent, break_on_hyphens=False)
        self._print("\n".join(lines))

    def announce(self, room: str, text: str) -> None:
        """Say on a terminal what is being done now; the next line takes its place."""
        if self.live:
            self._clear()
            self._announced = self._line(room, text, None).rstrip() + " …"
            print(self._announced, end="", flush=True)

    def done(self, room: str, text: str, seconds: float, verdict: str = "") -> None:
        """A step is over; its `verdict` is coloured where it stands in the text."""
        line = self._line(room, text, seconds)
        if verdict:
            line = line.replace(f": {verdict}", f": {self._coloured(verdict, verdict)}", 1)
        self._print(line)

    @contextlib.contextmanager
    def step(self, room: str, text: str) -> Iterator[list[str]]:
        """A timed step; append to the list what was found, to be said in the step's line."""
        self.announce(room, text)
        found: list[str] = []
        start = time.monotonic()
        yield found
        self.done(room, ": ".join([text, *found]), time.monotonic() - start)

    def table(self, heads: Sequence[str], widths: Sequence[int], rows: Sequence[Sequence[str]], verdict_column: int) -> None:
        """Columns of fixed width, in which text wraps."""
        self._print("  ".join(f"{head:<{width}}" for head, width in zip(heads, widths)).rstrip())
        self._print("  ".join("-" * width for width in widths))
        for row in rows:
            cells = [textwrap.wrap(text, width, break_on_hyphens=False) or [""] for text, width in zip(row, widths)]
            for number in range(max(map(len, cells))):
                parts = [f"{cell[number] if number < len(cell) else '':<{width}}" for cell, width in zip(cells, widths)]
                parts[verdict_column] = self._coloured(parts[verdict_column], row[verdict_column])
                self._print("  ".join(parts).rstrip())

    def _coloured(self, text: str, verdict: str) -> str:
        code = COLOURS.get(verdict.partition(" ")[0])
        return f"\033[{code}m{text}\033[0m" if code and self.coloured else text

    def _line(self, room: str, text: str, seconds: float | None) -> str:
        space = WIDTH - ROOM - 2 - SECONDS
        first, *others = textwrap.wrap(text, space, break_on_hyphens=False) or [""]
        if others and seconds is None:
            others = []  # an announcement must stay one line: it is overwritten
        time_text = "" if seconds is None else f"{seconds:7.1f} s"
        lines = [f"  {room:<{ROOM}}{first:<{space}}{time_text}"]
        return "\n".join(lines + [" " * (ROOM + 2) + line for line in others])

    def _clear(self) -> None:
        if self._announced:
            print("\r" + " " * len(self._announced) + "\r", end="")
            self._announced = ""

    def _print(self, text: str) -> None:
        self._clear()
        print(text, flush=True)

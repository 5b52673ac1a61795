# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pages and Markdown taken apart, and names that try to be more than names."""

from __future__ import annotations

import re
from html.parser import HTMLParser

__all__ = ["HOSTILE", "Page", "outside_of_code"]

HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=http://evil onerror='x'>",
    "a | b |",
    "a \\| b",
    "a \\\\| b",
    "`x` ``y``",
    "`",
    "[click](http://evil) ![i](http://evil) http://evil @team #1",
    "two\nlines\r\n\n# heading",
    "</td></tr></table></style></title>",
    "{title} %s {0}",
    "\u202etxt.exe\u2066 \x00\x1b[31m",
    "",
    " ",
    "x" * 3000,
]


class Page(HTMLParser):
    """Elements and texts of a page; an element that is closed out of turn is an error."""

    VOID = ("meta", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def outside_of_code(text: str) -> str:
    """What a Markdown renderer would read as Markdown: everything but the code spans."""
    return re.sub(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", "CODE", text)

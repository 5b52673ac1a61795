# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pages in a real browser that reaches no network: what it made of them, and how wide they came out."""

from __future__ import annotations

import html as escaping
import re
import subprocess
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest
from support.parts import find_program

__all__ = ["PWNED", "Chromium", "Elements", "chromium", "measured"]

PWNED = "document.documentElement.setAttribute('data-pwned','yes')"
"""What a script that gets in does."""

Chromium = Callable[..., str]


@pytest.fixture
def chromium(tmp_path: Path) -> Chromium:
    """What the browser made of a page, as HTML; with `width` the page in a frame so wide, and what its frame measured."""

    def load(page: str, *options: str, width: int = 0) -> str:
        if width:
            # A page cannot ask for its own measures: it forbids itself scripts. Its frame can.
            measure = "const d=f.contentDocument.documentElement;document.title=[d.scrollWidth,f.clientWidth,d.scrollHeight>500].join(' ')"
            frame = f'<iframe id=f style="border:0;width:{width}px;height:900px" srcdoc="{escaping.escape(page)}"></iframe>'
            page = f"<!doctype html><title>none</title>{frame}<script>f.onload=()=>{{{measure}}}</script>"
        path = tmp_path / "page.html"
        path.write_text(page, encoding="utf-8")
        argv = [
            find_program("chromium") or "",
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={tmp_path / 'profile'}",
        ]
        argv += ["--virtual-time-budget=2000", "--host-resolver-rules=MAP * ~NOTFOUND", *options, "--dump-dom", path.as_uri()]
        return subprocess.run(argv, capture_output=True, text=True, timeout=600, check=True).stdout

    return load


def measured(chromium: Chromium, page: str, widths: Sequence[int]) -> dict[int, int]:
    """How wide the page's content is in frames of these widths; all in one start of the browser."""
    inside = escaping.escape(page)
    frames = "".join(f'<iframe style="border:0;width:{width}px;height:900px" srcdoc="{inside}"></iframe>' for width in widths)
    measure = "[...document.querySelectorAll('iframe')].map(f=>f.contentDocument.documentElement.scrollWidth).join(' ')"
    script = f"onload=()=>{{document.title={measure}}}"
    found = re.search(r"<title>([0-9 ]+)</title>", chromium(f"<!doctype html><title>none</title>{frames}<script>{script}</script>"))
    assert found, "the browser measured nothing"
    return dict(zip(widths, map(int, found.group(1).split())))


class Elements(HTMLParser):
    """Which elements a page has, how many of each, and which attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: dict[str, int] = {}
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found[tag] = self.found.get(tag, 0) + 1
        self.attributes |= {name for name, _value in attrs}

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the pages tell a person to type is what the command takes, and every word leads to a function that is there."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import cli

CHECKOUT = Path(__file__).resolve().parents[2]
PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]


def told() -> Iterator[tuple[str, str]]:
    """Each line of the pages' code that begins with the command, and where it is."""
    for page in PAGES:
        for block in re.findall(r"^```[a-z]*\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            for line in block.splitlines():
                found = re.match(r"\s*(?:\$ )?(?:bin/)?lifeboat (.*)", line)
                if found:
                    yield page.name, found.group(1)


@pytest.mark.parametrize(("page", "words"), list(told()))
def test_what_a_page_tells_to_type_is_understood(page: str, words: str) -> None:
    given = cli._parser().parse_args(shlex.split(words, comments=True))
    assert given.run, page


def words_of(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    inner = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not inner:
        yield parser
    for action in inner:
        for word in action.choices.values():
            yield from words_of(word)


@pytest.mark.parametrize("word", list(words_of(cli._parser())), ids=lambda word: word.prog)
def test_every_word_leads_to_a_function_and_is_on_a_page(word: argparse.ArgumentParser) -> None:
    file, function = word.get_default("run").split(":")
    assert callable(getattr(importlib.import_module(f"{cli._WORDS}.{file}"), function))
    said = word.prog.partition(" ")[2]
    assert re.search(rf"`{said}[ `]", (CHECKOUT / "docs" / "command.md").read_text(encoding="utf-8")), "the page names every word"


@pytest.mark.parametrize("words", [["-c", "x.json", "list"], ["list", "-c", "x.json"], ["list", "--json", "-c", "x.json"]])
def test_the_job_file_may_be_named_before_the_word_and_after(words: list[str]) -> None:
    assert cli._parser().parse_args(words).config == "x.json"
    assert cli._parser().parse_args(["list"]).config is None

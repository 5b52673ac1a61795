# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Expressions as PostgreSQL prints them, brought to one form before and after a dump. Pure.

PostgreSQL prints a stored expression from its parse tree, and what it prints does not always give the same tree again.
`CHECK (status IN ('a', 'b'))` over a varchar is printed as `(status)::text = ANY ((ARRAY['a'::character varying,
'b'::character varying])::text[])`; restored from that, it is printed as `… ANY (ARRAY[('a'::character varying)::text,
('b'::character varying)::text])` (docs/postgres-notes.md#printed-expressions). So casts are taken out, and parentheses
that only a cast needed; what remains differs when the expression does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Union

__all__ = ["normalised"]

_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<escaped>[Ee]'(?:[^'\\]|''|\\.)*')
    | (?P<string>(?:[BbXxNn]|[Uu]&)?'(?:[^']|'')*')
    | (?P<word>(?:"(?:[^"]|"")*"|[^\W\d][\w$]*)(?:\.(?:"(?:[^"]|"")*"|[^\W\d][\w$]*|\*))*)
    | (?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
    | (?P<cast>::)
    | (?P<bracket>[()\[\],])
    | (?P<operator>[-+*/<>=~!@\#%^&|`?]+)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)

# Type names of several words, as format_type() prints them; any other is one word.
_MORE_WORDS = {
    "character": ("varying",),
    "bit": ("varying",),
    "double": ("precision",),
    "interval": ("year", "month", "day", "hour", "minute", "second", "to"),
}
_ZONED = ("timestamp", "time")

# A list is what stands between brackets: an opening bracket, then its items and commas.
_Item = Union[str, "list[_Item]"]


def normalised(text: str) -> str:
    """The one form of an expression or a whole definition: tokens with single spaces, without casts."""
    tokens = _without_casts(list(_tokens(text)))
    try:
        return " ".join(_flat(_simplified(_tree(tokens))))
    except RecursionError:
        # Nested hundreds of levels deep: such a thing is compared with its parentheses as they are.
        return " ".join(tokens)


def _tokens(text: str) -> Iterator[str]:
    for match in _TOKEN.finditer(text):
        if match.lastgroup != "space":
            yield match.group()


def _without_casts(tokens: list[str]) -> list[str]:
    kept: list[str] = []
    position = 0
    while position < len(tokens):
        if tokens[position] != "::":
            kept.append(tokens[position])
            position += 1
            continue
        position = _after_type(tokens, position + 1)
    return kept


def _after_type(tokens: list[str], position: int) -> int:
    """The position behind a type's name, its modifier and its array brackets."""

    def at(offset: int) -> str:
        return tokens[position + offset] if position + offset < len(tokens) else ""

    first = at(0).lower()
    position += 1
    while at(0).lower() in _MORE_WORDS.get(first, ()):
        position += 1
    if at(0) == "(":  # nothing else can follow a cast so closely
        while at(0) not in (")", ""):
            position += 1
        position += 1
    if first in _ZONED and at(0).lower() in ("with", "without") and at(1).lower() == "time":
        position += 3
    while at(0) == "[" and at(1) == "]":
        position += 2
    return position


def _tree(tokens: list[str]) -> list[_Item]:
    """Brackets as nested lists, each beginning with its opening bracket; what does not match stays as it is."""
    root: list[_Item] = [""]
    stack = [root]
    for token in tokens:
        if token in ("(", "["):
            group: list[_Item] = [token]
            stack[-1].append(group)
            stack.append(group)
        elif token in (")", "]") and len(stack) > 1:
            stack.pop()
        else:
            stack[-1].append(token)
    return root


def _simplified(group: list[_Item]) -> list[_Item]:
    """Without the parentheses that say nothing: around one token, or around all of an item between commas."""
    items: list[_Item] = [_simplified(item) if isinstance(item, list) else item for item in group]
    result: list[_Item] = [items[0]]
    for number, item in enumerate(items[1:], 1):
        before = items[number - 1]
        starts = number == 1 or before == ","
        ends = number == len(items) - 1 or items[number + 1] == ","
        if not isinstance(item, list) or item[0] != "(":
            result.append(item)
        elif starts and ends and "," not in item and len(item) > 1:
            result.extend(item[1:])
        elif len(item) == 2 and isinstance(item[1], str) and not _calls(before):
            result.append(item[1])
        else:
            result.append(item)
    return result


def _calls(before: _Item) -> bool:
    """Whether parentheses behind this belong to it: a function's or a type's name, a keyword, another group."""
    return isinstance(before, list) or re.match(r'[\w"]', before) is not None


def _flat(group: list[_Item]) -> Iterator[str]:
    for item in group:
        if isinstance(item, list):
            yield from _flat(item)
        elif item:
            yield item
    if group[0] in ("(", "["):
        yield ")" if group[0] == "(" else "]"

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of a configuration file, changed where they stand: everything else in the file stays as it is. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.values import literal

__all__ = ["HEADER", "Include", "edit", "includes"]

HEADER = "# Written by lifeboat.postgres.wal_archive_config; other lines in this file are left alone.\n"

# src/backend/utils/misc/guc-file.l: a name, an equals sign or not, a word or a quoted text, a comment.
_LINE = re.compile(r"""^(\s*([A-Za-z_][\w.$]*)(?:\s*=\s*|\s+))('(?:[^'\\\n]|''|\\.)*'|[^\s#'=]+)(\s*(?:\#.*)?)$""")


def edit(text: str, values: Mapping[str, str]) -> str:
    """The file's text with these settings: the last line of each name is changed, and what has none is added at the end."""
    lines = text.splitlines(keepends=True)
    missing = dict(values)
    for index in range(len(lines) - 1, -1, -1):
        line = lines[index].rstrip("\r\n")
        match = _LINE.match(line)
        name = match.group(2).lower() if match else ""
        if match and name in missing:
            ending = lines[index][len(line) :]
            lines[index] = match.group(1) + literal(missing.pop(name)) + match.group(4) + ending
    if missing and lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    return "".join(lines) + "".join(f"{name} = {literal(value)}\n" for name, value in missing.items())


@dataclass(frozen=True)
class Include:
    """A directive include, include_if_exists or include_dir, and its line."""

    directive: str
    target: str
    line: int


def includes(text: str) -> Iterator[Include]:
    """The files and directories that a configuration file reads in, in order."""
    for number, line in enumerate(text.splitlines(), 1):
        match = _LINE.match(line)
        if match and match.group(2).lower() in ("include", "include_if_exists", "include_dir"):
            value = match.group(3)
            if value.startswith("'"):
                value = re.sub(r"''|\\(.)", lambda escaped: escaped.group(1) or "'", value[1:-1])
            yield Include(match.group(2).lower(), value, number)

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A shell command, read far enough to judge it: which programs run with which words, and whose exit status counts. Pure.

Not a shell: expansions stay as they are written, and what cannot be read raises `ValueError`. `archive_command` is run by
`system()`, so by /bin/sh.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Simple", "parse"]

_CONNECTORS = ("&&", "||", ";", "|", "&", ";;", "\n")
_KEYWORDS = frozenset(("if", "then", "elif", "else", "fi", "do", "done", "while", "until", "!", "{", "}", "(", ")", "case", "esac", "in"))
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*", re.DOTALL)
# Programs that run another one, with the options of theirs that take a word.
_WRAPPERS = {
    "env": ("-u", "-C", "-S"),
    "envdir": (),
    "nice": ("-n",),
    "ionice": ("-c", "-n", "-p"),
    "nohup": (),
    "chronic": (),
    "time": (),
    "timeout": ("-s", "-k"),
    "sudo": ("-u", "-g"),
    "setpriv": (),
    "runuser": ("-u", "-g"),
    "stdbuf": ("-o", "-e", "-i"),
    "flock": ("-w", "-E"),
    "exec": (),
    "command": (),
    "builtin": (),
}
_OPERANDS = {"envdir": 1, "timeout": 1, "flock": 1}
_SHELLS = frozenset(("sh", "bash", "dash", "ash", "ksh", "zsh"))


@dataclass
class Simple:
    """One program with its words. `after` is what stands behind it: one of && || ; | & or "" at the end.

    `program` is its name without directories; `written` are files that its output is redirected into (`>>` is `appended`).
    `keyword` is the word of the shell right before it, "" for none.
    """

    words: list[str] = field(default_factory=list)
    assignments: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    appended: list[str] = field(default_factory=list)
    after: str = ""
    keyword: str = ""
    inner: list[Simple] = field(default_factory=list)

    @property
    def program(self) -> str:
        return posixpath.basename(self.words[0]) if self.words else ""

    @property
    def arguments(self) -> list[str]:
        return self.words[1:]

    def operands(self) -> list[str]:
        """The words that are no options."""
        return [word for word in self.arguments if not word.startswith("-") or word == "-"]


def parse(command: str) -> list[Simple]:
    """The simple commands of a command line, in order; those of `sh -c '…'` are its `inner`. Raises `ValueError`."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split = True
    lexer.commenters = ""
    found: list[Simple] = []
    current = Simple()
    tokens = list(lexer)
    index = 0
    while index < len(tokens):
        token = tokens[index]
        index += 1
        if token in _CONNECTORS:
            current.after = token
            _finish(current, found)
            current = Simple()
        elif token in _KEYWORDS and not current.words:
            current.keyword = token
        elif re.fullmatch(r"\)+|\(+", token):
            # A subshell ends or begins: what stands behind it belongs to what was last in it.
            _finish(current, found)
            current = Simple(keyword=token[0])
        elif re.fullmatch(r"[<>&|]+", token):
            target = tokens[index] if index < len(tokens) else ""
            index += 1
            if current.words and re.fullmatch(r"[0-9]", current.words[-1]) and ">" in token:
                current.words.pop()  # 2> and 1>
            if token in (">", ">|", "&>"):
                current.written.append(target)
            elif token in (">>", "&>>"):
                current.appended.append(target)
        elif set(token) <= set("();<>|&"):
            raise ValueError(f"cannot read {token!r}")
        else:
            current.words.append(token)
    _finish(current, found)
    return found


def _finish(current: Simple, found: list[Simple]) -> None:
    while current.words and _ASSIGNMENT.fullmatch(current.words[0]):
        current.assignments.append(current.words.pop(0))
    _unwrap(current)
    if current.program in _SHELLS and "-c" in _flags(current.arguments):
        script = next((word for word in current.arguments if not word.startswith("-") and word != "pipefail"), "")
        current.inner = parse(script)
    if current.words or current.assignments or current.written or current.appended:
        found.append(current)
    elif found and current.after and not found[-1].after:
        found[-1].after = current.after


def _flags(words: Sequence[str]) -> set[str]:
    return {f"-{letter}" for word in words if re.fullmatch(r"-[a-z]+", word) for letter in word[1:]}


def _unwrap(current: Simple) -> None:
    """Take away programs that only run another one, as `nice -n 19` and `envdir /etc/wal-g`."""
    while current.program in _WRAPPERS:
        program, rest = current.program, current.arguments
        operands = _OPERANDS.get(program, 0)
        while rest and (rest[0].startswith("-") or operands or _ASSIGNMENT.fullmatch(rest[0])):
            word = rest.pop(0)
            if word in _WRAPPERS[program] and rest:
                rest.pop(0)
            elif word == "--":
                break
            elif _ASSIGNMENT.fullmatch(word) and program == "env":
                current.assignments.append(word)
            elif not word.startswith("-"):
                operands -= 1
        if not rest:
            return
        current.words = rest

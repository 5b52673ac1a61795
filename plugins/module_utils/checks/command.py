# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A program of the operator's judges the restored database, by its exit status and by what it prints."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import expression
from ansible_collections.lifeboat.postgres.plugins.module_utils import options as take
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import FAILED, PASSED, UNVERIFIED, Check, CheckResult, Restored
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.program import Ended, inside_of, read_argv, read_paths, started
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import duration, shortened

__all__ = ["Command", "holds"]

_SIGNALLED = range(129, 160)
"""A shell's way of saying that a signal ended a program, for example the kernel's for want of memory (137)."""


class Command(Check):
    """`{command: {argv: [/usr/local/bin/ledger, verify], status: 0}}`"""

    starts_programs = True

    def __init__(self, options: Mapping[str, Any], where: str) -> None:
        self.argv: tuple[str, ...] = read_argv(options, "argv", where)
        self.status: int = take.integer(options, "status", where, 0, minimum=0, maximum=255)
        self.jmespath: str | None = take.text(options, "jmespath", where, None)
        self.readable: tuple[Path, ...] = read_paths(options, "readable", where)
        matches: str | None = take.text(options, "matches", where, None)
        self._where = where
        if self.jmespath is not None and matches is not None:
            raise ConfigurationError("jmespath and matches exclude each other", where)
        try:
            self._pattern = None if matches is None else re.compile(matches)
        except re.error as error:
            raise ConfigurationError(f"matches is not a regular expression: {error}", where) from None
        self.name = shortened(f"command {' '.join(self.argv)}", 80)

    def run(self, restored: Restored) -> CheckResult:
        with started(inside_of(restored), self.argv, self.readable, {}) as running:
            ended = running.ended(self.timeout_seconds)
        expected = f"exit status {self.status}"
        if self.jmespath is not None:
            expected += f" and {self.jmespath}"
        elif self._pattern is not None:
            expected += f" and output that matches {self._pattern.pattern}"
        if ended.status is None:
            return CheckResult(self.name, UNVERIFIED, expected, f"no end within {duration(self.timeout_seconds)}", ended.stderr)
        if ended.status != self.status and (ended.status < 0 or ended.status in _SIGNALLED):
            return CheckResult(self.name, UNVERIFIED, expected, f"killed (exit status {ended.status})", ended.stderr)
        if ended.status != self.status:
            return CheckResult(self.name, FAILED, expected, f"exit status {ended.status}", ended.stderr or _shown(ended.stdout))
        return self._judge(ended, expected)

    def _judge(self, ended: Ended, expected: str) -> CheckResult:
        """The exit status is right; what was printed is judged where that was asked for."""
        if self.jmespath is None and self._pattern is None:
            return CheckResult(self.name, PASSED, expected, f"exit status {ended.status}", _shown(ended.stdout))
        if ended.was_cut:
            raise ConfigurationError("the program printed more than 1 MiB, which cannot be judged", self._where, "Let it print less.")
        if self._pattern is not None:
            right = self._pattern.search(ended.stdout.decode("utf-8", "replace")) is not None
            return CheckResult(self.name, PASSED if right else FAILED, expected, _shown(ended.stdout) or "no output")
        right = holds(str(self.jmespath), ended.stdout, self._where)
        return CheckResult(self.name, PASSED if right else FAILED, expected, _shown(ended.stdout))


def holds(jmespath: str, document: bytes, where: str) -> bool:
    """Whether an expression is true of a JSON document; raises `ConfigurationError` where it gives neither true nor false."""
    try:
        data = json.loads(document)
    except (ValueError, RecursionError):
        raise ConfigurationError(f"this is not JSON: {_shown(document) or 'nothing'}", where) from None
    answer = expression.search(jmespath, data, where)
    if not isinstance(answer, bool):
        raise ConfigurationError(f"the expression gives {_shown(json.dumps(answer).encode())}, neither true nor false", jmespath)
    return answer


def _shown(output: bytes) -> str:
    return shortened(" ".join(output[:2000].decode("utf-8", "replace").split()), 200)

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The escrowed key opens what the application sealed: a real decryption of real rows, whose result is seen by no one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options as take
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import FAILED, PASSED, UNVERIFIED, Check, CheckResult, Restored
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.ciphertext import Cipher, NotSealedError, WrongKeyError
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.sealed import SealedColumn
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import many

__all__ = ["Decrypt"]


class Decrypt(Check):
    """`{decrypt: {table: customers, column: totp_secret, key: master-key}}`"""

    def __init__(self, options: Mapping[str, Any], where: str) -> None:
        self.sealed = SealedColumn(options, where)
        self.needs_key = self.sealed.key
        self.limit: int = take.integer(options, "limit", where, 10000, minimum=0)
        matches: str | None = take.text(options, "matches", where, None)
        try:
            self._pattern = None if matches is None else re.compile(matches)
        except re.error as error:
            raise ConfigurationError(f"matches is not a regular expression: {error}", where) from None
        self.name = f"decrypt {self.sealed.table}.{self.sealed.column}"

    def run(self, restored: Restored) -> CheckResult:
        cipher = self.sealed.cipher(restored.keys)
        with restored.conn.transaction():
            rows, values = self.sealed.count(restored.conn)
            tried = min(values, self.limit or values)
            tally = _Tally()
            for value, aad in self.sealed.values(restored.conn, self.limit if tried < values else None):
                self._try(cipher, value, aad, tally)
        expected = "every value opens with the protected key" + ("" if self._pattern is None else " and has the form asked for")
        sample = f"a random sample of {tried} of {many(values, 'value')}" if tried < values else many(values, "value")
        nulls = f"{many(rows - values, 'row')} without a value" if rows > values else ""
        if not values:
            return CheckResult(self.name, UNVERIFIED, expected, "no value to open", nulls or "the table is empty")
        if tally.faults:
            closed = tally.unopened + tally.misshapen
            found = f"{closed} of {tried} did not open" if closed else f"{tally.other_form} of {tried} have another form"
            return CheckResult(self.name, FAILED, expected, found, "; ".join(filter(None, [tally.sentence(tried), nulls])))
        return CheckResult(self.name, PASSED, expected, f"opened {sample}", nulls)

    def _try(self, cipher: Cipher, value: bytes, aad: bytes | None, tally: _Tally) -> None:
        try:
            plaintext = cipher.open(value, aad)
        except NotSealedError:
            tally.misshapen += 1
        except WrongKeyError:
            tally.unopened += 1
        else:
            if self._pattern is not None and not self._pattern.fullmatch(plaintext.decode("utf-8", errors="replace")):
                tally.other_form += 1


@dataclass
class _Tally:
    """Values that did not pass: not of the sealed shape, not opened by the key, opened but of another form."""

    misshapen: int = 0
    unopened: int = 0
    other_form: int = 0

    @property
    def faults(self) -> int:
        return self.misshapen + self.unopened + self.other_form

    def sentence(self, tried: int) -> str:
        said = []
        if self.unopened == tried:
            said.append("not one opened: this is not the key that production used, or layout, encoding or aad differ")
        elif self.unopened:
            said.append(f"{self.unopened} need another key, or were changed")
        if self.misshapen:
            said.append(f"{self.misshapen} are not sealed values (encoding, or too short)")
        if self.other_form:
            said.append(f"{self.other_form} opened, but the plaintext has another form than `matches` asks for")
        return "; ".join(said)

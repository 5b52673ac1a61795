# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The escrowed key opens what the application sealed: a real decryption of real rows, whose result is seen by no one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options as take
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import FAILED, PASSED, UNVERIFIED, Check, CheckResult, Restored
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.ciphertext import (
    ENCODINGS,
    KEY_ENCODINGS,
    LAYOUTS,
    Cipher,
    NotSealedError,
    WrongKeyError,
    read_key,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.relations import compose, find_table, identifier, literal
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import many

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["Decrypt"]

_COUNT = "SELECT count(*), count({column}) FROM {table}"
_VALUES = "SELECT {value}, {aad} FROM {table} WHERE {column} IS NOT NULL"
_SAMPLE = " ORDER BY pg_catalog.random() LIMIT {limit}"


class Decrypt(Check):
    """`{decrypt: {table: customers, column: totp_secret, key_file: /run/drill/master.key}}`"""

    OPTIONS: Mapping[str, Any] = {
        "table": {"type": "str", "required": True},
        "column": {"type": "str", "required": True},
        "key_file": {"type": "path", "required": True, "no_log": False},
        "key_encoding": {"type": "str", "choices": list(KEY_ENCODINGS), "default": "raw", "no_log": False},
        "encoding": {"type": "str", "choices": list(ENCODINGS), "default": "raw"},
        "layout": {"type": "str", "choices": list(LAYOUTS), "default": "nonce_ciphertext_tag"},
        "separator": {"type": "str", "default": ""},
        "nonce_bytes": {"type": "int", "default": 12},
        "aad": {"type": "str"},
        "aad_column": {"type": "str"},
        "limit": {"type": "int", "default": 10000},
        "matches": {"type": "str"},
    }
    RULES: Mapping[str, Any] = {"mutually_exclusive": [["aad", "aad_column"]]}

    def __init__(self, options: Mapping[str, Any], where: str) -> None:
        self.table: str = take.text(options, "table", where)
        self.column: str = take.text(options, "column", where)
        self.key_file: str = take.text(options, "key_file", where)
        self.key_encoding: str = take.choice(options, "key_encoding", where, KEY_ENCODINGS, "raw")
        self.encoding: str = take.choice(options, "encoding", where, ENCODINGS, "raw")
        self.layout: str = take.choice(options, "layout", where, LAYOUTS, "nonce_ciphertext_tag")
        self.separator: str = take.text(options, "separator", where, "")
        self.nonce_bytes: int = take.integer(options, "nonce_bytes", where, 12, minimum=8, maximum=128)
        self.aad: str | None = take.text(options, "aad", where, None)
        self.aad_column: str | None = take.text(options, "aad_column", where, None)
        self.limit: int = take.integer(options, "limit", where, 10000, minimum=0)
        matches: str | None = take.text(options, "matches", where, None)
        if self.aad is not None and self.aad_column is not None:
            raise ConfigurationError("aad and aad_column exclude each other", where)
        if self.separator and self.encoding == "raw":
            raise ConfigurationError("a separator needs encoding: hex or base64", where, "Raw bytes may hold any sign.")
        try:
            self._pattern = None if matches is None else re.compile(matches)
        except re.error as error:
            raise ConfigurationError(f"matches is not a regular expression: {error}", where) from None
        self.name = f"decrypt {self.table}.{self.column}"

    def run(self, restored: Restored) -> CheckResult:
        key = read_key(self.key_file, self.key_encoding)
        cipher = Cipher(key, self.encoding, self.layout, self.nonce_bytes, self.separator)
        with restored.conn.transaction():
            rows, values = self._counts(restored.conn)
            tried = min(values, self.limit or values)
            tally = _Tally()
            for value, aad in self._values(restored.conn, sampled=tried < values):
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

    def _counts(self, conn: Connection[Any]) -> tuple[int, int]:
        """Rows of the table, and how many of them have a value."""
        table = find_table(conn, self.table)
        column = table.column(self.column, conn)
        wanted = ("bytea",) if self.encoding == "raw" else ("text", "character varying", "character", "bytea")
        if column.base not in wanted:
            raise ConfigurationError(f"{self.column} is {column.type}, needed is {' or '.join(wanted)}", str(table), "See encoding.")
        [(rows, values)] = conn.execute(compose(_COUNT, column=identifier(column.name), table=table.identifier))
        return rows, values

    def _values(self, conn: Connection[Any], sampled: bool) -> Iterator[tuple[bytes, bytes | None]]:
        """Values and their associated data as bytes, streamed."""
        table = find_table(conn, self.table)
        column = table.column(self.column, conn)
        aad = compose("{aad}::pg_catalog.bytea", aad=literal(None if self.aad is None else self.aad.encode()))
        if self.aad_column is not None:
            aad_column = table.column(self.aad_column, conn)
            aad = compose(_bytes_of(aad_column.base), column=identifier(aad_column.name))
        statement = compose(
            _VALUES + (_SAMPLE if sampled else ""),
            value=compose(_bytes_of(column.base), column=identifier(column.name)),
            aad=aad,
            table=table.identifier,
            column=identifier(column.name),
            limit=literal(self.limit),
        )
        with conn.cursor(name="lifeboat_decrypt", binary=True) as cursor:
            cursor.itersize = 500
            cursor.execute(statement)
            yield from cursor

    def _try(self, cipher: Cipher, value: bytes, aad: bytes | None, tally: _Tally) -> None:
        try:
            plaintext = cipher.open(bytes(value), None if aad is None else bytes(aad))
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


def _bytes_of(base: str) -> str:
    """A column's value as the bytes that an application would have sealed it with: text in UTF-8."""
    return "{column}" if base == "bytea" else "pg_catalog.convert_to({column}::pg_catalog.text, 'UTF8')"

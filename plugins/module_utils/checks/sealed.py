# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A column that an application sealed with AES-256-GCM: how it writes its values, and where the key lies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options as take
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.ciphertext import Cipher, key_of, read_key
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.relations import compose, find_table, identifier, literal
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.spec import ENCODINGS, KEY_ENCODINGS, LAYOUTS
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, SealError

if TYPE_CHECKING:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.opened import OpenedKey
    from psycopg import Connection
    from psycopg.sql import Composable

__all__ = ["SealedColumn"]

_COUNT = "SELECT count(*), count({column}) FROM {table}"
_VALUES = "SELECT {value}, {aad} FROM {table} WHERE {column} IS NOT NULL"
_SAMPLE = " ORDER BY pg_catalog.random() LIMIT {limit}"


class SealedColumn:
    """The options that say it, and the values as bytes."""

    def __init__(self, options: Mapping[str, Any], where: str) -> None:
        self.table: str = take.text(options, "table", where)
        self.column: str = take.text(options, "column", where)
        self.key: str = take.text(options, "key", where, "")
        self.key_part: str = take.text(options, "key_part", where, "")
        self.key_file: str = take.text(options, "key_file", where, "")
        self.key_encoding: str = take.choice(options, "key_encoding", where, KEY_ENCODINGS, "raw")
        self.encoding: str = take.choice(options, "encoding", where, ENCODINGS, "raw")
        self.layout: str = take.choice(options, "layout", where, LAYOUTS, "nonce_ciphertext_tag")
        self.separator: str = take.text(options, "separator", where, "")
        self.nonce_bytes: int = take.integer(options, "nonce_bytes", where, 12, minimum=8, maximum=128)
        self.aad: str | None = take.text(options, "aad", where, None)
        self.aad_column: str | None = take.text(options, "aad_column", where, None)
        if bool(self.key) == bool(self.key_file):
            raise ConfigurationError(
                "key and key_file exclude each other" if self.key else "key or key_file is required",
                where,
                "Name a protected key out of the vault as key, or a file on the drill host as key_file.",
            )
        if self.key_part and not self.key:
            raise ConfigurationError("key_part belongs to key", where, "Leave it out.")
        if self.aad is not None and self.aad_column is not None:
            raise ConfigurationError("aad and aad_column exclude each other", where)
        if self.separator and self.encoding == "raw":
            raise ConfigurationError("a separator needs encoding: hex or base64", where, "Raw bytes may hold any sign.")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SealedColumn) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def cipher(self, keys: Mapping[str, OpenedKey]) -> Cipher:
        """What opens the values; raises `SealError` when the key cannot be had. `keys` are those out of the vault."""
        if self.key_file:
            key = read_key(self.key_file, self.key_encoding)
        elif self.key in keys:
            key = key_of(keys[self.key].part(self.key_part), self.key_encoding, f"protected key {self.key!r}")
        else:
            raise SealError("it could not be had from the vault", f"protected key {self.key!r}", "See the answer about that key.")
        return Cipher(key, self.encoding, self.layout, self.nonce_bytes, self.separator)

    def count(self, conn: Connection[Any], condition: Composable | None = None) -> tuple[int, int]:
        """Rows (that meet the condition), and how many of them have a value."""
        table = find_table(conn, self.table)
        column = table.column(self.column, conn)
        wanted = ("bytea",) if self.encoding == "raw" else ("text", "character varying", "character", "bytea")
        if column.base not in wanted:
            raise ConfigurationError(f"{self.column} is {column.type}, needed is {' or '.join(wanted)}", str(table), "See encoding.")
        statement = compose(_COUNT, column=identifier(column.name), table=table.identifier)
        if condition is not None:
            statement = statement + compose(" WHERE ({condition})", condition=condition)
        [(rows, values)] = conn.execute(statement)
        return rows, values

    def values(
        self, conn: Connection[Any], limit: int | None = None, condition: Composable | None = None
    ) -> Iterator[tuple[bytes, bytes | None]]:
        """Values and their associated data as bytes, streamed; with a limit, a random sample."""
        table = find_table(conn, self.table)
        column = table.column(self.column, conn)
        aad = compose("{aad}::pg_catalog.bytea", aad=literal(None if self.aad is None else self.aad.encode()))
        if self.aad_column is not None:
            aad_column = table.column(self.aad_column, conn)
            aad = compose(_bytes_of(aad_column.base), column=identifier(aad_column.name))
        value = compose(_bytes_of(column.base), column=identifier(column.name))
        statement = compose(_VALUES, value=value, aad=aad, table=table.identifier, column=identifier(column.name))
        if condition is not None:
            statement = statement + compose(" AND ({condition})", condition=condition)
        if limit is not None:
            statement = statement + compose(_SAMPLE, limit=literal(limit))
        with conn.cursor(name="lifeboat_sealed", binary=True) as cursor:
            cursor.itersize = 500
            cursor.execute(statement)
            for sealed, associated in cursor:
                yield bytes(sealed), None if associated is None else bytes(associated)


def _bytes_of(base: str) -> str:
    """A column's value as the bytes that an application would have sealed it with: text in UTF-8."""
    return "{column}" if base == "bytea" else "pg_catalog.convert_to({column}::pg_catalog.text, 'UTF8')"

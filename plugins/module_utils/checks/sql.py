# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Any question in SQL, with one value or a JMESPath expression as the expectation."""

from __future__ import annotations

import datetime as dt
import decimal
import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import expression
from ansible_collections.lifeboat.postgres.plugins.module_utils import options as take
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import FAILED, PASSED, Check, CheckResult, Restored
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.search_path import use_database_search_path
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import shortened

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["Sql"]

MOST_ROWS = 1000


class Sql(Check):
    """`{sql: {name: no negative stock, query: "SELECT count(*) FROM products WHERE stock < 0", expect: 0}}`"""

    def __init__(self, options: Mapping[str, Any], where: str) -> None:
        self.query: str = take.text(options, "query", where)
        self.expect: Any = options.get("expect")
        self.jmespath: str | None = take.text(options, "jmespath", where, None)
        self._where = where
        if (self.expect is None) == (self.jmespath is None):
            raise ConfigurationError("one of expect and jmespath is needed", where, "To expect NULL write jmespath: '[0].name == null'.")
        if isinstance(self.expect, (list, dict)):
            raise ConfigurationError("expect is one value", where, "Compare lists and objects with jmespath.")
        one_line = " ".join(self.query.split())
        # Shortened, a query still has to have a name of its own.
        shortened = f"{one_line[:60]}… [{hashlib.sha256(self.query.encode()).hexdigest()[:8]}]"
        self.name = f"sql {one_line}" if len(one_line) <= 80 else f"sql {shortened}"

    def run(self, restored: Restored) -> CheckResult:
        columns, rows = query_rows(restored.conn, self.query)
        if self.jmespath is not None:
            objects = [dict(zip(columns, map(plain, row))) for row in rows]
            answer = expression.search(self.jmespath, objects, self._where)
            if not isinstance(answer, bool):
                raise ConfigurationError(f"the expression gives {_shown(answer)}, neither true nor false", self.jmespath)
            return CheckResult(self.name, PASSED if answer else FAILED, self.jmespath, _shown(objects[0] if len(objects) == 1 else objects))
        if len(columns) != 1 or len(rows) > 1:
            raise ConfigurationError(
                f"the query gives {len(rows)} rows of {len(columns)} columns, expected is one value", "", "Compare more with jmespath."
            )
        if not rows:
            return CheckResult(self.name, FAILED, _shown(self.expect), "no row")
        found = rows[0][0]
        return CheckResult(self.name, PASSED if same(self.expect, found) else FAILED, _shown(self.expect), _shown(_exact(found)))


def query_rows(conn: Connection[Any], query: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Names of columns, and at most `MOST_ROWS` rows of a query that only reads; raises `ConfigurationError` beyond.

    Unqualified names are looked up where the application's are: along the database's own search_path. The query runs as
    a cursor, so it is one statement and can neither write nor end the transaction. No setting is left behind.
    """
    with conn.transaction(force_rollback=True):
        use_database_search_path(conn)
        with conn.cursor(name="lifeboat_query") as cursor:
            cursor.execute(query.encode())
            columns = [column.name for column in cursor.description or ()]
            rows = cursor.fetchmany(MOST_ROWS + 1)
    if len(rows) > MOST_ROWS:
        raise ConfigurationError(f"the query gives more than {MOST_ROWS} rows", "", "Let it count or aggregate.")
    return columns, rows


def same(expected: Any, found: Any) -> bool:
    """Whether a value from YAML means the value from PostgreSQL: 3, 3.0 and "3" are the same number, "t" is true."""
    if found is None:
        return False
    if isinstance(found, bool) or isinstance(expected, bool):
        return _truth(expected) is not None and _truth(expected) == _truth(found)
    left, right = _number(expected), _number(found)
    if left is not None and right is not None and not (isinstance(expected, str) and isinstance(found, str)):
        return left == right
    return str(expected) == str(_exact(found))


def _exact(value: Any) -> Any:
    return value if isinstance(value, decimal.Decimal) else plain(value)


def plain(value: Any) -> Any:
    """A value from PostgreSQL as JSON data: whole numbers exact, moments as ISO 8601, anything unusual as its text."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, decimal.Decimal):
        return int(value) if value.is_finite() and value == value.to_integral_value() else float(value)
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, (bytes, memoryview)):
        return "\\x" + bytes(value).hex()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return str(value)


def _truth(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    return {"t": True, "true": True, "f": False, "false": False}.get(str(value).strip().lower())


def _number(value: Any) -> decimal.Decimal | None:
    try:
        number = decimal.Decimal(str(value).strip())
    except decimal.InvalidOperation:
        return None
    return number if number.is_finite() else None


def _shown(value: Any) -> str:
    """One line for people: JSON, but a text without quotes and a number with all its digits."""
    if isinstance(value, decimal.Decimal):
        value = str(value)
    text = " ".join(value.split()) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return shortened(text, 200)

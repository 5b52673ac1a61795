# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A second factor still works: the sealed secret of one account, opened after the restore, gives the codes that its owner's
authenticator shows (RFC 6238), computed when the check is asked and never written down.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options as take
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.authenticator import Authenticator, NoSecretError
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import FAILED, PASSED, UNVERIFIED, Check, CheckResult, Restored
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.ciphertext import NotSealedError, WrongKeyError
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.relations import raw
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.sealed import SealedColumn
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.spec import ALGORITHMS, PLAINTEXTS
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, SealError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.search_path import use_database_search_path
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.secret_file import read_secret_file

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["Totp"]

# Two secrets of different owners give the same code of six digits once in a million steps: one moment proves too little.
_MOMENTS = 3


class Totp(Check):
    """`{totp: {table: users, column: totp_secret, where: "login = 'drill'", key: …, secret_file: /run/drill/totp}}`"""

    def __init__(self, options: Mapping[str, Any], where: str) -> None:
        self.sealed = SealedColumn(options, where)
        self.needs_key = self.sealed.key
        self.where: str = take.text(options, "where", where)
        self.secret_file: str = take.text(options, "secret_file", where)
        self.plaintext: str = take.choice(options, "plaintext", where, PLAINTEXTS, "base32")
        self.digits: int = take.integer(options, "digits", where, 6, minimum=6, maximum=10)
        self.period: int = take.integer(options, "period", where, 30, minimum=1, maximum=3600)
        self.algorithm: str = take.choice(options, "algorithm", where, ALGORITHMS, "SHA1")
        self.name = f"totp {self.sealed.table}.{self.sealed.column}"

    def evidence(self, conn: Connection[Any]) -> Any:
        """Whether production had the account: then a row that is missing after the restore is lost, and not mistyped."""
        return {"rows": self._count(conn)}

    def run(self, restored: Restored) -> CheckResult:
        expected = "the codes of the authenticator, from the secret in the restored row"
        held = self._held()
        cipher = self.sealed.cipher(restored.keys)
        count = self._count(restored.conn)
        if count > 1:
            raise ConfigurationError(f"where finds {count} rows with a value, needed is one account", self.where)
        if not count:
            had = isinstance(restored.recorded, Mapping) and restored.recorded.get("rows")
            return CheckResult(self.name, FAILED if had else UNVERIFIED, expected, "there is no such row, or it has no value", self.where)
        with restored.conn.transaction(force_rollback=True):
            use_database_search_path(restored.conn)
            [(value, aad)] = self.sealed.values(restored.conn, condition=raw(self.where))
        try:
            kept = Authenticator.read(cipher.open(value, aad), self.plaintext, self.digits, self.period, self.algorithm)
        except (NotSealedError, WrongKeyError) as error:
            return CheckResult(self.name, FAILED, expected, "the value does not open with the protected key", str(error))
        except NoSecretError as error:
            return CheckResult(self.name, FAILED, expected, f"the value opens, and is no secret in {self.plaintext}", str(error))
        moments = [time.time() - held.period_seconds * step for step in range(_MOMENTS)]
        if all(hmac.compare_digest(held.code(moment), kept.code(moment)) for moment in moments):
            return CheckResult(self.name, PASSED, expected, "the codes are the same")
        return CheckResult(self.name, FAILED, expected, "other codes", "the row holds another secret, or its parameters differ")

    def _held(self) -> Authenticator:
        """What the operator's file holds; raises `SealError` without showing any of it."""
        content = read_secret_file(self.secret_file, self.secret_file)
        try:
            return Authenticator.read(content.encode(), "base32", self.digits, self.period, self.algorithm)
        except NoSecretError as error:
            raise SealError(f"this is no authenticator's secret: {error}", self.secret_file, "Write it in base32.") from None

    def _count(self, conn: Connection[Any]) -> int:
        """Rows with a value that `where` finds, its names looked up where the application's are."""
        with conn.transaction(force_rollback=True):
            use_database_search_path(conn)
            return self.sealed.count(conn, raw(self.where))[1]

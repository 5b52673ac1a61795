# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An account's authenticator and the restored row give the same codes, or it is said why not, without any secret."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY = bytes(range(32))
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
OTHER = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"


def seal(plaintext: str, aad: bytes | None = None) -> bytes:
    nonce = os.urandom(12)
    return nonce + AESGCM(KEY).encrypt(nonce, plaintext.encode(), aad)


class Accounts:
    """Users with sealed secrets, and the two files that a drill holds."""

    def __init__(self, database: Any, directory: Path) -> None:
        self.database = database
        self.key_file, self.secret_file = directory / "master.key", directory / "authenticator"
        self.write(self.key_file, KEY)
        self.write(self.secret_file, SECRET.encode())
        database.execute("CREATE TABLE users (id int, login text, secret bytea)")

    def write(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        path.chmod(0o600)

    def add(self, login: str, secret: bytes | None, number: int = 1) -> None:
        with self.database.connect() as connection:
            connection.execute("INSERT INTO public.users VALUES (%s, %s, %s)", (number, login, secret))

    def ask(self, recorded: Any = None, **more: Any) -> Any:
        answer = self.database.ask(recorded, totp=self.options(**more))
        for secret in (SECRET, OTHER, KEY.hex()):
            assert secret not in repr(answer), "a secret in a report"
        return answer

    def options(self, **more: Any) -> dict[str, Any]:
        own = {"table": "users", "column": "secret", "where": "login = 'drill'"}
        return {**own, "key_file": str(self.key_file), "secret_file": str(self.secret_file), **more}


@pytest.fixture
def accounts(database: Any, tmp_path: Path) -> Accounts:
    return Accounts(database, tmp_path)


@pytest.mark.parametrize("kept", [SECRET, SECRET.lower(), f"otpauth://totp/shop:drill?secret={SECRET}&issuer=shop"])
def test_the_same_secret_passes_however_it_is_written(accounts: Accounts, kept: str) -> None:
    accounts.add("drill", seal(kept))
    accounts.add("somebody", seal(OTHER))
    assert accounts.ask().verdict == "passed"
    accounts.write(accounts.secret_file, f"otpauth://totp/drill?secret={SECRET}\n".encode())
    assert accounts.ask().verdict == "passed"


def test_another_secret_or_other_parameters_fail(accounts: Accounts) -> None:
    accounts.add("drill", seal(OTHER))
    answer = accounts.ask()
    assert (answer.verdict, answer.found) == ("failed", "other codes")
    accounts.add("second", seal(f"otpauth://totp/x?secret={SECRET}&digits=8"))
    assert accounts.ask(where="login = 'second'").verdict == "failed"
    assert accounts.ask(where="login = 'second'", digits=8).verdict == "passed"


def test_a_wrong_key_and_a_plaintext_that_is_no_secret_fail(accounts: Accounts) -> None:
    accounts.add("drill", seal("no secret of anything!"))
    answer = accounts.ask()
    assert (answer.verdict, answer.found) == ("failed", "the value opens, and is no secret in base32")
    accounts.write(accounts.key_file, bytes(32))
    answer = accounts.ask()
    assert (answer.verdict, answer.found) == ("failed", "the value does not open with the protected key")


def test_associated_data_of_the_row_is_used(accounts: Accounts) -> None:
    accounts.add("drill", seal(SECRET, aad=b"7"), number=7)
    assert accounts.ask(aad_column="id").verdict == "passed"
    assert accounts.ask(aad="8").verdict == "failed"


def test_an_account_that_production_had_is_lost_and_one_that_nobody_had_is_mistyped(accounts: Accounts) -> None:
    accounts.add("drill", seal(SECRET))
    recorded = accounts.database.evidence(totp=accounts.options())
    assert recorded == {"rows": 1}
    assert accounts.ask(recorded, where="login = 'dril'").verdict == "failed"
    assert accounts.ask(where="login = 'dril'").verdict == "unverified"
    accounts.database.execute("UPDATE users SET secret = NULL")
    assert accounts.ask(recorded).verdict == "failed"


def test_more_than_one_account_is_not_one(accounts: Accounts) -> None:
    for _ in range(2):
        accounts.add("drill", seal(SECRET))
    answer = accounts.ask()
    assert (answer.verdict, "finds 2 rows" in answer.detail) == ("unverified", True)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"8 is no letter of base32", "not written in base32"),
        (None, "no such file"),
        (b"otpauth://hotp/x", "not of type"),
    ],
)
def test_without_the_authenticators_secret_nothing_is_proven(accounts: Accounts, content: bytes | None, said: str) -> None:
    accounts.add("drill", seal(SECRET))
    if content is None:
        accounts.secret_file.unlink()
    else:
        accounts.write(accounts.secret_file, content)
    answer = accounts.ask()
    assert answer.verdict == "unverified"
    assert said in answer.detail
    assert str(accounts.secret_file) in answer.detail


def test_a_condition_cannot_write(accounts: Accounts) -> None:
    accounts.add("drill", seal(SECRET))
    answer = accounts.ask(where="true); DELETE FROM public.users; SELECT 1 WHERE (true")
    assert answer.verdict == "unverified", answer
    assert accounts.ask().verdict == "passed"

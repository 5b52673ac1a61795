# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The protected key opens what production sealed; a wrong one is named, and nothing of key or plaintext is ever said."""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY = bytes(range(32))
PLAINTEXT = "JBSWY3DPEHPK3PXP"


def seal(
    plaintext: str = PLAINTEXT, *, key: bytes = KEY, aad: bytes | None = None, tag_first: bool = False, nonce_bytes: int = 12
) -> bytes:
    nonce = os.urandom(nonce_bytes)
    sealed = AESGCM(key).encrypt(nonce, plaintext.encode(), aad)
    return nonce + (sealed[-16:] + sealed[:-16] if tag_first else sealed)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "master.key"
    path.write_bytes(KEY)
    path.chmod(0o600)
    return path


class Secrets:
    """A table of sealed values, asked with the key file of the test."""

    def __init__(self, database: Any, key_file: Path) -> None:
        self.database, self.key_file = database, key_file

    def fill(self, kind: str, values: list[Any], *, more: str = "id int") -> None:
        self.database.execute(f"CREATE TABLE customers ({more}, secret {kind})")
        with self.database.connect() as connection, connection.cursor() as cursor:
            for number, value in enumerate(values, 1):
                cursor.execute("INSERT INTO public.customers VALUES (%s, %s)", (number, value))

    def ask(self, **options: Any) -> Any:
        answer = self.database.ask(decrypt={"table": "customers", "column": "secret", "key_file": str(self.key_file), **options})
        told = repr(answer)
        for secret in (PLAINTEXT, KEY.hex(), base64.b64encode(KEY).decode()):
            assert secret not in told, "a secret in a report"
        return answer


@pytest.fixture
def customers(database: Any, key_file: Path) -> Secrets:
    return Secrets(database, key_file)


def hex_parts(sealed: bytes) -> str:
    return f"{sealed[:12].hex()}:{sealed[12:28].hex()}:{sealed[28:].hex()}"


@pytest.mark.parametrize(
    ("kind", "value", "options"),
    [
        ("bytea", lambda: seal(), {}),
        ("bytea", lambda: seal(tag_first=True), {"layout": "nonce_tag_ciphertext"}),
        ("bytea", lambda: seal(nonce_bytes=16), {"nonce_bytes": 16}),
        ("bytea", lambda: seal(aad=b"totp"), {"aad": "totp"}),
        ("text", lambda: base64.b64encode(seal()).decode(), {"encoding": "base64"}),
        ("varchar", lambda: base64.urlsafe_b64encode(seal()).decode().rstrip("="), {"encoding": "base64"}),
        ("text", lambda: base64.encodebytes(seal("x" * 100)).decode(), {"encoding": "base64"}),
        ("text", lambda: seal().hex().upper(), {"encoding": "hex"}),
        ("bytea", lambda: base64.b64encode(seal()), {"encoding": "base64"}),
        ("text", lambda: hex_parts(seal(tag_first=True)), {"encoding": "hex", "separator": ":", "layout": "nonce_tag_ciphertext"}),
        ("bytea", lambda: seal(), {"matches": "[A-Z2-7]{16}"}),
    ],
)
def test_each_way_of_writing_sealed_values_opens(customers: Secrets, kind: str, value: Any, options: dict[str, Any]) -> None:
    customers.fill(kind, [value() for _ in range(20)])
    answer = customers.ask(**options)
    assert answer.verdict == "passed", answer
    assert answer.found == "opened 20 values"


def test_associated_data_from_a_column_binds_a_value_to_its_row(customers: Secrets) -> None:
    customers.fill("bytea", [seal(aad=str(number).encode()) for number in range(1, 6)])
    assert customers.ask(aad_column="id").verdict == "passed"
    customers.database.execute("UPDATE customers SET id = id + 1 WHERE id > 3")
    answer = customers.ask(aad_column="id")
    assert (answer.verdict, answer.found) == ("failed", "2 of 5 did not open")


def test_a_wrong_key_fails_for_every_value_and_says_so(customers: Secrets) -> None:
    customers.fill("bytea", [seal() for _ in range(7)])
    customers.key_file.write_bytes(secrets.token_bytes(32))
    answer = customers.ask()
    assert (answer.verdict, answer.found) == ("failed", "7 of 7 did not open")
    assert "not the key that production used" in answer.detail


def test_some_damaged_values_are_counted_by_what_is_wrong(customers: Secrets) -> None:
    changed = bytearray(seal())
    changed[-1] ^= 1
    customers.fill("bytea", [seal(), seal(), bytes(changed), b"short", seal(key=b"x" * 32), None])
    answer = customers.ask()
    assert (answer.verdict, answer.found) == ("failed", "3 of 5 did not open")
    assert answer.detail == ("2 need another key, or were changed; 1 are not sealed values (encoding, or too short); 1 row without a value")


def test_a_plaintext_of_another_form_fails_without_being_shown(customers: Secrets) -> None:
    customers.fill("bytea", [seal(), seal("not base32!")])
    answer = customers.ask(matches="[A-Z2-7]{16}")
    assert (answer.verdict, answer.found) == ("failed", "1 of 2 have another form")
    assert "base32" not in repr(answer)


@pytest.mark.parametrize("values", [[], [None, None]])
def test_with_nothing_to_open_the_key_is_not_proven(customers: Secrets, values: list[Any]) -> None:
    customers.fill("bytea", values)
    assert customers.ask().verdict == "unverified"


def test_a_large_table_is_sampled_at_random_and_said_so(customers: Secrets) -> None:
    customers.fill("bytea", [seal() for _ in range(50)])
    assert customers.ask(limit=10).found == "opened a random sample of 10 of 50 values"
    assert customers.ask(limit=0).found == "opened 50 values"
    assert customers.ask(limit=50).found == "opened 50 values"


@pytest.mark.parametrize(
    ("content", "encoding", "said"),
    [
        (KEY.hex().encode() + b"\n", "hex", ""),
        (base64.b64encode(KEY) + b"\n", "base64", ""),
        (b"", "raw", "is empty"),
        (b"\n", "raw", "is empty"),
        (KEY + b"\n", "raw", "line feed"),
        (KEY[:16], "raw", "has 16 bytes"),
        (KEY.hex().encode(), "raw", "has 64 bytes"),
        (b"not hex at all!", "hex", "is not written in hex"),
        (None, "raw", "no such file"),
    ],
)
def test_a_key_that_cannot_be_tried_leaves_the_drill_unverified(
    customers: Secrets, content: bytes | None, encoding: str, said: str
) -> None:
    customers.fill("bytea", [seal()])
    if content is None:
        customers.key_file.unlink()
    else:
        customers.key_file.write_bytes(content)
    answer = customers.ask(key_encoding=encoding)
    if not said:
        assert answer.verdict == "passed", answer
        return
    assert answer.verdict == "unverified"
    assert said in answer.detail
    assert str(customers.key_file) in answer.detail


def test_a_key_that_others_can_read_is_refused(customers: Secrets) -> None:
    customers.fill("bytea", [seal()])
    customers.key_file.chmod(0o644)
    answer = customers.ask()
    assert answer.verdict == "unverified"
    assert "others can read it" in answer.detail


def test_a_column_of_another_type_is_unverified(customers: Secrets) -> None:
    customers.fill("jsonb", [])
    answer = customers.ask()
    assert answer.verdict == "unverified"
    assert "secret is jsonb" in answer.detail


def test_hostile_names_are_only_names(database: Any, key_file: Path) -> None:
    database.execute('CREATE TABLE "cus""tomers %s {}" ("se.cret; --" bytea, "aad""$(id)" text)')
    with database.connect() as connection:
        connection.execute('INSERT INTO public."cus""tomers %%s {}" VALUES (%s, %s)', (seal(aad=b"me"), "me"))
    check = {"table": '"cus""tomers %s {}"', "column": '"se.cret; --"', "aad_column": '"aad""$(id)"', "key_file": str(key_file)}
    assert database.ask(decrypt=check).verdict == "passed"

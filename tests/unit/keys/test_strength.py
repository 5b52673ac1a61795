# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is refused as a key, and what is not: the table of row C5, and a property of random keys."""

from __future__ import annotations

import base64
import os
import random

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.strength import same_secret, weakness
from hypothesis import given
from hypothesis import strategies as st

# The same in every process that collects these tests.
SOME = random.Random(7).randbytes(64)
PEM = b"-----BEGIN PRIVATE KEY-----\n" + base64.b64encode(bytes(range(40)))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b"", "it is empty"),
        (b"\n", "it is empty"),
        (bytes(32), "it is all zero"),
        (b"0" * 64, "it is all zero"),
        (bytes(32).hex().encode(), "it is all zero"),
        (base64.b64encode(bytes(32)), "it is all zero"),
        (b"\xff" * 32, "it is one byte again and again"),
        (b"a" * 32, "it is one byte again and again"),
        (b"\xff".hex().encode() * 32, "it is one byte again and again"),
        (bytes(range(32)), "its bytes count up or down, as in an example"),
        (bytes(range(32)).hex().encode(), "its bytes count up or down, as in an example"),
        (base64.b64encode(bytes(range(1, 33))), "its bytes count up or down, as in an example"),
        (b"0123456789abcdef", "its bytes count up or down, as in an example"),
        (b"abcdabcdabcdabcd", "it is a short piece again and again"),
        (b"12345678" * 4, "its bytes count up or down, as in an example"),
        (b"changeme", "it is a default or an example that everybody knows"),
        (b"ChangeMe-please-32-characters-xx", "it is a default or an example that everybody knows"),
        (b"secret", "it is a default or an example that everybody knows"),
        (b"supersecret\n", "it is a default or an example that everybody knows"),
        (b"your-256-bit-secret", "it is a default or an example that everybody knows"),
        (b"django-insecure-x9d(1_2f$k^hz", "it is a default or an example that everybody knows"),
        (b"base64:" + base64.b64encode(b"SomeRandomStringOf32Characters!!"), "it is a default or an example that everybody knows"),
        (bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"), "it is a default or an example"),
        (b"603DEB1015CA71BE2B73AEF0857D77811F352C073B6108D72D9810A30914DFF4", "it is a default or an example"),
        (b"x7Kq", "it is shorter than 16 bytes"),
        (b"aZ3$kf9!mQ2&xY7", "it is shorter than 16 bytes"),
        (PEM, "it begins a private key and does not end it: it was cut"),
    ],
)
def test_what_is_no_key_is_refused_without_being_shown(value: bytes, said: str) -> None:
    found = weakness(value)
    assert found.startswith(said) or (said.startswith("its bytes count") and found == "it is a short piece again and again"), found
    assert value.strip() == b"" or value.strip().decode("latin-1") not in found or value.strip() in b"secret 0"


@pytest.mark.parametrize("length", [16, 24, 32, 64])
def test_random_keys_are_taken_however_they_are_written(length: int) -> None:
    source = random.Random(length)  # of a few million random ones one holds a telling word by chance
    for _try in range(50):
        raw = source.randbytes(length)
        for value in (raw, raw + b"\n", raw.hex().encode(), base64.b64encode(raw), b"base64:" + base64.b64encode(raw)):
            assert weakness(value) == "", value


def test_files_of_keys_and_configuration_are_taken() -> None:
    assert weakness(b"shop.example.com {\n  reverse_proxy app:80 { transport http { tls_insecure_skip_verify } }\n}\n") == ""
    assert weakness(PEM + b"\n-----END PRIVATE KEY-----\n") == ""
    assert weakness(b"PORT=80\nAPP_KEY=" + os.urandom(16).hex().encode() + b"\n# changeme is what it was once\n" * 9) == ""


@pytest.mark.parametrize(
    ("value", "encoding", "said"),
    [
        (SOME[:8].hex().encode(), "hex", "it is shorter than 16 bytes"),
        (SOME[:16].hex().encode(), "hex", ""),
        (b"no hex at all, but long enough", "hex", "it is not written in hex"),
        (base64.b64encode(SOME[:12]), "base64", "it is shorter than 16 bytes"),
    ],
)
def test_with_an_encoding_the_bytes_behind_the_text_are_judged(value: bytes, encoding: str, said: str) -> None:
    assert weakness(value, encoding) == said


def test_a_lower_limit_can_be_asked_for() -> None:
    assert weakness(b"x7Kq9fTz", least_bytes=8) == ""


@given(st.binary(max_size=80))
def test_no_value_is_a_fault_of_ours(value: bytes) -> None:
    assert isinstance(weakness(value), str)


def test_line_ends_make_no_other_secret() -> None:
    assert same_secret(b"one\n", [b"two", b"one\r\n"])
    assert not same_secret(b"one ", [b"one"])
    assert not same_secret(b"one", [])

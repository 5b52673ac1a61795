# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Codes of authenticators: the vectors of RFC 6238, and the ways in which people and applications keep a secret."""

from __future__ import annotations

import base64

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.authenticator import Authenticator, NoSecretError

DIGITS = b"1234567890"
SECRETS = {"SHA1": (DIGITS * 2), "SHA256": (DIGITS * 4)[:32], "SHA512": (DIGITS * 7)[:64]}
# RFC 6238, appendix B
VECTORS = [
    (59, "94287082", "46119246", "90693936"),
    (1111111109, "07081804", "68084774", "25091201"),
    (1111111111, "14050471", "67062674", "99943326"),
    (1234567890, "89005924", "91819424", "93441116"),
    (2000000000, "69279037", "90698825", "38618901"),
    (20000000000, "65353130", "77737706", "47863826"),
]


@pytest.mark.parametrize(("moment", "sha1", "sha256", "sha512"), VECTORS)
def test_the_vectors_of_the_rfc(moment: int, sha1: str, sha256: str, sha512: str) -> None:
    for algorithm, code in (("SHA1", sha1), ("SHA256", sha256), ("SHA512", sha512)):
        assert Authenticator(SECRETS[algorithm], 8, 30, algorithm).code(moment) == code


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (b"GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", "base32"),
        (b"gezd gnbv gy3t qojq gezd gnbv gy3t qojq\n", "base32"),
        (b"GEZD-GNBV-GY3T-QOJQ-GEZD-GNBV-GY3T-QOJQ", "base32"),
        (SECRETS["SHA1"].hex().encode(), "hex"),
        (base64.b64encode(SECRETS["SHA1"]), "base64"),
        (SECRETS["SHA1"], "raw"),
        (b"otpauth://totp/Shop:ada@example.com?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Shop&digits=8", "hex"),
        (b"otpauth://totp/x?secret=gezdgnbvgy3tqojqgezdgnbvgy3tqojq&algorithm=HMAC-SHA1&digits=8&period=30\n", "raw"),
    ],
)
def test_each_way_of_keeping_a_secret_gives_the_same_code(content: bytes, encoding: str) -> None:
    assert Authenticator.read(content, encoding, 8, 30, "SHA1").code(59) == "94287082"


def test_what_a_url_says_goes_before_what_was_configured() -> None:
    url = b"otpauth://totp/x?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZA&algorithm=SHA256&digits=8&period=60"
    read = Authenticator.read(url, "base32", 6, 30, "SHA1")
    assert (read.digits, read.period_seconds, read.algorithm, read.secret) == (8, 60, "SHA256", SECRETS["SHA256"])


@pytest.mark.parametrize(
    ("content", "encoding", "said"),
    [
        (b"", "base32", "is empty"),
        (b"not base32 at all!", "base32", "not written in base32"),
        (b"zz", "hex", "not written in hex"),
        (b"otpauth://hotp/x?secret=GEZDGNBV&counter=1", "base32", "not of type totp"),
        (b"otpauth://totp/x?issuer=Shop", "base32", "is empty"),
        (b"otpauth://totp/x?secret=GEZDGNBV&algorithm=MD4", "base32", "unknown algorithm"),
        (b"otpauth://totp/x?secret=GEZDGNBV&digits=0", "base32", "no sane digits"),
        (b"otpauth://totp/x?secret=GEZDGNBV&period=soon", "base32", "no sane period"),
        (b"otpauth://totp/\xff", "base32", "cannot be read"),
    ],
)
def test_what_is_no_secret_is_said_without_showing_it(content: bytes, encoding: str, said: str) -> None:
    with pytest.raises(NoSecretError, match=said) as caught:
        Authenticator.read(content, encoding, 6, 30, "SHA1")
    assert "GEZD" not in str(caught.value)


def test_a_secret_is_not_in_what_is_printed_of_it() -> None:
    assert "1234" not in repr(Authenticator(DIGITS))

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What gpg 2.2 and 2.4 were heard to say, and what that means: a wrong identity is no damage, and damage is no wrong identity."""

from __future__ import annotations

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import SealError
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.base import DamagedSeal, WrongIdentity
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.gpg import GpgOpener

NO_KEY = """[GNUPG:] ENC_TO 850ADA0B0C4A3028 18 0
gpg: encrypted with ECDH key, ID 850ADA0B0C4A3028
[GNUPG:] NO_SECKEY 850ADA0B0C4A3028
{}[GNUPG:] BEGIN_DECRYPTION
[GNUPG:] DECRYPTION_FAILED
gpg: decryption failed: No secret key
[GNUPG:] END_DECRYPTION
"""
FAILED = "gpg: public key decryption failed: {}\n[GNUPG:] ERROR pkdecrypt_failed {}\n"
OPENED = "[GNUPG:] ENC_TO 9F96FDADF8D1BCF1 1 0\n[GNUPG:] DECRYPTION_KEY 77B7 C500 -\n[GNUPG:] NO_SECKEY 459C33D868E90D43\n"


def heard(said: str) -> SealError:
    opener = object.__new__(GpgOpener)
    opener.identity_file = "/id"
    error = opener._explain(2, said)
    assert isinstance(error, SealError)
    return error


@pytest.mark.parametrize("said", [NO_KEY.format(""), NO_KEY.format(FAILED.format("No secret key", 33554449))], ids=["2.2", "2.4"])
def test_no_key_for_any_recipient_is_a_wrong_identity(said: str) -> None:
    assert isinstance(heard(said), WrongIdentity)


@pytest.mark.parametrize(
    ("said", "in_header"),
    [
        (NO_KEY.format(FAILED.format("Wrong secret key used", 33554450)), True),
        (OPENED + "gpg: encrypted_mdc packet with unknown version 255\n[GNUPG:] NODATA 3\n", False),
        (OPENED + "[GNUPG:] BEGIN_DECRYPTION\ngpg: WARNING: encrypted message has been manipulated!\n[GNUPG:] BADMDC\n", False),
        ("gpg: no valid OpenPGP data found.\n[GNUPG:] NODATA 1\n", True),
        ("gpg: no gpg-agent running in this session\n[GNUPG:] FAILURE decrypt 4294967295\n", True),
    ],
)
def test_what_was_altered_or_cut_is_damage(said: str, in_header: bool) -> None:
    error = heard(said)
    assert isinstance(error, DamagedSeal)
    assert error.in_header is in_header


def test_a_fault_of_this_host_says_nothing_about_the_backup() -> None:
    error = heard("gpg: can't connect to the agent: IPC connect call failed\n")
    assert type(error) is SealError


def test_a_line_that_a_file_brought_in_is_no_status() -> None:
    assert isinstance(heard('gpg: encrypted with a key of "[GNUPG:] DECRYPTION_OKAY"\n[GNUPG:] NODATA 1\n'), DamagedSeal)

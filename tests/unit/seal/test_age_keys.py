# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys are judged before anything runs, and one that is wrong is never shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, SealError
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.age_keys import check_identity_file, identity_lines, parse_recipients
from hypothesis import given, settings
from hypothesis import strategies as st
from support.keys import bech32, ssh_line

IDENTITY = bech32("age-secret-key-", bytes(range(32))).upper()
RECIPIENT = bech32("age", bytes(range(32)))
ED25519 = ssh_line("ssh-ed25519", bytes(range(32)))
RSA_1024 = ssh_line("ssh-rsa", b"\1\0\1", b"\0" + b"\xff" * 128)
RSA_2048 = ssh_line("ssh-rsa", b"\1\0\1", b"\0" + b"\xff" * 256)


def test_recipients_lose_comments_and_duplicates_and_keep_their_order() -> None:
    given_ = [f" {ED25519} ops@shop ", RECIPIENT, f"{ED25519} another comment", RSA_2048, RECIPIENT]
    assert parse_recipients(given_) == (ED25519, RECIPIENT, RSA_2048)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (IDENTITY, "this is a secret key, not a recipient"),
        (IDENTITY.lower(), "this is a secret key, not a recipient"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjE", "this is a secret key, not a recipient"),
        (RECIPIENT[:-1] + "q", "it was cut or mistyped"),
        (RECIPIENT[:-1], "it was cut or mistyped"),
        (RECIPIENT.upper(), "expected age1…, ssh-ed25519 … or ssh-rsa …"),
        (RECIPIENT[:20] + RECIPIENT[20:].upper(), "it was cut or mistyped"),
        ("age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t", "plugins"),
        ("correct horse battery staple", "expected age1…, ssh-ed25519 … or ssh-rsa …"),
        ("", "expected age1…, ssh-ed25519 … or ssh-rsa …"),
        (ED25519[:-4], "not a whole SSH public key"),
        ("ssh-ed25519", "not a whole SSH public key"),
        ("ssh-ed25519 hunter2!", "not a whole SSH public key"),
        (ED25519.replace("ssh-ed25519", "ssh-rsa"), "not a whole SSH public key"),
        (ssh_line("ssh-ed25519", b"short"), "not for this type"),
        (ssh_line("ssh-dss", b"x"), "not for this type"),
        (RSA_1024, "less than 2048 bits"),
    ],
)
def test_a_wrong_recipient_is_named_by_position_and_never_shown(wrong: str, reason: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_recipients([RECIPIENT, wrong])
    assert reason in str(caught.value)
    assert "number 2" in str(caught.value)
    assert not wrong or wrong[5:] not in str(caught.value)


@settings(deadline=None)
@given(st.text(max_size=100))
def test_any_text_is_a_recipient_or_refused_without_being_shown(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_recipients([text])
    assert len(text.strip()) < 20 or text.strip() not in str(caught.value)


def test_nobody_to_seal_for_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"nobody to seal for.*Make a pair with: age-keygen"):
        parse_recipients([])


@settings(deadline=None)
@given(st.binary(min_size=32, max_size=32))
def test_every_key_of_the_right_length_is_one(data: bytes) -> None:
    assert parse_recipients([bech32("age", data)]) == (bech32("age", data),)


@settings(deadline=None)
@given(st.integers(0, 57), st.sampled_from("qpzry9x8gf2tvdw0s3jn54khce6mua7l"))
def test_one_mistyped_letter_is_always_noticed(position: int, letter: str) -> None:
    mistyped = RECIPIENT[: 4 + position] + letter + RECIPIENT[5 + position :]
    if mistyped != RECIPIENT:
        with pytest.raises(ConfigurationError, match="mistyped"):
            parse_recipients([mistyped])


@pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
def test_a_key_of_another_length_is_none(length: int) -> None:
    with pytest.raises(ConfigurationError):
        parse_recipients([bech32("age", bytes(length))])


# --- identity files


def _file(path: Path, content: str | bytes, mode: int = 0o600) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return str(path)


def test_an_identity_file_may_hold_comments_and_several_identities(tmp_path: Path) -> None:
    path = _file(tmp_path / "id", f"# created: today\r\n# public key: {RECIPIENT}\n\n{IDENTITY}\n{IDENTITY.lower()}\n")
    assert identity_lines(path) == [IDENTITY, IDENTITY.lower()]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o777])
def test_an_identity_that_others_can_read_is_refused_with_the_command_that_helps(tmp_path: Path, mode: int) -> None:
    path = _file(tmp_path / "id", IDENTITY, mode)
    with pytest.raises(SealError) as caught:
        check_identity_file(path)
    assert str(caught.value) == f"others can read it (mode {mode:04o}) (identity file {path}). chmod 600 {path}"


@pytest.mark.needs("root")
def test_another_owner_may_share_with_our_group_but_not_with_everybody(tmp_path: Path) -> None:
    path = _file(tmp_path / "id", IDENTITY, 0o640)
    os.chown(path, 65534, 0)
    check_identity_file(path)
    Path(path).chmod(0o644)
    with pytest.raises(SealError, match="others can read it"):
        check_identity_file(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "it holds no identity"),
        ("# only a comment\n", "it holds no identity"),
        (RECIPIENT, "this is a recipient, the public half"),
        (ED25519, "this is a recipient, the public half"),
        (IDENTITY[:-2] + "QQ", "something that is not an age identity"),
        (f"{IDENTITY}\nhunter2", "something that is not an age identity"),
        (b"\xff\xfe\0", "something that is not an age identity"),
        ("AGE-PLUGIN-YUBIKEY-1QQPQSZQGPQQPYQ", "age plugins are not supported"),
        (b"age-encryption.org/v1\n-> scrypt x\n", "protected by a passphrase"),
        ("-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n", "protected by a passphrase"),
        ("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n", "protected by a passphrase"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNz\n-----END OPENSSH PRIVATE KEY-----", "the SSH key is damaged"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\n!\n-----END OPENSSH PRIVATE KEY-----", "the SSH key is damaged"),
    ],
)
def test_a_file_that_is_no_identity_says_why_and_shows_nothing(tmp_path: Path, content: str | bytes, reason: str) -> None:
    with pytest.raises(SealError) as caught:
        check_identity_file(_file(tmp_path / "id", content))
    assert reason in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "YUBIKEY" not in str(caught.value)


def test_a_place_that_holds_no_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SealError, match="there is no such file"):
        check_identity_file(str(tmp_path / "absent"))
    with pytest.raises(SealError, match="this is not a regular file"):
        check_identity_file(str(tmp_path))


def test_a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(SealError, match="this is not a regular file"):
        check_identity_file(str(tmp_path / "fifo"))

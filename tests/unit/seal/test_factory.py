# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From options to a sealer, from a manifest's method to an opener."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, MissingTool, SealError
from ansible_collections.lifeboat.postgres.plugins.module_utils.pipeline import run_through
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.factory import opener, sealer, shortcoming
from support.keys import bech32

pytestmark = pytest.mark.needs("library:pyrage")

ONE, TWO = bech32("age", bytes(32)), bech32("age", bytes(range(32)))


def test_the_method_may_be_left_out_and_two_recipients_need_no_warning() -> None:
    made = sealer({"recipients": [ONE, TWO]}, prefer="library")
    assert (made.method, made.suffix, made.recipients, made.notes) == ("age", ".age", (ONE, TWO), ())


def test_a_single_recipient_is_warned_of_also_when_it_is_given_twice() -> None:
    (note,) = sealer({"method": "age", "recipients": [ONE, ONE]}, prefer="library").notes
    assert note.startswith("only one recipient: ")


@pytest.mark.parametrize(
    ("encryption", "message"),
    [
        ({"recipents": [ONE]}, r"unknown key 'recipents' \(encryption\)\. Did you mean 'recipients'\?"),
        ({"method": "agee", "recipients": [ONE]}, r"method: unknown value 'agee' \(encryption\)\. Did you mean 'age'\?"),
        ({"method": "rot13", "recipients": [ONE]}, r"Known are: age"),
        ({"recipients": []}, "nobody to seal for"),
        ({}, "nobody to seal for"),
        ({"recipients": None}, "nobody to seal for"),
        ({"recipients": [1]}, "expected a list of texts"),
        ({"recipients": [ONE], "passphrase_file": "/p"}, "passphrase_file belongs to method gpg-symmetric, and the method is age"),
        ({"recipients": [ONE], "keyring_file": "/k"}, "keyring_file belongs to method gpg, and the method is age"),
        ({"method": "gpg-symmetric"}, "passphrase_file is required"),
        ({"method": "gpg-symmetric", "passphrase_file": "/p", "recipients": [ONE]}, "recipients means nothing with method gpg-symmetric"),
        ({"method": "none", "recipients": [ONE]}, "recipients means nothing with method none"),
        ({"recipients": [ONE, TWO], "key_recipients": [TWO, ONE]}, "key_recipients are the recipients of the data: who may open a backup"),
        ({"recipients": [ONE], "key_recipients": ["age1x"]}, r"encryption\.key_recipients, number 1"),
    ],
)
def test_wrong_options_are_refused_with_the_nearest_known_word(encryption: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        sealer(encryption)


def test_a_backup_of_an_unknown_method_says_which_ones_can_be_opened() -> None:
    with pytest.raises(ConfigurationError, match=r"sealed with 'rot13', .* It opens: age, gpg, gpg-symmetric, none\."):
        opener("rot13", "/identity")


def test_opening_needs_an_identity() -> None:
    with pytest.raises(SealError, match="needs the identity of one of its recipients"):
        opener("age", "")


def test_keys_are_sealed_for_people_of_their_own() -> None:
    three = bech32("age", bytes(31) + b"\1")
    encryption = {"recipients": [ONE, TWO], "key_recipients": [TWO, three]}
    assert sealer(encryption, prefer="library").recipients == (ONE, TWO)
    keys = sealer(encryption, prefer="library", purpose="keys")
    assert keys.recipients == (TWO, three)
    assert keys.notes == ("1 of the key recipients can open the data as well: whoever holds that identity has both",)


@pytest.mark.parametrize("encryption", [{"recipients": [ONE]}, {"method": "none"}])
def test_keys_are_never_sealed_for_somebody_else(encryption: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="keys are sealed for key_recipients, and with method"):
        sealer(encryption, purpose="keys")


def test_no_seal_is_used_only_by_its_name_and_told_loudly() -> None:
    made = sealer({"method": "none"})
    assert (made.method, made.suffix, made.recipients) == ("none", "", ())
    assert made.notes[0].startswith("NOT SEALED: ")
    assert made.notes[0] == shortcoming("none")
    assert (shortcoming("age"), shortcoming("gpg")) == ("", "")
    output = bytearray()
    run_through([made.stage(), opener("none").stage()], [b"as it is"], output.extend)
    assert output == b"as it is"


def test_a_passphrase_is_asked_for_by_its_own_option() -> None:
    with pytest.raises(SealError, match=r"sealed with a passphrase \(passphrase_file\)"):
        opener("gpg-symmetric", "/identity")


def test_neither_shows_a_secret_in_its_text_form(tmp_path: Path) -> None:
    identity = bech32("age-secret-key-", bytes(range(32))).upper()
    path = tmp_path / "identity"
    path.write_text(identity)
    path.chmod(0o600)
    made = opener("age", str(path), prefer="library")
    assert repr(made) == f"AgeOpener('{path}')"
    assert identity not in str(vars(made))
    assert repr(sealer({"recipients": [ONE]}, prefer="library")) == "AgeSealer(1 recipients)"


def test_without_program_and_library_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setitem(__import__("sys").modules, "pyrage", None)
    with pytest.raises(MissingTool, match=r"neither the program age nor its library .* Install the package age\."):
        sealer({"recipients": [ONE]})
    with pytest.raises(MissingTool, match="the program age was not found"):
        sealer({"recipients": [ONE]}, prefer="program")

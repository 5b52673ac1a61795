# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From options to a sealer, from a manifest's method to an opener."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, MissingTool, SealError
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.factory import opener, sealer
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
    ],
)
def test_wrong_options_are_refused_with_the_nearest_known_word(encryption: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        sealer(encryption)


def test_a_backup_of_an_unknown_method_says_which_ones_can_be_opened() -> None:
    with pytest.raises(ConfigurationError, match=r"sealed with 'gpg', which this version cannot open\. It opens: age\."):
        opener("gpg", "/identity")


def test_opening_needs_an_identity() -> None:
    with pytest.raises(SealError, match="needs the identity of one of its recipients"):
        opener("age", "")


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

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From an `encryption` mapping to a sealer, from a manifest's method to an opener. A static registry.

A method's own file is loaded when that method is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, SealError
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.methods import AGE, GPG, GPG_SYMMETRIC, METHODS, NONE, SHORTCOMINGS

if TYPE_CHECKING:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.base import Opener, Sealer

__all__ = ["METHODS", "PURPOSES", "opener", "sealer", "shortcoming"]

PURPOSES = ("data", "keys")
_KEYS = ("method", "recipients", "key_recipients", "keyring_file", "passphrase_file")
_WHERE = "encryption"


def sealer(encryption: Mapping[str, Any], prefer: str = "", purpose: str = "data") -> Sealer:
    """The sealer of `{method: age, recipients: [age1…, "ssh-ed25519 …"]}`; the method may be left out.

    `purpose` is `data`, or `keys` for what is sealed for `key_recipients`: two sets of people, so that who may open a
    backup cannot also open the keys that its data are encrypted with. Both are looked at whichever is asked for.
    Raises `ConfigurationError` (with the nearest known word), `SealError` for a passphrase's file, `MissingTool`.
    """
    options.unknown_keys(encryption, _KEYS, _WHERE)
    method = options.choice(encryption, "method", _WHERE, METHODS, default=AGE)
    recipients = options.texts(encryption, "recipients", _WHERE, default=())
    key_recipients = options.texts(encryption, "key_recipients", _WHERE, default=())
    keyring_file = options.text(encryption, "keyring_file", _WHERE, default="")
    passphrase_file = options.text(encryption, "passphrase_file", _WHERE, default="")
    _refuse(method, GPG, "keyring_file", keyring_file)
    _refuse(method, GPG_SYMMETRIC, "passphrase_file", passphrase_file)
    if method in (AGE, GPG):
        data = _for_recipients(method, recipients, keyring_file, prefer, "recipients")
        keys = _for_recipients(method, key_recipients, keyring_file, prefer, "key_recipients") if key_recipients else None
        if keys is not None:
            _apart(data, keys)
        return data if purpose == "data" else _key_sealer(method, keys)
    if recipients:
        raise ConfigurationError(f"recipients means nothing with method {method}", _WHERE, f"Leave it out, or say method: {AGE}.")
    if method == GPG_SYMMETRIC and not passphrase_file:
        raise ConfigurationError("passphrase_file is required with method gpg-symmetric", _WHERE, "Give the path of a file of mode 0600.")
    # Whoever holds the passphrase of the data must not have the keys as well, so those are sealed for recipients even then.
    if purpose == "keys":
        return _key_sealer(method, _for_recipients(AGE, key_recipients, "", prefer, "key_recipients") if key_recipients else None)
    if key_recipients:
        from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.age_keys import parse_recipients

        parse_recipients(key_recipients, f"{_WHERE}.key_recipients")
    return _with_passphrase(passphrase_file) if method == GPG_SYMMETRIC else _unsealed()


def opener(method: str, identity_file: str = "", prefer: str = "", passphrase_file: str = "") -> Opener:
    """The opener for a backup whose manifest says `method`; raises `ConfigurationError`, `SealError`, `MissingTool`."""
    if method not in METHODS:
        raise ConfigurationError(f"sealed with {method!r}, which this version cannot open", "", f"It opens: {', '.join(METHODS)}.")
    if method == NONE:
        from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.unsealed import NoOpener

        return NoOpener()
    if method == GPG_SYMMETRIC:
        if not passphrase_file:
            raise SealError("this backup is sealed with a passphrase", "passphrase_file", "Give the path of the file that holds it.")
        from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.gpg import PassphraseOpener

        return PassphraseOpener(passphrase_file)
    if not identity_file:
        raise SealError("opening a backup needs the identity of one of its recipients", "identity_file", "Give the path of its file.")
    if method == GPG:
        from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.gpg import GpgOpener

        return GpgOpener(identity_file)
    from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.age import AgeOpener

    return AgeOpener(identity_file, prefer)


def shortcoming(method: str) -> str:
    """What every report of a backup that was sealed so has to say; "" when the host that writes cannot read."""
    return SHORTCOMINGS.get(method, "")


def _for_recipients(method: str, recipients: Sequence[str], keyring_file: str, prefer: str, key: str) -> Sealer:
    where = f"{_WHERE}.{key}"
    if method == GPG:
        from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.gpg import GpgSealer

        return GpgSealer(recipients, keyring_file, where)
    from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.age import AgeSealer

    return AgeSealer(recipients, prefer, where)


def _with_passphrase(passphrase_file: str) -> Sealer:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.gpg import PassphraseSealer

    return PassphraseSealer(os.path.expanduser(passphrase_file))


def _unsealed() -> Sealer:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.unsealed import NoSealer

    return NoSealer()


def _refuse(method: str, belongs_to: str, key: str, value: str) -> None:
    if value and method != belongs_to:
        raise ConfigurationError(f"{key} belongs to method {belongs_to}, and the method is {method}", _WHERE, "Leave one of both out.")


def _apart(data: Sealer, keys: Sealer) -> None:
    """Two sets of recipients are two sets of people (law 4)."""
    if set(keys.recipients) == set(data.recipients):
        raise ConfigurationError(
            "key_recipients are the recipients of the data: who may open a backup could open the keys to what is encrypted in it",
            _WHERE,
            "Give keys recipients of their own, or leave key_recipients out.",
        )
    both = len(set(keys.recipients) & set(data.recipients))
    if both:
        keys.notes += (f"{both} of the key recipients can open the data as well: whoever holds that identity has both",)


def _key_sealer(method: str, keys: Sealer | None) -> Sealer:
    if keys is None:
        raise ConfigurationError(
            f"keys are sealed for key_recipients, and with method {method} there are none", _WHERE, "Give key_recipients, at least two."
        )
    return keys

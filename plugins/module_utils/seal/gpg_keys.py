# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenPGP keys, read before anything runs: recipients (public) and identity files (secret).

A recipient is a file with one public key, the armored key itself, or the whole fingerprint of a key in `keyring_file`.
Names and short key ids are refused: whoever makes a key can give it any name. Fields: GnuPG's doc/DETAILS.
"""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, SealError
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.gpg_home import GpgHome
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.secret_file import read_secret_bytes

__all__ = ["PublicKeys", "read_identity", "read_recipients"]

LIMIT_BYTES = 4 * 1024 * 1024
SOON = dt.timedelta(days=30)
_MAKE_KEY = "Export one with: gpg --armor --export FINGERPRINT > FILE"
_FINGERPRINT = re.compile(r"(?:0x)?([0-9A-Fa-f]{40}|[0-9A-Fa-f]{64})")
_SHORT_ID = re.compile(r"(?:0x)?[0-9A-Fa-f]{8,63}")
_STUBS = ("gnu-dummy", "gnu-divert-to-card")
_NOT_USABLE = {"e": "expired", "r": "revoked", "i": "not valid", "d": "disabled", "n": "not valid"}


@dataclass(frozen=True)
class PublicKeys:
    """The keys to seal for: exact fingerprints in the order given, the keys themselves, and what should be known of them."""

    fingerprints: tuple[str, ...]
    data: bytes
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Key:
    fingerprint: str
    secret: bool
    validity: str
    seals: bool
    expires: dt.datetime | None


def read_recipients(home: GpgHome, given: Sequence[str], keyring_file: str = "", where: str = "encryption.recipients") -> PublicKeys:
    """The keys of these recipients. Raises `ConfigurationError` that names the position of a wrong one."""
    if not given:
        raise ConfigurationError("nobody to seal for: the list of recipients is empty", where, _MAKE_KEY)
    keyring = _keyring(home, keyring_file) if keyring_file else {}
    sources = {keyring_file: _read(keyring_file, "encryption.keyring_file")} if keyring_file else {}
    found: dict[str, _Key] = {}
    for position, item in enumerate(given, 1):
        place = f"{where}, number {position}"
        fingerprint = _FINGERPRINT.fullmatch("".join(item.split()))
        if fingerprint is not None:
            key = _named(fingerprint.group(1).upper(), keyring, keyring_file, place)
        else:
            data = _given_key(item.strip(), place)
            key = _only(home, data, place)
            sources[key.fingerprint] = data
        found[key.fingerprint] = _usable(key, place)
    # One import, then only what is needed: user ids and signatures of a keyring are nobody's business.
    for data in sources.values():
        home.import_keys(data)
    minimal = home.run("--export-options", "export-minimal", "--export", *found).stdout
    notes = [f"recipient {key.fingerprint} expires on {key.expires:%Y-%m-%d}; nothing is sealed for it from then on"
             for key in found.values() if key.expires is not None and key.expires - now() < SOON]  # fmt: skip
    return PublicKeys(tuple(found), minimal, tuple(notes))


def read_identity(home: GpgHome, path: str) -> bytes:
    """The secret keys in a file. Secret. Raises `SealError` for a file that others can read or that opens nothing."""
    where = f"identity file {path}"
    data = read_secret_bytes(path, where)
    keys = _keys(home, data)
    if not keys:
        raise SealError("it holds no OpenPGP secret key", where, "Export one with: gpg --export-secret-keys FINGERPRINT > FILE")
    if not any(key.secret for key in keys):
        raise SealError("this is a recipient, the public half; opening needs the secret key", where)
    packets = home.run("--list-packets", data=data).stdout.decode("utf-8", "replace")
    protections = re.findall(r"^\t([\w+-]+) S2K", packets, re.MULTILINE)
    stubs = sum(protection in _STUBS for protection in protections)
    if stubs == len(re.findall(r"^:secret (?:sub )?key packet:", packets, re.MULTILINE)):
        raise SealError("the secret part is not in this file (a stub, or a key that lives on a card)", where)
    if len(protections) > stubs:
        raise SealError(
            "the secret key is protected by a passphrase, and nobody is there to type it",
            where,
            "Take it off with gpg --edit-key and passwd, and export the key again, to a file of mode 0600.",
        )
    return data


def _read(path: str, where: str) -> bytes:
    try:
        with open(os.path.expanduser(path), "rb") as file:
            return file.read(LIMIT_BYTES)
    except OSError as error:
        raise ConfigurationError(f"the key file cannot be read: {error.strerror}", where, _MAKE_KEY) from None


def _given_key(item: str, where: str) -> bytes:
    """The bytes of a key that was given by its file or as its armored text."""
    if "PRIVATE KEY" in item or item.upper().startswith("AGE-SECRET-KEY-"):
        raise ConfigurationError("this is a secret key, not a recipient", where, "Give its public half, and treat this key as leaked.")
    if "-----BEGIN PGP PUBLIC KEY BLOCK-----" in item:
        return item.encode()
    if item.startswith(("/", "~", "./", "../")):
        return _read(item, where)
    if _SHORT_ID.fullmatch("".join(item.split())):
        problem = "a part of a fingerprint is easily forged"
    elif "@" in item:
        problem = "a name or an address says nothing about whose key it is"
    elif item.startswith(("age1", "ssh-")):
        problem = "this is a recipient for the method age"
    else:
        problem = "expected the path of a public key's file, the armored key, or a whole fingerprint"
    raise ConfigurationError(f"not a recipient: {problem}", where, "Give the file, or all 40 digits and keyring_file.")


def _named(fingerprint: str, keyring: dict[str, _Key], keyring_file: str, where: str) -> _Key:
    if not keyring_file:
        raise ConfigurationError(
            "a fingerprint needs the keyring_file that holds its key", where, "Make it with: gpg --export FINGERPRINT… > keyring.gpg"
        )
    if fingerprint not in keyring:
        raise ConfigurationError(
            f"no key of fingerprint {fingerprint} is in {keyring_file}", where, "Give the primary key's fingerprint, and export that key."
        )
    return keyring[fingerprint]


def _keyring(home: GpgHome, path: str) -> dict[str, _Key]:
    where = f"encryption.keyring_file {path}"
    keys = _keys(home, _read(path, where))
    if not keys:
        raise ConfigurationError("it holds no OpenPGP key", where, "Make it with: gpg --export FINGERPRINT… > keyring.gpg")
    if any(key.secret for key in keys):
        raise ConfigurationError("it holds a secret key", where, "Export the public keys only, and treat this key as leaked.")
    return {key.fingerprint: key for key in keys}


def _only(home: GpgHome, data: bytes, where: str) -> _Key:
    keys = _keys(home, data)
    if any(key.secret for key in keys):
        raise ConfigurationError("this is a secret key, not a recipient", where, "Give its public half, and treat this key as leaked.")
    if len(keys) != 1:
        found = "no OpenPGP public key" if not keys else f"{len(keys)} keys"
        raise ConfigurationError(f"expected one public key, found {found}", where, _MAKE_KEY)
    return keys[0]


def _usable(key: _Key, where: str) -> _Key:
    if not key.seals:
        why = _NOT_USABLE.get(key.validity)
        what = f"is {why}" if why else "has no valid subkey to encrypt for"
        raise ConfigurationError(f"the key {key.fingerprint} {what}", where, "Prolong it and export it again, or give another one.")
    return key


def _keys(home: GpgHome, data: bytes) -> list[_Key]:
    """The primary keys in some bytes, which are looked at and not imported."""
    listing = home.run("--with-colons", "--fixed-list-mode", "--show-keys", data=data).stdout.decode("utf-8", "replace")
    keys: list[_Key] = []
    primary: list[str] | None = None
    ends: list[dt.datetime | None] = []

    def finish(fingerprint: str) -> None:
        if primary is not None:
            # It serves as long as the primary key and one of the subkeys to encrypt for do.
            last = None if not ends or None in ends else max(end for end in ends if end is not None)
            limits = [end for end in (_moment(primary[6]), last) if end is not None]
            keys.append(_Key(fingerprint, primary[0] == "sec", primary[1], "E" in primary[11], min(limits, default=None)))

    fingerprint = ""
    for line in listing.splitlines():
        fields = [*line.split(":"), *[""] * 12]
        kind = fields[0]
        if kind in ("pub", "sec"):
            finish(fingerprint)
            primary, fingerprint, ends = fields, "", []
        if kind == "fpr" and not fingerprint:
            fingerprint = fields[9].upper()
        if kind in ("pub", "sec", "sub", "ssb") and "e" in fields[11] and fields[1] not in _NOT_USABLE:
            ends.append(_moment(fields[6]))
    finish(fingerprint)
    return keys


def _moment(seconds: str) -> dt.datetime | None:
    return dt.datetime.fromtimestamp(int(seconds), dt.timezone.utc) if seconds.isdigit() else None

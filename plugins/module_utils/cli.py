# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `lifeboat`: what the modules do, in a terminal and without Ansible. It calls the same functions.

bin/lifeboat from a checkout, or python -m ansible_collections.lifeboat.postgres.plugins.module_utils.cli; its words are
in `command/`, one file each.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from ansible_collections.lifeboat.postgres.plugins.module_utils.command.terminal import Terminal, complain
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError

__all__ = ["main"]

_MISSING = 42
"""What `wal fetch` may be asked to say for a file that is certainly not there: no breakdown of Python ends like that."""

_WORDS = "ansible_collections.lifeboat.postgres.plugins.module_utils.command"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; its exit status is that of the first fault (errors.py), 0 without one."""
    words = sys.argv[1:] if argv is None else list(argv)
    if "wal" in words and "fetch" in words:
        return _failing_closed(words)
    return _run(words)


def _failing_closed(words: Sequence[str]) -> int:
    """For `restore_command`: a recovery takes every status from 1 to 125 for the end of the log, so no fault may have one."""
    try:
        status = _run(words)
    except SystemExit as error:  # the parser's, for a mistyped command
        return 0 if error.code in (0, None) else 126
    except BaseException as error:  # noqa: BLE001 - also a library that cannot be loaded
        complain(f"{type(error).__name__}: {error}")
        return 126
    return status if status in (0, 1, _MISSING) or status > 125 else 126


def _run(words: Sequence[str]) -> int:
    given = _parser().parse_args(words)
    try:
        # A word's file is loaded when it is said: listing backups and archiving a segment need very different libraries.
        file, function = given.run.split(":")
        status: int = getattr(importlib.import_module(f"{_WORDS}.{file}"), function)(given, Terminal(sys.stdout))
        sys.stdout.flush()
        return status
    except LifeboatError as error:
        complain(str(error))
        return error.exit_code
    except BrokenPipeError:  # the reader has seen enough: `lifeboat list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lifeboat", description="Backups of PostgreSQL: what is there, and whether it is whole.")
    parser.add_argument("-c", "--config", metavar="FILE", help="job file: JSON with options (default: /etc/lifeboat/list.json)")
    commands = parser.add_subparsers(dest="command", required=True, metavar="WORD")

    command = commands.add_parser("list", help="list the backups")
    command.add_argument("--json", action="store_true", help="print the whole answer as JSON")
    command.set_defaults(run="listing:list_")

    command = commands.add_parser("verify", help="look whether every file is there, in its size")
    command.add_argument("--json", action="store_true", help="print the whole answer as JSON")
    command.add_argument("--digests", action="store_true", help="read every byte and compare digests")
    command.set_defaults(run="listing:verify")

    command = commands.add_parser("show", help="all about one backup, its whole manifest with it")
    command.add_argument("--json", action="store_true", help="print it as JSON")
    command.add_argument("backup_id", metavar="BACKUP")
    command.set_defaults(run="listing:show")

    for command in commands.choices.values():
        _take_config_after(command)
    _add_wal(commands.add_parser("wal", help="the write-ahead log: archive, deliver, catch up"))
    _add_jobs(commands)
    _add_keys(commands.add_parser("keys", help="protected keys: an identity on paper, other recipients"))
    return parser


def _add_jobs(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The words about the jobs of this host, which cron or a timer starts."""
    for word, said, name in (
        ("run", "run a job: a file, SYSTEM/JOB, or JOB where one system has it", "one"),
        ("drill", "run the drill of this host, or the one that is named", "optional"),
        ("prune", "run the pruning of this host, or the one that is named", "optional"),
        ("reap", "remove what killed drills left: the job of this host, or the one that is named", "optional"),
        ("status", "how the jobs stand: last success, last result, next due", "none"),
        ("doctor", "whether this host is fit to run its jobs: looked at, and tried", "none"),
    ):
        command = commands.add_parser(word, help=said)
        command.add_argument("--jobs", metavar="DIR", help="where the job files are, in a folder per system (default: /etc/lifeboat)")
        if name == "none":
            command.add_argument("--system", help="only the jobs of this system")
            command.add_argument("--json", action="store_true", help="print the whole answer as JSON")
        else:
            command.add_argument("name", metavar="JOB", nargs=None if name == "one" else "?")
        command.set_defaults(run=f"jobs:{word}")
    command = commands.choices["prune"]
    command.add_argument("--dry-run", action="store_true", help="only say what would go, and why")
    command.add_argument("--all", action="store_true", help="name what stays, too, and why")
    command.add_argument("--json", action="store_true", help="print the whole answer as JSON")
    _take_config_after(command)
    command.set_defaults(run="prune:prune")
    command = commands.choices["reap"]
    command.add_argument("--work-dir", metavar="DIR", help="without a job, in this directory of drills")
    command.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    command.add_argument("--json", action="store_true", help="print the whole answer as JSON")
    command.set_defaults(run="reap:reap")


def _add_keys(parser: argparse.ArgumentParser) -> None:
    words = parser.add_subparsers(dest="keys", required=True, metavar="WORD")

    command = words.add_parser("print", help="put an identity on a page for the safe, as text and QR code")
    command.add_argument("identity", metavar="IDENTITY_FILE")
    command.add_argument("-o", "--output", metavar="FILE", required=True, help="the page (HTML), a file that is not there yet")
    command.set_defaults(run="keys:print_")

    command = words.add_parser("reseal", help="seal what the vaults hold for the key recipients of today")
    command.add_argument("identity", metavar="IDENTITY_FILE", help="one that opens what is there")
    command.add_argument("--check", action="store_true", help="only say what would be sealed anew")
    command.set_defaults(run="keys:reseal")

    for command in words.choices.values():
        _take_config_after(command)


def _add_wal(parser: argparse.ArgumentParser) -> None:
    # Left as it is when the option stands before the word, or nowhere.
    parser.add_argument("-c", "--config", metavar="FILE", default=argparse.SUPPRESS, help="job file (default: /etc/lifeboat/wal.json)")
    words = parser.add_subparsers(dest="wal", required=True, metavar="WORD")

    command = words.add_parser("push", help="archive a file: archive_command = 'lifeboat wal push %%p'")
    command.add_argument("path", metavar="PATH")
    command.set_defaults(run="wal:push")

    command = words.add_parser("fetch", help="deliver a file: restore_command = 'lifeboat wal fetch %%f %%p'")
    command.add_argument("name", metavar="NAME")
    command.add_argument("target", metavar="TARGET")
    command.add_argument("--missing", type=int, choices=(1, _MISSING), default=1, help=argparse.SUPPRESS)
    command.set_defaults(run="wal:fetch")

    command = words.add_parser("catch-up", help="send optional repositories what they lack")
    command.add_argument("--all", action="store_true", help="compare the archives whole, instead of what was noted")
    command.set_defaults(run="wal:catch_up")

    command = words.add_parser("info", help="how far the archive reaches, and what is missing")
    command.add_argument("--json", action="store_true", help="print the whole answer as JSON")
    command.set_defaults(run="wal_watch:info")

    command = words.add_parser("heartbeat", help="write the moment into production, so that a recovery can tell what it lost")
    command.set_defaults(run="wal_watch:heartbeat")

    command = words.add_parser("ship", help="empty a spool into the repositories, until told to stop")
    command.add_argument("spool", metavar="DIR")
    command.add_argument("--once", action="store_true", help="ship what is there, and end")
    command.set_defaults(run="wal_spool:ship")

    command = words.add_parser("receive", help="stream WAL from a server into a spool, and ship it, until told to stop")
    command.set_defaults(run="wal_spool:receive")

    for command in words.choices.values():
        _take_config_after(command)


def _take_config_after(command: argparse.ArgumentParser) -> None:
    """`-c FILE` after the word, too; left as it is when it stands before the word, or nowhere."""
    command.add_argument("-c", "--config", metavar="FILE", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


if __name__ == "__main__":
    raise SystemExit(main())

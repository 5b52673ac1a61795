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

from ansible_collections.lifeboat.postgres.plugins.module_utils.command.terminal import Terminal, escaped
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError

__all__ = ["main"]

_WORDS = "ansible_collections.lifeboat.postgres.plugins.module_utils.command"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; its exit status is that of the first fault (errors.py), 0 without one."""
    given = _parser().parse_args(argv)
    try:
        # A word's file is loaded when it is said: listing backups and archiving a segment need very different libraries.
        file, function = given.run.split(":")
        status: int = getattr(importlib.import_module(f"{_WORDS}.{file}"), function)(given, Terminal(sys.stdout))
        sys.stdout.flush()
        return status
    except LifeboatError as error:
        sys.stderr.write(f"lifeboat: {escaped(str(error))}\n")
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
    return parser


if __name__ == "__main__":
    raise SystemExit(main())

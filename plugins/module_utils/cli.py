# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `lifeboat`: what lies in the repositories, in a terminal. It calls the same functions as the modules.

python -m ansible_collections.lifeboat.postgres.plugins.module_utils.cli -c FILE list
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.backup_list import list_backups
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import (
    ConfigurationError,
    IntegrityError,
    LifeboatError,
    ObjectMissing,
    RepositoryError,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import BackupRef, backup_prefix
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import size

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; its exit status is that of the first fault (errors.py), 0 without one."""
    given = _parser().parse_args(argv)
    try:
        job = _job(given.config)
        if given.command == "verify":
            job["verify"] = "digests" if given.digests else "sizes"
        answer = list_backups(job)
        if given.command == "show":
            lines, status = list(_shown(answer, job["system"], given.backup_id)), 0
        else:
            lines = [json.dumps(answer, indent=2)] if given.json else list(_table(answer))
            status = _status(answer, strict=given.command == "verify")
    except LifeboatError as error:
        sys.stderr.write(f"lifeboat: {escaped(str(error))}\n")
        return error.exit_code
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return status


def escaped(text: str) -> str:
    """A text that does nothing to a terminal, whatever it holds."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lifeboat", description="Backups of PostgreSQL: what is there, and whether it is whole.")
    parser.add_argument("-c", "--config", required=True, metavar="FILE", help="job file: JSON with the options of backup_info")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, words in (("list", "list the backups"), ("verify", "look whether every file is there, in its size")):
        command = commands.add_parser(name, help=words)
        command.add_argument("--json", action="store_true", help="print the whole answer as JSON")
        if name == "verify":
            command.add_argument("--digests", action="store_true", help="read every byte and compare digests")
    commands.add_parser("show", help="all about one backup").add_argument("backup_id")
    return parser


def _job(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as stream:
            job = json.load(stream)
    except OSError as error:
        raise ConfigurationError(f"the job file cannot be read: {error.strerror}", path) from None
    except ValueError:
        raise ConfigurationError("the job file is not JSON", path) from None
    if not isinstance(job, dict):
        raise ConfigurationError("the job file is not a JSON object", path)
    return job


def _status(answer: Mapping[str, Any], strict: bool) -> int:
    if answer["unreachable"]:
        return RepositoryError.exit_code
    bad = answer["broken"] or not all(backup["good"] for backup in answer["backups"])
    return IntegrityError.exit_code if strict and bad else 0


def _table(answer: Mapping[str, Any]) -> Iterator[str]:
    """One block per asset; a line of at most 80 columns per backup, its problems below."""
    asset = ""
    for backup in sorted(answer["backups"], key=lambda found: (found["kind"], found["name"])):
        title = f"{backup['kind']}/{backup['name']}"
        if title != asset:
            asset = title
            yield escaped(title)
            yield f"  {'state of (UTC)':16}  {'size':>9}  {'backup':25}  in"
        mark = " " if backup["good"] else "!"
        moment = backup["snapshot_at"][:16].replace("T", " ")
        yield f"{mark} {moment}  {size(backup['size_bytes']):>9}  {backup['backup_id']}  {escaped(', '.join(backup['repositories']))}"
        for problem in backup["problems"]:
            yield f"    {escaped(problem)}"
    if not answer["backups"]:
        yield "no backups"
    for item in answer["broken"]:
        yield escaped(f"! {item['repository']}: {item['key']}: {item['reason']}")
    for name, reason in answer["unreachable"].items():
        yield escaped(f"! repository {name!r} cannot be listed: {reason}")


def _shown(answer: Mapping[str, Any], system: str, backup_id: str) -> Iterator[str]:
    found = [backup for backup in answer["backups"] if backup["backup_id"] == backup_id]
    if not found:
        raise ObjectMissing(f"there is no backup {backup_id!r}", f"system {system!r}", "lifeboat list shows those that there are.")
    for backup in found:
        for key, value in backup.items():
            if key != "problems":
                yield escaped(f"{key:16}  {', '.join(map(str, value)) if isinstance(value, list) else value}")
        for problem in backup["problems"]:
            yield escaped(f"{'problem':16}  {problem}")
        ref = BackupRef(system, backup["kind"], backup["name"], backup_id)
        yield f"{'how to restore':16}  {backup_prefix(ref)}RESTORE.md"


if __name__ == "__main__":
    raise SystemExit(main())

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is told when a job fails: a command, a mail, a webhook. A hook that fails is said, and changes nothing about the job's status.

A secret never is an argument: a webhook's URL, which is one, comes from a file; what is told goes in by standard input.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.jobs.secret_url import request
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import clean_line

__all__ = ["Hooks", "Told", "parse_hooks", "tell"]

_KEYS = ("command", "mail_to", "mail_from", "webhook_url_file", "after")
_SENDMAIL = ("/usr/sbin/sendmail", "/usr/lib/sendmail")
_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class Hooks:
    """`after`: only from so many failures in a row on. Everything else is empty where it is not wanted."""

    command: Sequence[str] = ()
    mail_to: Sequence[str] = ()
    mail_from: str = ""
    webhook_url_file: Path | None = None
    after: int = 1


@dataclass(frozen=True)
class Told:
    """One hook and what became of it; `problem` is "" when it took what it was told."""

    hook: str
    problem: str


def parse_hooks(given: Mapping[str, Any], where: str) -> Hooks:
    """Read `on_failure`; raises `ConfigurationError`."""
    options.unknown_keys(given, _KEYS, where)
    mail_to, mail_from = options.texts(given, "mail_to", where, ()), options.text(given, "mail_from", where, "")
    for address in (*mail_to, *filter(None, [mail_from])):
        if any(character.isspace() or character in ",;<>" or not character.isprintable() for character in address) or address.startswith(
            "-"
        ):
            raise ConfigurationError(f"{address!r} is no mail address", where, "Take one address an item, as ops@example.net or root.")
    command = options.texts(given, "command", where, ())
    if command and not os.path.isabs(command[0]):
        raise ConfigurationError(f"command: {command[0]!r} is not a whole path", where, "Cron's PATH is short: name the program from / on.")
    return Hooks(
        command,
        mail_to,
        mail_from,
        options.path(given, "webhook_url_file", where, absolute=True),
        options.integer(given, "after", where, 1, minimum=1),
    )


def tell(hooks: Hooks, report: Mapping[str, Any], timeout_seconds: float = _TIMEOUT_SECONDS) -> Iterator[Told]:
    """Tell each hook; what goes wrong with one keeps none of the others from being told."""
    if hooks.command:
        yield Told("command", _command(hooks.command, report, timeout_seconds))
    if hooks.mail_to:
        yield Told("mail", _mail(hooks, report, timeout_seconds))
    if hooks.webhook_url_file is not None:
        data = json.dumps(report).encode()
        yield Told("webhook", request(hooks.webhook_url_file, timeout_seconds, data=data, content_type="application/json"))


def _command(argv: Sequence[str], report: Mapping[str, Any], timeout_seconds: float) -> str:
    return _run(argv, json.dumps(report).encode() + b"\n", timeout_seconds)


def _mail(hooks: Hooks, report: Mapping[str, Any], timeout_seconds: float) -> str:
    from email.message import EmailMessage

    program = shutil.which("sendmail") or next((path for path in _SENDMAIL if os.access(path, os.X_OK)), "")
    if not program:
        return "there is no sendmail on this host"
    message = EmailMessage()
    message["To"] = ", ".join(hooks.mail_to)
    if hooks.mail_from:
        message["From"] = hooks.mail_from
    message["Subject"] = clean_line(f"lifeboat: {report['system']}/{report['job']} failed on {report['host']}")
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(f"{report['message']}\n\n{json.dumps(report, indent=2)}\n")
    return _run([program, "-i", "--", *hooks.mail_to], bytes(message), timeout_seconds)


def _run(argv: Sequence[str], data: bytes, timeout_seconds: float) -> str:
    try:
        # pylint: disable-next=ansible-bad-function  # run_command is a module's; this is the library's
        done = subprocess.run(argv, input=data, capture_output=True, timeout=timeout_seconds, check=False, cwd="/")
    except OSError as error:
        return f"{argv[0]} cannot be started: {error.strerror}"
    except subprocess.TimeoutExpired:
        return f"{argv[0]} had not ended after {timeout_seconds:g} s, and was killed"
    if done.returncode:
        return f"{argv[0]} ended with {done.returncode}: {clean_line(done.stderr.decode('utf-8', 'replace'), 300) or 'it said nothing'}"
    return ""

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What pg_restore complained about, counted and sorted by what to do about it. Pure.

Without `--exit-on-error` pg_restore goes on after an error and ends with exit status 1 and "errors ignored on restore: N".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["NEXT_STEPS", "RestoreErrors", "RestoreIssue", "kind_of", "parse"]

# What the server's or pg_restore's words look like; the first kind that fits.
_KINDS = {
    "disk": (r"No space left on device", r"could not (?:extend|write).*space", r"[Dd]isk (?:full|quota exceeded)"),
    "connection": (
        r"server closed the connection",
        r"connection to server",
        r"terminating connection",
        r"connection not open",
        r"lost synchronization",
        r"SSL SYSCALL",
        r"could not (?:send|receive) data",
        r"the database system is",
    ),
    "role": (r'role "(?:[^"]|"")*" does not exist',),
    "extension": (
        r'extension "(?:[^"]|"")*" (?:is not available|has no installation script|does not exist|must be installed)',
        r"could not open extension control file",
        r"required extension",
    ),
    "locale": (
        r"invalid (?:LC_\w+ )?locale name",
        r"could not create locale",
        r"could not open collator",
        r'collation "(?:[^"]|"")*" (?:for encoding .* )?does not exist',
        r"ICU is not supported in this build",
        r'encoding "[^"]*" does not match locale',
    ),
    "library": (
        r"could not (?:access|load) (?:file|library)",
        r'could not find function "(?:[^"]|"")*" in file',
        r"incompatible library",
        r"must be loaded via shared_preload_libraries",
        r"not supported (?:in|by) this build",
        r"compression .*not supported",
        r"unrecognized configuration parameter",
    ),
    "exists": (r"already exists", r"multiple primary keys for table"),
    "constraint": (
        r"violates (?:foreign key|check|unique|not-null|exclusion|row-level security)",
        r"could not create unique index",
        r"conflicting key value",
        r"is violated by some row",
        r"contains null values",
        r"there is no unique constraint matching",
    ),
    "data": (
        r"invalid input (?:syntax|value)",
        r"invalid byte sequence",
        r"out of range",
        r"value too long",
        r"missing data for column",
        r"extra data after last expected column",
        r"malformed",
        r"unexpected end of file",
        r"could not read from input file",
        r"invalid page",
        r"corrupt",
        r"did not find magic string",
        r"could not uncompress",
        r"unexpected block ID",
        r"entry ID",
    ),
    "permission": (r"permission denied", r"must be (?:owner|superuser|able to)", r"must have", r"not permitted"),
}

NEXT_STEPS = {
    "disk": "Give the target more room.",
    "connection": "The target server ended or lost the session: read its log.",
    "role": "Create the role on the target before the restore.",
    "extension": "Install the extension's package on the target.",
    "library": "Install the library or the build option that the server lacks on the target.",
    "locale": "Install the locale or collation on the target's operating system.",
    "exists": "Restore into an empty database made from template0.",
    "constraint": "The data do not keep a rule of their own schema: look at that table in production.",
    "data": "The archive is damaged, or the data do not fit their own types: compare digests first.",
    "permission": "Restore as a superuser of the target.",
    "other": "Read the message.",
}


@dataclass(frozen=True)
class RestoreIssue:
    """One error: its kind (a key of `NEXT_STEPS`), what was said, and the table-of-contents entry it came from ("" if none)."""

    kind: str
    message: str
    entry: str = ""


@dataclass(frozen=True)
class RestoreErrors:
    """All errors in their order. `ignored` is pg_restore's own count: None when it did not get to say it."""

    issues: tuple[RestoreIssue, ...]
    ignored: int | None
    warnings: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """The larger of what was read and what pg_restore counted: its output may have been cut."""
        return max(len(self.issues), self.ignored or 0)

    @property
    def by_kind(self) -> dict[str, int]:
        return dict(Counter(issue.kind for issue in self.issues))

    def summary(self, limit: int = 3) -> str:
        """One line: how many of which kind, and the first messages; "" without errors."""
        if not self.count:
            return ""
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(self.by_kind.items(), key=lambda item: -item[1]))
        first = "; ".join(f"{issue.entry}: {issue.message}" if issue.entry else issue.message for issue in self.issues[:limit])
        return f"{self.count} errors" + (f" ({kinds}): {first}" if kinds else "")


def parse(stderr: str | Iterable[str]) -> RestoreErrors:
    """Read what pg_restore (C locale, serial or parallel) wrote to standard error."""
    lines = stderr.splitlines() if isinstance(stderr, str) else list(stderr)
    issues: list[RestoreIssue] = []
    warnings: list[str] = []
    ignored: int | None = None
    entry = ""
    for line in lines:
        match = re.match(r"(?:.*/)?pg_restore: (.*)", line)
        if match is None:
            continue
        said = match.group(1).strip()
        counted = re.match(r"(?:warning|error): errors ignored on restore: (\d+)", said)
        if counted:
            ignored = int(counted.group(1))
        elif said.startswith("warning: "):
            warnings.append(said[len("warning: ") :])
        elif said.startswith("from TOC entry "):
            entry = re.sub(r"^from TOC entry \d+; \d+ \d+ ", "", said).strip()
        elif said.startswith(("error: ", "fatal: ")):
            message = said.partition(": ")[2]
            if message.startswith(("a worker process died", "one or more worker")) and issues:
                continue  # a consequence of what that worker said itself
            issues.append(RestoreIssue(kind_of(message), _short(message), entry))
            entry = ""
    return RestoreErrors(tuple(issues), ignored, tuple(warnings))


def kind_of(message: str) -> str:
    """The kind of a message of the server: a key of `NEXT_STEPS`."""
    return next((kind for kind, patterns in _KINDS.items() if any(re.search(pattern, message) for pattern in patterns)), "other")


def _short(message: str) -> str:
    """Without pg_restore's own preamble before the server's words."""
    return re.sub(r"^could not execute query: (?:ERROR: +)?", "", message)

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the files of a recovered cluster are sound: its pages by their checksums, its tables and indexes by PostgreSQL's amcheck.

A base backup carries production's own pages, damage included; a dump would have been written anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO, cast

from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import FAILED, PASSED, UNVERIFIED, CheckResult
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.target import Target
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.programs import Program
from ansible_collections.lifeboat.postgres.plugins.module_utils.stages import clean_line

__all__ = ["PgAmcheck", "PgChecksums", "amcheck", "data_checksums"]

_STOP_SECONDS = 600.0
_KEPT_LINES = 200
_CORRUPTION = 2  # pg_amcheck's exit status (pg_amcheck.c)


class PgAmcheck(Program):
    """`pg_amcheck`: every table and every B-tree index of all databases."""

    name = "pg_amcheck"

    def argv(self, socket: str, port: int, user: str, jobs: int) -> list[str]:
        login = [f"--host={socket}", f"--port={port}", f"--username={user}", "--no-password", "--maintenance-db=template1"]
        return [str(self.path), *login, "--all", "--install-missing", f"--jobs={jobs}"]


class PgChecksums(Program):
    """`pg_checksums`: every page of a cluster that was shut down."""

    name = "pg_checksums"

    def argv(self, data: str) -> list[str]:
        return [str(self.path), "--check", f"--pgdata={data}"]


def amcheck(target: Target, program: PgAmcheck, jobs: int) -> CheckResult:
    """Ask it of the running server, in which it makes the extension where it is missing."""
    cluster = target.running
    quiet = "-c event_triggers=off " if cluster.major >= 17 else ""
    login = cluster.login("template1")
    argv = program.argv(login.unix_socket, login.port, login.user, jobs)
    code, lines = _run(target, ["env", f"PGOPTIONS={quiet}-c statement_timeout=0", *argv], [])
    expected = "sound tables and indexes in every database"
    said = clean_line("\n".join(lines), 600)
    if code == 0:
        return CheckResult("pg_amcheck", PASSED, expected, "no fault")
    if code == _CORRUPTION:
        return CheckResult("pg_amcheck", FAILED, expected, "damage was found", said)
    return CheckResult("pg_amcheck", UNVERIFIED, expected, f"pg_amcheck ended with exit status {code}", said)


def data_checksums(target: Target, program: PgChecksums, paths: Sequence[Path]) -> CheckResult:
    """Shut the server down, since the files have to be whole, and look at every page. `paths` are where they lie."""
    cluster = target.running
    cluster.stop_cleanly(_STOP_SECONDS)
    code, lines = _run(target, program.argv(str(cluster.data)), list(paths))
    expected = "every page has its checksum"
    counted = next((line.strip() for line in lines if line.startswith("Blocks scanned")), "")
    bad = [line for line in lines if "checksum verification failed" in line]
    if code == 0:
        return CheckResult("data checksums", PASSED, expected, " ".join(counted.split()).lower() or "all of them do")
    if bad:
        return CheckResult("data checksums", FAILED, expected, f"{len(bad)} or more do not", clean_line("\n".join(bad[:5]), 600))
    return CheckResult(
        "data checksums", UNVERIFIED, expected, f"pg_checksums ended with exit status {code}", clean_line("\n".join(lines), 400)
    )


def _run(target: Target, argv: list[str], readable: list[Path]) -> tuple[int, list[str]]:
    """Both of what it says come by one pipe; bounded, and read to the end."""
    process = target.run(["sh", "-c", 'exec "$@" >&2', "sh", *argv], readable)
    stream: IO[str] = cast("IO[str]", process.stderr)
    lines: list[str] = []
    try:
        for line in stream:
            if len(lines) < _KEPT_LINES:
                lines.append(line.rstrip("\n")[:500])
            else:
                lines[-1] = line.rstrip("\n")[:500]
        return process.wait(), lines
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        stream.close()

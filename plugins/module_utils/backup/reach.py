# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way to the server: from this host, or from inside the container that it runs in (the option `exec`).

Sessions go over the published port when `login_host` is given, else through a relay; PostgreSQL's programs run inside,
where they are of the server's own major version.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError, MissingTool
from ansible_collections.lifeboat.postgres.plugins.module_utils.pipeline import ProcessStage
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import Login, open_connection, psycopg
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.credentials import client_credentials
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.inside import Inside, outer_environment, watched_input
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.pooler import lost_snapshot
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.relay import relayed_socket
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.standby import conflict

if TYPE_CHECKING:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.job_common import Job

__all__ = ["Entered", "client_conninfo", "client_program", "end_leftovers", "reached"]

_MARK = "lifeboat inside"

AnyJob = TypeVar("AnyJob", bound="Job")


@dataclass(frozen=True)
class Entered:
    """A container that was looked into: programs for `Program(…, inside=…)`, and how they log in to the server beside them."""

    inside: Inside
    login: Login
    programs: dict[str, str]

    def find(self, name: str, major: int) -> str:
        """The path inside of a program of this major version; raises `MissingTool`. All lie beside a pg_dump."""
        for path, said in self.programs.items():
            if f" {major}." in f"{said}." or f" {major} " in f"{said} ":
                return os.path.join(os.path.dirname(path), name)
        found = "; ".join(f"{path} is {said}" for path, said in self.programs.items()) or "none was found"
        raise MissingTool(
            f"there is no pg_dump of PostgreSQL {major} in {self.inside.what}, the server's own major version",
            found,
            "Name the container that the server runs in, or give the directory inside as bin_dir.",
        )

    def output(self, argv: list[str]) -> str:
        return self.inside.output(argv)


@contextlib.contextmanager
def reached(job: AnyJob) -> Iterator[AnyJob]:
    """The job with a login that leads to the server, for the block. Raises `DatabaseError`, `MissingTool` in one sentence."""
    if job.exec is None:
        yield job
        return
    facts = job.exec.look(str(job.bin_dir or ""), job.login.unix_socket)
    programs = dict(facts.pg_dumps)
    # Beside the server a password and a user are the same, and the way is its socket, or its loopback address.
    beside = dataclasses.replace(job.login, host="" if facts.socket else "127.0.0.1", unix_socket=facts.socket, port=job.exec.port)
    beside = dataclasses.replace(beside, ssl_mode="", ca_cert="", ssl_cert="", ssl_key="")
    if job.login.host:
        yield dataclasses.replace(job, inside=Entered(job.exec, beside, programs))
        return
    with relayed_socket(job.exec, facts) as directory:
        login = dataclasses.replace(beside, host="", unix_socket=directory)
        yield dataclasses.replace(job, login=login, inside=Entered(job.exec, beside, programs))


def client_conninfo(job: Job, application_name: str, **more: Any) -> str:
    """The login of PostgreSQL's own programs, which may run elsewhere than we do."""
    if job.inside is None:
        return job.login.conninfo(application_name, **more)
    # Only a program inside can outlive us: it carries a name by which the next run of this asset finds it.
    login = job.inside.login.for_database(job.login.dbname)
    return login.conninfo(f"{_mark(job)} {application_name.rpartition(' ')[2]}"[:63], **more)


@contextlib.contextmanager
def client_program(job: Job, name: str, argv: list[str], **more: Any) -> Iterator[ProcessStage]:
    """One of PostgreSQL's programs as the first stage of a stream; its credential lasts as long as the block.

    However the block ends, the program has ended with it, also inside a container.
    """
    if job.inside is None:
        with client_credentials(job.login) as given:
            yield ProcessStage(name, argv, env=given.env, pass_fds=given.pass_fds, explain=_explained(job), **more)
        return
    with watched_input(job.login.password) as stdin:
        command = job.inside.inside.argv(argv)
        try:
            yield ProcessStage(name, command, env=outer_environment(), stdin=stdin, explain=_explained(job), **more)
        except BaseException:
            end_leftovers(job)
            raise


def end_leftovers(job: Job) -> None:
    """End what an earlier run of this asset left running inside: the lock is ours, so none of them is still wanted."""
    if job.inside is None:
        return
    with contextlib.suppress(LifeboatError, psycopg().Error), open_connection(job.login, application_name="lifeboat look") as connection:
        connection.execute(
            "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity"
            " WHERE pg_catalog.starts_with(application_name, %s) AND pid <> pg_catalog.pg_backend_pid()",
            (f"{_mark(job)} ",),
        )


def _mark(job: Job) -> str:
    asset = hashlib.sha256("\0".join((job.system, job.name)).encode()).hexdigest()[:12]
    return f"{_MARK} {asset}"


def _explained(job: Job) -> Any:
    def explain(_code: int, stderr: str) -> LifeboatError | None:
        return (
            lost_snapshot(stderr, job.login.place) or conflict(stderr) or (job.inside.inside.fault_of_exec(stderr) if job.inside else None)
        )

    return explain

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL's programs run inside a container, by `docker exec`, `podman exec` or `docker compose exec`.

Arguments stay lists: the scripts below are constants, and what they work on comes as their arguments. A password goes in by
standard input, into a file that has lost its name before the program starts, as credentials.py does it on the host.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, DatabaseError, LifeboatError, MissingTool
from ansible_collections.lifeboat.postgres.plugins.module_utils.stages import clean_line

__all__ = ["KEYS", "TYPES", "Inside", "InsideFacts", "outer_environment", "watched_input"]

TYPES = ("docker", "podman", "compose")
KEYS = ("type", "container", "service", "project_directory", "files", "project", "user", "port")

_SECONDS = 60
_SOCKET_DIRECTORIES = ("/var/run/postgresql", "/run/postgresql", "/tmp", "/opt/bitnami/postgresql/tmp")

# What is there: the server's socket, the tools that can relay a session, and every pg_dump with its version.
_LOOK = r"""
port=$1 bin=$2; shift 2
for d in "$@"; do if [ -S "$d/.s.PGSQL.$port" ]; then echo "socket=$d"; break; fi; done
for t in perl python3 socat; do if command -v "$t" >/dev/null 2>&1; then echo "tool=$t"; fi; done
if [ -n "$bin" ]; then set -- "$bin/pg_dump"; else
  set -- pg_dump /usr/lib/postgresql/*/bin/pg_dump /usr/pgsql-*/bin/pg_dump /usr/local/bin/pg_dump /opt/bitnami/postgresql/bin/pg_dump
fi
for p in "$@"; do
  if f=$(command -v "$p" 2>/dev/null); then echo "pg_dump=$f $("$f" --version </dev/null 2>/dev/null)"; fi
done
exit 0
"""

# The first line of standard input is the password file's one line. Its end is watched: when whoever holds the other end is
# gone, also by SIGKILL, the program is ended here, where a killed `exec` would have left it running. Every child is waited
# for: an orphan that dies by a signal looks like a crashed backend to a server that is the first process of its container.
_RUN = r"""
umask 077
export LC_ALL=C
unset PGOPTIONS PGHOSTADDR PGSERVICE PGPASSFILE
IFS= read -r line || exit 125
if [ -n "$line" ]; then
  unset PGPASSWORD
  for d in /dev/shm /tmp /var/tmp; do
    f=$d/.lifeboat-$$
    if (set -C; : >"$f") 2>/dev/null; then break; fi
    f=
  done
  if [ -z "$f" ]; then echo "no directory for the password inside the container" >&2; exit 125; fi
  printf '%s\n' "$line" >"$f"
  exec 3<"$f"
  rm -f "$f"
  export PGPASSFILE=/proc/self/fd/3
  line=
fi
exec 4<&0
"$@" </dev/null 4<&- &
program=$!
(
  while IFS= read -r line; do :; done
  kill -TERM "$program"
  sleep 3
  kill -KILL "$program"
) <&4 3<&- >/dev/null 2>&1 &
watch=$!
exec 3<&- 4<&-
wait "$program"
status=$?
kill -KILL "$watch" 2>/dev/null
wait "$watch" 2>/dev/null
exit "$status"
"""

# What the command said -> what that means, and the next step. {what} is the container or service.
_FAULTS: tuple[tuple[str, str, str], ...] = (
    (r"no such container|no container with name or ID|no such service", "there is no {what}", "Check its name in exec."),
    (
        r"is not running|is paused|can only create exec sessions on running|is stopped|container state improper",
        "{what} does not run",
        "Start it; its name is right.",
    ),
    (r"permission denied.*(?:daemon|docker\.sock)|docker\.sock.*permission denied", "this user may not use Docker", "Run as one who may."),
    (r"cannot connect to the docker daemon|daemon running|error during connect", "the Docker daemon does not answer", "Start it."),
    (
        r"no configuration file provided|no such file or directory.*ya?ml|ya?ml.*no such file",
        "there is no Compose file there",
        "Check project_directory and files in exec.",
    ),
    (
        r"is not a docker command|unknown shorthand flag|unknown command.*compose",
        "Docker has no Compose plugin",
        "Install docker-compose-plugin (docker-compose on Debian).",
    ),
    (r"unable to find user|no matching entries in passwd", "{what} has no such user", "Check user in exec."),
    (r"executable file.*not found|no such file or directory", "{what} has no shell (sh)", "A backup needs one inside."),
)  # fmt: skip


@dataclass(frozen=True)
class InsideFacts:
    """What was found inside: the server's socket directory ("" for none), relay tools, and `pg_dump` paths with their versions."""

    socket: str
    tools: Sequence[str]
    pg_dumps: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Inside:
    """Where programs run: `prefix` is the command up to where the inner one follows, `what` the container in words."""

    prefix: Sequence[str]
    what: str
    port: int = 5432

    @classmethod
    def from_options(cls, given: Mapping[str, Any]) -> Inside:
        """Read the option `exec`; raises `ConfigurationError`."""
        where = "exec"
        given = {key: value for key, value in given.items() if value is not None}
        options.unknown_keys(given, KEYS, where)
        kind = options.choice(given, "type", where, TYPES)
        user = options.text(given, "user", where, "")
        as_user = ["--user", user] if user else []
        port = options.integer(given, "port", where, 5432, minimum=1, maximum=65535)
        of_compose = [key for key in ("service", "project_directory", "files", "project") if given.get(key)]
        if kind == "compose":
            if given.get("container"):
                raise ConfigurationError("container is not for type compose", where, "Name the service of the Compose file as service.")
            service = _name(given, "service", where)
            prefix = ["docker", "compose"]
            for flag, key in (("--project-directory", "project_directory"), ("--project-name", "project")):
                if given.get(key):
                    prefix += [flag, os.path.expanduser(options.text(given, key, where))]
            for file in options.texts(given, "files", where, ()):
                prefix += ["--file", os.path.expanduser(file)]
            return cls((*prefix, "exec", "-T", *as_user, service), f"service {service!r} of the Compose project", port)
        if of_compose:
            raise ConfigurationError(f"{of_compose[0]} is for type compose", where, "Name the container as container.")
        container = _name(given, "container", where)
        return cls((kind, "exec", "--interactive", *as_user, container), f"container {container!r}", port)

    def look(self, bin_dir: str = "", socket_directory: str = "") -> InsideFacts:
        """What is inside; raises `DatabaseError` or `MissingTool` in one sentence when the container cannot be entered."""
        directories = [socket_directory] if socket_directory else list(_SOCKET_DIRECTORIES)
        lines = [line.partition("=") for line in self.output(["sh", "-c", _LOOK, "sh", str(self.port), bin_dir, *directories]).splitlines()]
        found: dict[str, list[str]] = {}
        for key, _equals, value in lines:
            found.setdefault(key, []).append(value)
        pairs = [value.partition(" ") for value in found.get("pg_dump", ())]
        return InsideFacts(next(iter(found.get("socket", ())), ""), found.get("tool", []), [(path, said) for path, _space, said in pairs])

    def output(self, argv: Sequence[str]) -> str:
        """What a short command inside writes; raises `MissingTool`, `DatabaseError`."""
        command = [*self.prefix, *argv]
        try:
            # pylint: disable-next=ansible-bad-function  # run_command is a module's; this is the library's
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, env=outer_environment(), timeout=_SECONDS, check=False
            )
        except FileNotFoundError:
            raise MissingTool(f"there is no program {command[0]} on this host", self.what, f"Install {command[0]}.") from None
        except subprocess.TimeoutExpired:
            raise DatabaseError(f"{command[0]} gave no answer within {_SECONDS} seconds", self.what) from None
        if done.returncode:
            raise self.fault(done.stderr.decode(errors="replace")) or DatabaseError(
                f"{command[0]} ended with exit status {done.returncode}: {clean_line(done.stderr.decode(errors='replace'))}", self.what
            )
        return done.stdout.decode(errors="replace")

    def fault(self, stderr: str) -> LifeboatError | None:
        """What the outer command complained of, or None when it is nothing that is known."""
        for pattern, what, next_step in _FAULTS:
            if re.search(pattern, stderr, re.IGNORECASE):
                return DatabaseError(what.format(what=self.what), f"exec: {' '.join(self.prefix)}", next_step)
        return None

    def fault_of_exec(self, stderr: str) -> LifeboatError | None:
        """`fault`, where PostgreSQL's own programs may have written, too: only the last line counts, and none of theirs."""
        last = stderr.strip().rpartition("\n")[2]
        return None if last.startswith(("pg_dump", "pg_restore", "pg_basebackup")) else self.fault(last)

    def argv(self, argv: Sequence[str]) -> list[str]:
        """The command that runs a program inside; its standard input comes from `watched_input`."""
        return [*self.prefix, "sh", "-c", _RUN, "sh", *argv]


@contextlib.contextmanager
def watched_input(password: str) -> Iterator[int]:
    """Standard input for `Inside.argv`: it brings the password, and its end ends the program inside. The block's end is one."""
    if any(character in password for character in "\n\r\0"):
        raise ConfigurationError("login_password holds a line break", next_step="Strip the last newline of the file it came from.")
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    theirs, ours = os.pipe()
    try:
        os.write(ours, (f"*:*:*:*:{escaped}\n" if password else "\n").encode())
        yield theirs
    finally:
        os.close(theirs)
        os.close(ours)


def outer_environment() -> dict[str, str]:
    """What docker and podman need of ours (contexts, sockets, plugins), without anything of PostgreSQL's; in English."""
    return {**{name: value for name, value in os.environ.items() if not name.startswith("PG")}, "LC_ALL": "C"}


def _name(given: Mapping[str, Any], key: str, where: str) -> str:
    name: str = options.text(given, key, where)
    if name.startswith("-"):
        raise ConfigurationError(f"{key} cannot begin with a dash", where)
    return name

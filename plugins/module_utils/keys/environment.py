# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One variable of the environment of a running process, or of a container. Only names are ever in a command's arguments.

What Docker and podman were told when the container was made is asked for first (`inspect`): that works without a shell
inside. What an entrypoint set by itself is known to the container's first process only, and is read there.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, LifeboatError, MissingTool, SealError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.inside import TYPES, Inside, outer_environment
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import clean_line

__all__ = ["ENCLOSURE_KEYS", "PROCESS_KEYS", "Enclosure", "Process"]

PROCESS_KEYS = ("pid", "pid_file", "unit")
ENCLOSURE_KEYS = ("type", "container", "service", "project_directory", "files", "project", "user")
_SECONDS = 60


@dataclass(frozen=True)
class Process:
    """A process by its number, the file that holds it, or the systemd unit that it is the main process of."""

    pid: int = 0
    pid_file: str = ""
    unit: str = ""

    @classmethod
    def from_options(cls, given: Mapping[str, Any], where: str) -> Process:
        """Read the option `process`; raises `ConfigurationError`."""
        if len(given) != 1:
            raise ConfigurationError(f"process takes one of {', '.join(PROCESS_KEYS)}", where)
        unit = options.text(given, "unit", where, "")
        if unit.startswith("-"):
            raise ConfigurationError("unit cannot begin with a dash", where)
        pid_file = options.path(given, "pid_file", where, absolute=True)
        return cls(options.integer(given, "pid", where, 0, minimum=1), str(pid_file or ""), unit)

    @property
    def what(self) -> str:
        return f"unit {self.unit}" if self.unit else f"the process in {self.pid_file}" if self.pid_file else f"process {self.pid}"

    def value(self, variable: str) -> bytes:
        """The value that the process was started with. Secret. Raises `SealError`, `MissingTool`."""
        pid = self.pid or (_pid_in(self.pid_file) if self.pid_file else _pid_of_unit(self.unit))
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except FileNotFoundError:
            raise SealError("it does not run", self.what, "Start it, or take the key from where it is set (env_file, path).") from None
        except OSError as error:
            raise SealError(f"its environment cannot be read: {error.strerror}", self.what, "Run as its user, or as root.") from None
        return _variable(environment.split(b"\0"), variable, self.what)


@dataclass(frozen=True)
class Enclosure:
    """A container, or the containers of a Compose service, which have to agree."""

    inside: Inside
    inspect: tuple[str, ...]
    find: tuple[str, ...] = ()
    container: str = ""

    @classmethod
    def from_options(cls, given: Mapping[str, Any], where: str) -> Enclosure:
        """Read the option `exec`; raises `ConfigurationError`."""
        inside = Inside.from_options(given)
        kind = options.choice(given, "type", where, TYPES)
        if kind != "compose":
            return cls(inside, (kind, "inspect", "--type", "container"), (), str(given["container"]))
        words = list(inside.prefix)
        project = words[: words.index("exec")]
        return cls(inside, ("docker", "inspect", "--type", "container"), (*project, "ps", "--quiet", str(given["service"])))

    @property
    def what(self) -> str:
        return self.inside.what

    def value(self, variable: str) -> bytes:
        """The value that the container was made with, or that its first process has. Secret. Raises `LifeboatError`."""
        names = self._output(self.find).decode("ascii", "replace").split() if self.find else [self.container]
        if not names:
            raise SealError("it does not run", self.what, "Start it, or take the key from where it is set (env_file, path).")
        values = {self._made_with(name, variable) for name in names}
        if len(values) > 1:
            raise SealError(f"its containers do not agree about {variable}", self.what, "Make them anew, so that all have the same key.")
        value = values.pop()
        if value is not None:
            return value
        try:
            environment = self._output([*self.inside.prefix, "cat", "/proc/1/environ"])
        except SealError:
            raise SealError(
                f"it was made without a variable {variable}, and what its first process has cannot be read inside",
                self.what,
                "Check its name, or name the user of that process as user in exec.",
            ) from None
        return _variable(environment.split(b"\0"), variable, self.what)

    def _made_with(self, name: str, variable: str) -> bytes | None:
        answer = self._output([*self.inspect, "--format", "{{json .Config.Env}}", name])
        try:
            lines = json.loads(answer) or []
        except ValueError:
            raise SealError("its answer was not understood", f"{self.inspect[0]} inspect, {self.what}") from None
        value = next((line.partition("=")[2] for line in lines if line.startswith(f"{variable}=")), None)
        # JSON has no bytes that are not text: what was lost on the way is read inside.
        return None if value is None or "\ufffd" in value else str(value).encode()

    def _output(self, argv: Sequence[str]) -> bytes:
        """What a command writes; an error never shows any of it, for it may hold other secrets of the container."""
        try:
            # pylint: disable-next=ansible-bad-function  # run_command is a module's; this is the library's
            done = subprocess.run(
                list(argv), stdin=subprocess.DEVNULL, capture_output=True, env=outer_environment(), timeout=_SECONDS, check=False
            )
        except FileNotFoundError:
            raise MissingTool(f"there is no program {argv[0]} on this host", self.what, f"Install {argv[0]}.") from None
        except subprocess.TimeoutExpired:
            raise SealError(f"{argv[0]} gave no answer within {_SECONDS} seconds", self.what) from None
        if done.returncode:
            said = done.stderr.decode(errors="replace")
            fault: LifeboatError | None = self.inside.fault(said)
            raise fault or SealError(f"{argv[0]} ended with exit status {done.returncode}: {clean_line(said)}", self.what)
        return done.stdout


def _variable(environment: Sequence[bytes], name: str, what: str) -> bytes:
    wanted = os.fsencode(name) + b"="
    value = next((line[len(wanted) :] for line in environment if line.startswith(wanted)), None)
    if value is None:
        raise SealError(f"there is no variable {name} in its environment", what, "Check its name: it is what the process was started with.")
    return value


def _pid_in(pid_file: str) -> int:
    try:
        text = Path(pid_file).read_bytes()[:64].split(None, 1)
        return int(text[0])
    except OSError as error:
        raise SealError(f"cannot be read: {error.strerror}", f"pid_file {pid_file}", "Is it running?") from None
    except (ValueError, IndexError):
        raise SealError("it holds no process number", f"pid_file {pid_file}") from None


def _pid_of_unit(unit: str) -> int:
    try:
        # pylint: disable-next=ansible-bad-function  # run_command is a module's; this is the library's
        done = subprocess.run(
            ["systemctl", "show", "--property=MainPID", "--value", "--", unit], capture_output=True, timeout=_SECONDS, check=False
        )
        pid = int(done.stdout or b"0")
    except FileNotFoundError:
        raise MissingTool("there is no systemctl on this host", f"unit {unit}", "Use pid_file.") from None
    except (ValueError, subprocess.TimeoutExpired):
        pid = 0
    if not pid:
        raise SealError("it does not run", f"unit {unit}", "Start it, or take the key from where it is set (env_file, path).")
    return pid

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Podman or Docker of this host, as far as a drill needs them: started, asked what is there, and made to remove what a drill left.

What belongs to a drill is told by a label that says the drill's id. A container of somebody else's is never touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.isolation import SYSTEM_PATH
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, MissingTool
from ansible_collections.lifeboat.postgres.plugins.module_utils.stages import clean_line

__all__ = ["LABEL", "PLACE_LABEL", "Engine", "engines_here", "find_engine", "project_of"]

LABEL = "lifeboat-drill"
"""Its value is the id of the drill that a container belongs to."""
PLACE_LABEL = "lifeboat-work-dir"
"""Its value is the directory that the drill's own one is in."""

_NAMES = ("podman", "docker")
_SECONDS = 120
# What the two need of our environment to find their own things; nothing of it comes to a container.
_KEPT = ("HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "DOCKER_HOST", "DOCKER_CONFIG", "DOCKER_CERT_PATH",
         "CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF", "STORAGE_DRIVER")  # fmt: skip
_OF_COMPOSE = "com.docker.compose.project"


@dataclass(frozen=True)
class Engine:
    """`program` is its path, `environment` all that it is started with. `project` says that drills are Compose projects."""

    name: str
    program: str
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    project: bool = False

    def record(self) -> dict[str, Any]:
        """What a reaper needs in order to find it again; no secret is in it."""
        return {"engine": self.name, "program": self.program, "environment": dict(self.environment), "project": self.project}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Engine | None:
        """None for a record that is none."""
        name, program, environment = record.get("engine"), record.get("program"), record.get("environment")
        if name not in _NAMES or not isinstance(program, str) or not isinstance(environment, dict):
            return None
        return cls(str(name), program, {str(key): str(value) for key, value in environment.items()}, bool(record.get("project")))

    def call(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end; what took too long has exit status 124. Raises `MissingTool` when it is not there."""
        command = [self.program, *argv]
        try:
            # pylint: disable-next=ansible-bad-function  # run_command is a module's; this is the library's
            return subprocess.run(
                command,
                env=dict(self.environment),
                cwd="/",
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, 124, "", f"no answer within {_SECONDS} seconds")
        except OSError as error:
            raise MissingTool(f"{self.program} does not run: {error.strerror}", next_step=f"Install {self.name}.") from None

    def signal(self, container: str, number: int) -> bool:
        """Send a signal to the first process of a container; whether that was done."""
        return self.call("kill", "--signal", str(number), container).returncode == 0

    def clear(self, drill_id: str) -> list[str]:
        """Remove what belongs to the drill, and look again: what is left, in words. Never raises."""
        try:
            for _attempt in range(3):
                found = self._of(drill_id)
                if not found:
                    return []
                if self.project:
                    self.call("compose", "--project-name", project_of(drill_id), "down", "--volumes", "--remove-orphans", "--timeout", "0")
                for kind, things in found.items():
                    at_once = ["--time", "0"] if (kind, self.name) == ("container", "podman") else []
                    volumes = ["--volumes"] if kind == "container" else []
                    force = ["--force"] if kind != "network" else []
                    self.call(kind, "rm", *force, *at_once, *volumes, *things)
            return [f"{kind} {thing}" for kind, things in self._of(drill_id).items() for thing in things]
        except (_Silent, MissingTool) as error:
            return [f"whatever {self.name} runs of it, which could not be asked ({error})"]

    def drills_of(self, work_dir: Path) -> set[str]:
        """Ids of the drills with a work directory that have containers; empty where it does not answer."""
        template = f'{{{{.Label "{LABEL}"}}}}' if self.name == "docker" else f'{{{{index .Labels "{LABEL}"}}}}'
        try:
            done = self.call("ps", "--all", "--filter", f"label={PLACE_LABEL}={work_dir}", "--format", template)
        except MissingTool:
            return set()
        return {line.strip() for line in done.stdout.splitlines() if line.strip()} if done.returncode == 0 else set()

    def _of(self, drill_id: str) -> dict[str, list[str]]:
        """What it holds of the drill, by kind; raises `_Silent` when it cannot say so."""
        wanted: list[tuple[str, list[str]]] = [("container", ["ls", "--all", "--filter", f"label={LABEL}={drill_id}"])]
        if self.project:
            wanted.append(("container", ["ls", "--all", "--filter", f"label={_OF_COMPOSE}={project_of(drill_id)}"]))
            for kind in ("volume", "network"):
                wanted.append((kind, ["ls", "--filter", f"label={_OF_COMPOSE}={project_of(drill_id)}"]))
        found: dict[str, list[str]] = {}
        for kind, argv in wanted:
            done = self.call(kind, *argv, "--quiet")
            if done.returncode:
                raise _Silent(clean_line(done.stderr, 200) or f"exit status {done.returncode}")
            things = [*found.get(kind, []), *done.stdout.split()]
            if things:
                found[kind] = list(dict.fromkeys(things))
        return found


class _Silent(Exception):
    """The engine did not answer."""


def find_engine(name: str) -> Engine:
    """That of this host; raises `MissingTool`, `ConfigurationError` for one that is somewhere else."""
    program = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), SYSTEM_PATH)))
    if program is None:
        raise MissingTool(f"there is no program {name} on this host, which throwaway.engine asks for", next_step=f"Install {name}.")
    kept = {key: os.environ[key] for key in _KEPT if os.environ.get(key)}
    if name == "docker" and not kept.get("DOCKER_HOST", "unix:").startswith("unix:"):
        raise ConfigurationError(
            "the Docker daemon is on another host, and the drill has to see the server's directories",
            f"DOCKER_HOST={kept['DOCKER_HOST']}",
            "Run the drill where the daemon runs.",
        )
    path = os.pathsep.join(dict.fromkeys((str(Path(program).parent), SYSTEM_PATH)))
    return Engine(name, program, {"PATH": path, "LC_ALL": "C", "HOME": "/", **kept})


def engines_here(wanted: Sequence[str] = _NAMES) -> list[Engine]:
    """Those of them that are installed on this host."""
    found = []
    for name in wanted:
        try:
            found.append(find_engine(name))
        except (MissingTool, ConfigurationError):
            continue
    return found


def project_of(drill_id: str) -> str:
    """The name of the Compose project of a drill, which takes no capital letters."""
    return f"lifeboat-{drill_id}".lower()

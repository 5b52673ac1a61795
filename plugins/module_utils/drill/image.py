# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image with PostgreSQL in it: what it holds, asked by starting it, and the command that runs one program of it.

Every program of a drill gets a container of its own from the same image: without network, without capabilities, on a root
directory that nobody can write, with the drill's own directories under the paths that they have outside. Nothing is pulled.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.account import Account
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.engine import LABEL, PLACE_LABEL, Engine, find_engine, project_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.isolation import SYSTEM_PATH
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.throwaway import AUTO, COMPOSE, DOCKER, LOCAL, PODMAN, Throwaway
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.workspace import DRILL_VARIABLE
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, MissingTool
from ansible_collections.lifeboat.postgres.plugins.module_utils.stages import clean_line

__all__ = ["Image", "open_image"]

NETWORK = "none"
"""The network of every container of a drill. What the server reaches all the same is found by asking it (proof.py)."""

_SERVICE = "server"
_TMP = f"/tmp:rw,nosuid,nodev,mode=1777,size={64 * 1024**2}"
_PROGRAMS = (
    "postgres", "initdb", "pg_restore", "psql", "vacuumdb", "pg_controldata", "pg_amcheck", "pg_checksums", "pg_verifybackup",
    "pg_combinebackup",
)  # fmt: skip

# What is there: programs with their versions, the words that pg_restore knows, libraries beside the server. First come, first served.
_LOOK = r"""
bin=$1; shift
if [ -n "$bin" ]; then places=$bin; else
  places="/usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/local/bin /usr/local/pgsql/bin /opt/bitnami/postgresql/bin /usr/bin"
fi
for d in $places; do
  [ -x "$d/postgres" ] || continue
  for p in "$@"; do
    if [ -x "$d/$p" ]; then echo "program=$d/$p $("$d/$p" --version 2>/dev/null </dev/null)"; fi
  done
  for l in "$d"/../lib/*.so "$d"/../lib/postgresql/*.so "$d"/../lib64/*.so; do
    if [ -e "$l" ]; then echo "library=$d ${l##*/}"; fi
  done
  if [ -x "$d/pg_restore" ]; then
    "$d/pg_restore" --help 2>/dev/null </dev/null | while IFS= read -r line; do echo "help=$d/pg_restore $line"; done
  fi
done
exit 0
"""


class Image:
    """`reference` is what the operator calls it, `image_id` what it was when the drill began: a name may move meanwhile.

    Implements what `programs.Program` asks of another place than this host.
    """

    def __init__(self, engine: Engine, reference: str, image_id: str, account: Account) -> None:
        self.engine = engine
        self.reference = reference
        self.image_id = image_id
        self.account = account
        self._said: dict[tuple[str, ...], str] = {}
        self._programs: list[tuple[str, str]] = []
        self._libraries: set[tuple[str, str]] = set()

    @property
    def how(self) -> str:
        """The kind of isolation, for a report."""
        return f"{self.engine.name} container"

    def argv(self, argv: Sequence[str], directory: Path, name: str, mounts: Sequence[str]) -> list[str]:
        """The command that runs one program for the drill with this directory. `mounts` are options of the engine.

        The engine's program is told when whoever started it dies, and ends the container then as Ctrl-C would.
        """
        labels = {LABEL: directory.name, PLACE_LABEL: str(directory.parent)}
        return [*_with_parent(), self.engine.program, *self._run(argv, directory.name, name, labels, mounts)]

    def _run(self, argv: Sequence[str], drill_id: str = "", name: str = "", labels: Mapping[str, str] | None = None,
             mounts: Sequence[str] = ()) -> list[str]:  # fmt: skip
        options = ["--rm", "--pull", "never", "--network", NETWORK, "--user", self._user, "--read-only", "--workdir", "/"]
        options += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--ipc", "private", "--no-healthcheck"]
        options += ["--tmpfs", _TMP, "--shm-size", f"{_shared_bytes()}b"]
        options += ["--log-driver", "none"]  # rows of the database do not get into a log
        if self.engine.name == PODMAN:
            # Where root of the container would be this user, the server has to be this user, too, who owns the directories.
            options += ["--systemd", "false", "--no-hosts", *(["--userns", "keep-id"] if os.geteuid() else [])]
        if name:
            options += ["--name", name]
        for flag, given in (("--env", _environment(drill_id)), ("--label", labels or {})):
            for key, value in given.items():
                options += [flag, f"{key}={value}"]
        return ["run", *options, *mounts, "--entrypoint", argv[0], self.image_id, *argv[1:]]

    @property
    def _user(self) -> str:
        return f"{self.account.uid}:{self.account.gid}"

    def look(self, bin_dir: str) -> None:
        """Start it once and ask what is in it; raises `MissingTool`."""
        done = self.engine.call(*self._run(["sh", "-c", _LOOK, "sh", bin_dir, *_PROGRAMS]))
        if done.returncode:
            said = clean_line(done.stderr, 300) or f"exit status {done.returncode}"
            raise MissingTool(f"nothing can be started in image {self.reference}: {said}", self.how, "It has to have a shell (sh).")
        helps: dict[str, list[str]] = {}
        for line in done.stdout.splitlines():
            key, _equals, rest = line.partition("=")
            first, _space, said = rest.partition(" ")
            if key == "program":
                self._programs.append((first, said))
                self._said[(first, "--version")] = said
            elif key == "library":
                self._libraries.add((first, said))
            elif key == "help":
                helps.setdefault(first, []).append(said)
        self._said.update({(program, "--help"): "\n".join(lines) for program, lines in helps.items()})

    def find(self, name: str, major: int) -> str:
        """The path of a program of exactly this major version; raises `MissingTool` that says what the image holds instead."""
        for path, said in self._programs:
            if os.path.basename(path) == name and _major(said) == major:
                return path
        servers = sorted({said.rpartition(" (")[0] or said for path, said in self._programs if os.path.basename(path) == "postgres"})
        raise MissingTool(
            f"image {self.reference} has no {name} of PostgreSQL {major}, the backup's own major version",
            f"it holds {', '.join(servers)}" if servers else "it holds no PostgreSQL",
            f"Take an image with PostgreSQL {major}, of production's own minor version or newer.",
        )

    def output(self, argv: list[str]) -> str:
        """What a short command writes; raises `MissingTool`."""
        known = self._said.get(tuple(argv))
        if known is not None:
            return known
        done = self.engine.call(*self._run(argv))
        if done.returncode:
            raise MissingTool(f"{argv[0]} does not run: {clean_line(done.stderr, 300)}", f"image {self.reference}")
        return done.stdout

    def libraries(self, directory: Path) -> set[str]:
        """Names of the loadable libraries beside the server whose programs lie in this directory."""
        return {file.rpartition(".")[0] for place, file in self._libraries if place == str(directory)}


class _OfCompose(Image):
    """The image of a service, run as a Compose project of the drill's own: nothing of the other one's project is in it but that."""

    def __init__(self, engine: Engine, reference: str, image_id: str, account: Account, service: Mapping[str, Any]) -> None:
        super().__init__(engine, reference, image_id, account)
        self._service = {key: service[key] for key in ("platform", "ulimits", "mem_limit", "cpus", "sysctls") if service.get(key)}

    @property
    def how(self) -> str:
        return "Compose project"

    def argv(self, argv: Sequence[str], directory: Path, name: str, mounts: Sequence[str]) -> list[str]:
        file = directory / "compose.json"
        file.write_text(json.dumps(self.document(directory)), encoding="utf-8")
        project = ["--project-name", project_of(directory.name), "--file", str(file), "--progress", "quiet"]
        named = ["--name", name] if name else []
        run = ["run", "--rm", "--no-TTY", "--no-deps", *named, *mounts, _SERVICE, *argv]
        return [*_with_parent(), self.engine.program, "compose", *project, *run]

    def document(self, directory: Path) -> dict[str, Any]:
        """The drill's own Compose file: one service, no network, no port, no volume but what a command line adds."""
        service = {
            **self._service,
            "image": self.reference,
            "pull_policy": "never",
            "network_mode": NETWORK,
            "user": self._user,
            "entrypoint": ["env"],
            "ipc": "private",
            "read_only": True,
            "working_dir": "/",
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges:true"],
            "healthcheck": {"disable": True},
            "logging": {"driver": "none"},
            "tmpfs": [_TMP],
            "shm_size": f"{_shared_bytes()}b",
            "environment": _environment(directory.name),
            "labels": {LABEL: directory.name, PLACE_LABEL: str(directory.parent)},
        }
        return {"name": project_of(directory.name), "services": {_SERVICE: service}}


def open_image(throwaway: Throwaway, bin_dir: Path | None, account: Account, work_dir: Path) -> Image | None:
    """The image that drills of this plan run, looked into; None where they run PostgreSQL of this host.

    Raises `MissingTool` for an engine, an image or a shell that is not there, `ConfigurationError`.
    """
    if throwaway.type == LOCAL:
        return None
    if ":" in str(work_dir):
        raise ConfigurationError("work_dir has a colon, which a container's mount cannot have", str(work_dir), "Name another directory.")
    image = _of_service(throwaway, account) if throwaway.type == COMPOSE else _of_engine(throwaway, account)
    image.look("" if bin_dir is None else str(bin_dir))
    return image


def _of_engine(throwaway: Throwaway, account: Account) -> Image:
    wanted = (PODMAN, DOCKER) if throwaway.engine == AUTO else (throwaway.engine,)
    engines, faults = [], []
    for name in wanted:
        try:
            engines.append(find_engine(name))
        except MissingTool as error:
            faults.append(error)
    if not engines:
        if len(faults) == 1:
            raise faults[0]
        raise MissingTool(
            "there is neither podman nor docker on this host, which a container needs", next_step="Install podman (or docker)."
        )
    said = []
    for engine in engines:
        found = engine.call("image", "inspect", "--format", "{{.Id}}", throwaway.image)
        if found.returncode == 0:
            return Image(engine, throwaway.image, found.stdout.strip(), account)
        said.append(f"{engine.name}: {clean_line(found.stderr, 200)}")
    pull = f"{engines[0].name} pull {throwaway.image}"
    raise MissingTool(
        f"image {throwaway.image} is not on this host, and a drill pulls nothing", "; ".join(said), f"Fetch it before: {pull}"
    )


def _of_service(throwaway: Throwaway, account: Account) -> Image:
    found = find_engine(DOCKER)
    engine = Engine(found.name, found.program, found.environment, project=True)
    project = ["--project-directory", throwaway.project_directory] if throwaway.project_directory else []
    for file in throwaway.files:
        project += ["--file", file]
    done = engine.call("compose", *project, "config", "--format", "json")
    where = throwaway.project_directory or ", ".join(throwaway.files)
    if done.returncode:
        said = clean_line(done.stderr, 300)
        if re.search(r"is not a docker command|unknown (?:shorthand flag|command)", said):
            raise MissingTool("Docker has no Compose plugin", where, "Install docker-compose-plugin (docker-compose on Debian).")
        raise ConfigurationError(f"the Compose file cannot be read: {said}", where)
    try:
        document = json.loads(done.stdout)
        services: dict[str, Any] = document["services"]
    except (ValueError, KeyError, TypeError):
        raise ConfigurationError("docker compose config did not say what it should", where) from None
    if throwaway.service not in services:
        there = ", ".join(sorted(services)) or "none"
        raise ConfigurationError(f"the Compose file has no service {throwaway.service!r}", where, f"There are: {there}.")
    service = services[throwaway.service]
    reference = str(service.get("image") or f"{document.get('name', '')}-{throwaway.service}")
    looked = engine.call("image", "inspect", "--format", "{{.Id}}", reference)
    if looked.returncode:
        raise MissingTool(
            f"image {reference} of service {throwaway.service} is not on this host, and a drill pulls and builds nothing",
            clean_line(looked.stderr, 200),
            "Fetch or build it before: docker compose pull, docker compose build",
        )
    return _OfCompose(engine, reference, looked.stdout.strip(), account, service)


def _with_parent() -> list[str]:
    setpriv = shutil.which("setpriv", path=SYSTEM_PATH)
    return [setpriv, "--pdeathsig=INT", "--"] if setpriv else []


def _environment(drill_id: str) -> dict[str, str]:
    return {"LC_ALL": "C", "TZ": "UTC", **({DRILL_VARIABLE: drill_id} if drill_id else {})}


def _shared_bytes() -> int:
    """What /dev/shm may hold, where parallel queries work: half of the memory, as on a host."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (ValueError, OSError):
        return 1024**3


def _major(said: str) -> int | None:
    match = re.search(r"\s(\d+)", said)
    return int(match.group(1)) if match else None

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of a scenario (molecule/), as its own tests see them: by podman, without the control node's key. Run by Molecule."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Hosts", "address", "host_key", "run_directory", "secrets_in", "stamp_in"]


@dataclass(frozen=True)
class Hosts:
    """Each by its name, as testinfra sees it: `hosts["db1"].file("/etc/passwd")`."""

    by_name: Mapping[str, Any]

    @classmethod
    def of_this_run(cls) -> Hosts:
        import testinfra

        run = run_directory()
        names = json.loads((run / "addresses.json").read_text())
        return cls({name: testinfra.get_host(f"podman://{run.name}-{name}") for name in names})

    def __getitem__(self, name: str) -> Any:
        return self.by_name[name]

    def python(self, name: str, program: str, *words: str) -> Any:
        """Run a program of Python's on a host, as root, and give what it prints as JSON."""
        placeholders = " ".join(["%s"] * len(words))
        return json.loads(self[name].check_output(f"python3 -c %s {placeholders}", program, *words))

    def files(self, name: str, folder: str, ending: str = "") -> list[str]:
        """Every file below a folder of a host."""
        found: str = self[name].check_output("find %s -type f -name %s", folder, f"*{ending}")
        return sorted(found.splitlines())


def run_directory() -> Path:
    """Where keys and addresses of this run lie; its name is part of the containers' names."""
    return Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])


def secrets_in(folder: Path) -> dict[str, str]:
    """The secrets of a scenario by the names of their files: of a private key the line that holds its private half."""
    found = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix != ".pub":
            lines = [line for line in path.read_text().splitlines() if not line.startswith(("#", "-"))]
            found[path.name] = lines[-2:][0]
    return found


def address(name: str) -> str:
    found: str = json.loads((run_directory() / "addresses.json").read_text())[name]
    return found


def host_key(name: str) -> str:
    """The public key of a host's sshd, as a line of known_hosts has it behind the host's name."""
    lines = (run_directory() / "known_hosts").read_text().splitlines()
    return next(line.split(" ", 1)[1] for line in lines if line.startswith(f"{address(name)} "))


def stamp_in(path: str) -> dt.datetime:
    """The moment at which the file's name begins: a backup's id, or a report's."""
    match = re.match(r"\d{8}T\d{6}Z", Path(path).name)
    assert match is not None, path
    return dt.datetime.strptime(match[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.timezone.utc)

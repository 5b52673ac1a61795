# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host in a folder: everything that the roles write below `/opt`, `/etc` and `/var` lies in a directory of the test's own."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.clusters import account
from support.playbooks import Play, play

__all__ = ["Host", "a_host"]

_CRON_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Host:
    """`user` runs Ansible, owns everything and runs the jobs; with `prefix` before it, a program runs as that user."""

    home: Path
    user: str
    prefix: tuple[str, ...]

    @property
    def directories(self) -> dict[str, str]:
        names = ("runtime", "config", "state", "log", "run", "cron", "units", "tmpfiles")
        return {name: str(self.home / name) for name in names}

    @property
    def program(self) -> Path:
        return self.home / "runtime" / "bin" / "lifeboat"

    def folder(self, name: str) -> Path:
        """A private directory of the user's."""
        path = self.home / name
        path.mkdir(mode=0o700)
        shutil.chown(path, self.user)
        return path

    def variables(self, **more: Any) -> dict[str, Any]:
        return {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "lifeboat_system": "shop",
            "lifeboat_host_become_user": "",
            "lifeboat_host_owner": self.user,
            "lifeboat_host_python": sys.executable,
            "lifeboat_host_packages": False,
            "lifeboat_job_user": self.user,
            "lifeboat_directories": self.directories,
            **more,
        }

    def play(self, playbook: str, *arguments: str, **variables: Any) -> Play:
        """Run a playbook of the collection, or one of a stranger's that includes one role alone: its name with `role:` before it."""
        inventory = {"all": {"vars": self.variables(**variables), "children": {"databases": {"hosts": {"db1": {}}}}}}
        return play(self.playbook(playbook), inventory, self.home / "control", *arguments, prefix=self.prefix)

    def playbook(self, name: str) -> str:
        """The playbook's name, or for `role:…` a file that holds it."""
        if not name.startswith("role:"):
            return name
        role = name.partition(":")[2]
        file = self.home / f"{role}.yml"
        file.write_text(f"[{{hosts: databases, gather_facts: false, roles: [{{role: lifeboat.postgres.{role}}}]}}]")
        return str(file)

    def lifeboat(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The command as it was installed, with nothing of Ansible's, of this checkout or of the tests' environment."""
        argv = [*self.prefix, "env", "-i", f"PATH={_CRON_PATH}", str(self.program), *words]
        return subprocess.run(argv, capture_output=True, text=True, check=False, cwd="/", timeout=300)

    def cron_lines(self) -> dict[str, str]:
        """Each line of the files of cron.d that starts a job, by the job's name."""
        found = {}
        for file in sorted((self.home / "cron").iterdir()):
            for line in file.read_text().splitlines():
                match = re.search(r" run \S*/([a-z0-9_-]+)\.json ", line)
                if match and not line.startswith("#"):
                    found[match[1]] = line
        return found

    def run_as_cron(self, job: str) -> int:
        """Run what stands in cron.d for a job as cron does: by sh, with next to no environment. Its exit status."""
        _fields, command = self.cron_lines()[job].split(f" {self.user} ", 1)
        argv = [*self.prefix, "env", "-i", f"PATH={_CRON_PATH}", "SHELL=/bin/sh", f"LOGNAME={self.user}", "sh", "-c", command]
        return subprocess.run(argv, check=False, cwd="/", timeout=300).returncode

    def files(self) -> dict[str, tuple[str, bytes]]:
        """Every file with its mode and what it holds, but for what Ansible keeps."""
        found = {}
        for path in sorted(self.home.rglob("*")):
            if path.is_file() and "control" not in path.parts and path.suffix != ".yml":
                found[str(path.relative_to(self.home))] = (f"{path.stat().st_mode & 0o7777:04o}", path.read_bytes())
        return found


@contextlib.contextmanager
def a_host(servers_user: bool = False) -> Iterator[Host]:
    """An empty host; with `servers_user` its user is the one that test servers run as, where that is another one than ours."""
    entry = account() if servers_user else None
    prefix: tuple[str, ...] = ()
    if entry is not None:
        # Whoever it is may read this Python and this checkout, which may lie below /root.
        caps = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
        prefix = ("setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups", *caps)
    home = Path(tempfile.mkdtemp(prefix="lb-host-", dir="/tmp"))
    try:
        home.chmod(0o755)
        for name in ("control", "cron", "units", "tmpfiles"):
            (home / name).mkdir()
        if entry is not None:
            for path in (home, *home.iterdir()):
                os.chown(path, entry.pw_uid, entry.pw_gid)
        yield Host(home, (entry or pwd.getpwuid(os.geteuid())).pw_name, prefix)
    finally:
        shutil.rmtree(home, ignore_errors=True)

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the programs of a drill are started: by whom, and what they can reach (law 3).

What a backup restores is code of others: functions, triggers, extensions. It runs inside the throwaway server with a
superuser's rights, so whatever that server can reach, the backup can reach. A network namespace alone is not enough:
Unix sockets go by path, and files of production's own server may belong to the same user. So the programs get a root
directory in which only what they need exists, next to network, process and IPC namespaces of their own, without any
capability. Built from programs of util-linux, as root or as an ordinary user (user namespaces).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.account import Account
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.visible import listening_sockets, program_paths
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import MissingTool

__all__ = ["SYSTEM_PATH", "SYSTEM_PROGRAMS", "Bare", "Confinement", "Namespaces", "clean_environment", "confinement_for"]

SYSTEM_PROGRAMS = Path("/usr/bin")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TOOLS = ("unshare", "setpriv", "sh", "mount", "umount", "pivot_root", "mkdir", "ln", "rmdir")

SYSTEM_DIRECTORIES = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
OPTIONAL_FILES = (
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/ssl/openssl.cnf",
    "/etc/alternatives",
    "/var/cache/postgresql/dicts",  # Debian's dictionaries for text search are links into it
)

# Runs as root of its namespaces; its arguments: the mount point, then pairs of what and where (a `text` has a third),
# `--`, and the command. Paths are the same inside as outside. Leaving the old root behind by pivot_root, not chroot,
# takes it away for good: nothing in the mount namespace refers to it any more.
_SETUP = """\
set -eu
umask 022
root=$1; shift
mount -t tmpfs -o nosuid,nodev,mode=0755,size=16m lifeboat "$root"
mkdir -p "$root/proc" "$root/dev/shm" "$root/tmp" "$root/.outside"
mount -t tmpfs -o nosuid,nodev,noexec,mode=1777 lifeboat "$root/dev/shm"
mount -t tmpfs -o nosuid,nodev,mode=1777,size=64m lifeboat "$root/tmp"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
while [ "$1" != -- ]; do
  kind=$1 path=$2 at=$root$2; shift 2
  mkdir -p "${at%/*}"
  case $kind in
    link) ln -s "$1" "$at"; shift ;;
    text) printf '%s' "$1" > "$at"; shift ;;
    mask) mount --bind /dev/null "$at" ;;
    device) : > "$at"; mount --bind "$path" "$at" ;;
    file) : > "$at"; mount --bind "$path" "$at"; mount -o remount,bind,ro,nosuid,nodev "$at" ;;
    read) mkdir -p "$at"; mount --rbind "$path" "$at"; mount -o remount,bind,ro,nosuid,nodev "$at" ;;
    write) mkdir -p "$at"; mount --rbind "$path" "$at" ;;
  esac
done
shift
cd "$root"
pivot_root . .outside
umount -l /.outside
rmdir /.outside
mount -o remount,bind,ro /
exec "$@"
"""


class Confinement(ABC):
    """Turns an argument list into one that runs as the drill's account, and dies with the process that starts it.

    `isolated` says whether what runs in it has no way out; `how` and `detail` say it in words. `stop_signal`, sent to the
    process that was started, ends a server in it.
    """

    isolated: bool
    how: str
    detail: str
    stop_signal: int

    @abstractmethod
    def command(self, argv: Sequence[str], writable: Iterable[Path] = (), readable: Iterable[Path] = ()) -> list[str]:
        """The whole argument list. Start it from the main thread: it dies with the thread that started it.

        `writable` and `readable` are the directories (or files) of the drill that it needs, beside the programs.
        """

    @property
    def environment(self) -> Mapping[str, str]:
        """What the programs that do the confining need of our environment; it does not come to what they confine."""
        return {}

    @property
    def send(self) -> Callable[[int], bool] | None:
        """How to send the server a signal, where it is no descendant of the process that was started; None where it is."""
        return None

    @abstractmethod
    def doubted(self, why: str) -> Confinement:
        """How to go on when it was found to be less than it claims: what follows is not called isolated."""


class Namespaces(Confinement):
    """Network, mount, process and IPC namespaces, a root directory of the needed parts only, no capability."""

    isolated = True
    how = "namespaces"
    stop_signal = signal.SIGKILL  # the kernel ends whatever else is in the process namespace, and frees its shared memory

    def __init__(self, account: Account, mount_point: Path, bin_dir: Path) -> None:
        """`mount_point` is an empty directory of the drill; it stays empty outside of the namespace."""
        self.detail = (
            "Own network, mount, process and IPC namespaces; visible are the system's programs and the drill's own "
            "directories only; no capabilities, no new privileges."
        )
        self._account = account
        self._mount_point = mount_point
        self._programs = program_paths(bin_dir)

    def command(self, argv: Sequence[str], writable: Iterable[Path] = (), readable: Iterable[Path] = ()) -> list[str]:
        unshare = ["--net", "--mount", "--pid", "--ipc", "--fork", "--kill-child"]
        if os.geteuid() == 0:
            drop = ["setpriv", f"--reuid={self._account.uid}", f"--regid={self._account.gid}", "--clear-groups"]
        else:
            # PostgreSQL refuses to run as root, also as the root of a user namespace: a second one maps the user back.
            unshare += ["--user", "--map-root-user"]
            back = [f"--map-user={self._account.uid}", f"--map-group={self._account.gid}", "--keep-caps"]
            drop = ["unshare", "--user", *back, "--", "setpriv", "--ambient-caps=-all"]
        # Changing the user clears what --kill-child has set (prctl(2), PR_SET_PDEATHSIG), so it is set again after it.
        drop += ["--pdeathsig=KILL", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--"]
        parts = _parts(self._account, self._programs, list(writable), list(readable))
        return [
            *("setpriv", "--pdeathsig=KILL", "--", "unshare", *unshare, "--"),
            *("sh", "-c", _SETUP, "lifeboat-isolation", str(self._mount_point), *parts, "--"),
            *drop,
            *argv,
        ]

    def doubted(self, why: str) -> Confinement:
        return Bare(self._account, why)


class Bare(Confinement):
    """No isolation, because it was waived: only the account is changed."""

    isolated = False
    how = "none"
    stop_signal = signal.SIGQUIT  # PostgreSQL's immediate shutdown, which does not leave its shared memory behind

    def __init__(self, account: Account, why: str) -> None:
        self.detail = why
        self._prefix: list[str] = []
        setpriv = shutil.which("setpriv", path=SYSTEM_PATH)
        if setpriv:
            self._prefix = [setpriv, "--pdeathsig=KILL", "--no-new-privs"]
        if os.geteuid() == 0:
            if not setpriv:
                raise MissingTool(
                    "the program setpriv is missing, which starts the throwaway server as another user than root",
                    next_step="Install util-linux, or run the drill as an ordinary user.",
                )
            self._prefix += [f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups"]
            self._prefix += ["--bounding-set=-all", "--inh-caps=-all"]
        if self._prefix:
            self._prefix.append("--")

    def command(self, argv: Sequence[str], writable: Iterable[Path] = (), readable: Iterable[Path] = ()) -> list[str]:
        return [*self._prefix, *argv]

    def doubted(self, why: str) -> Confinement:
        return self


def confinement_for(account: Account, mount_point: Path, bin_dir: Path) -> Confinement:
    """The isolation that this machine can give, found by trying; `Bare` with the reason when it can give none."""
    missing = [tool for tool in TOOLS if shutil.which(tool, path=SYSTEM_PATH) is None]
    if missing:
        return Bare(account, f"This machine cannot isolate: {', '.join(missing)} missing (packages util-linux, mount).")
    namespaces = Namespaces(account, mount_point, bin_dir)
    # pylint: disable-next=ansible-bad-function  # run_command is a module's; this is the library's
    trial = subprocess.run(
        namespaces.command(["true"]),
        env=clean_environment(),
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if trial.returncode == 0:
        return namespaces
    said = " ".join(trial.stderr.split())[-300:] or f"exit status {trial.returncode}"
    return Bare(account, f"This machine cannot isolate: {said}")


def clean_environment() -> dict[str, str]:
    """What the drill's programs may know of our environment: nothing but where programs and libraries are.

    A restored function can read the server's environment, so no credential of ours may be in it (law 7).
    """
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if name in os.environ}
    return {"PATH": SYSTEM_PATH, "LC_ALL": "C", "HOME": "/", **kept}


def _parts(account: Account, programs: Sequence[Path], writable: Sequence[Path], readable: Sequence[Path]) -> list[str]:
    """The arguments of `_SETUP` that say what exists inside."""
    parts: list[str] = []
    for name in SYSTEM_DIRECTORIES:
        if os.path.islink(name):
            parts += ["link", name, os.readlink(name)]
        elif os.path.isdir(name):
            parts += ["read", name]
    for optional in OPTIONAL_FILES:
        if os.path.isdir(optional):
            parts += ["read", optional]
        elif os.path.exists(optional):
            parts += ["file", optional]
    for program in programs:
        parts += ["read" if program.is_dir() else "file", str(program)]
    shown = [Path(name) for name in SYSTEM_DIRECTORIES] + list(programs)
    for path in readable:
        if not any(path == directory or directory in path.parents for directory in shown):
            parts += ["read" if path.is_dir() else "file", str(path)]
            shown.append(path)
    for socket in listening_sockets():
        if any(directory in socket.parents for directory in shown):
            parts += ["mask", str(socket)]
        for path in readable:
            # Under the name by which it is shown: what was asked for may be a link to where the socket lies.
            real = path.resolve()
            if real != path and real in socket.parents:
                parts += ["mask", str(path / socket.relative_to(real))]
    names = {0: "root", account.uid: account.name}
    passwd = "".join(f"{name}:x:{uid}:{account.gid if uid else 0}::/:/bin/sh\n" for uid, name in names.items())
    parts += ["text", "/etc/passwd", passwd, "text", "/etc/group", f"{account.name}:x:{account.gid}:\n"]
    for device in ("null", "zero", "full", "random", "urandom"):
        parts += ["device", f"/dev/{device}"]
    for path in writable:
        parts += ["write", str(path)]
    return parts

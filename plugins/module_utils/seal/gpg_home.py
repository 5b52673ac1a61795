# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A GnuPG home of our own for one step: nobody's keyring is touched, and nothing of it is left, no key and no agent.

It is a directory of mode 0700, in memory where the system has a place for that. Secret keys exist in it only while
something is opened. A process that was killed leaves its home behind: the next one removes it (its lock is free then).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils.deps import version_at_least
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import MissingTool, SealError
from ansible_collections.lifeboat.postgres.plugins.module_utils.stages import clean_line

__all__ = ["GpgHome", "find_agent", "find_gpg", "remove_stale_homes", "status_lines"]

MINIMUM = "2.2.8"
"""The first version for which a missing integrity check is an error and not a warning, and that has --show-keys."""

PREFIX = "lifeboat-gpg-"
IN_MEMORY = "/dev/shm"
SECONDS = 60.0
"""How long a step on keys may take; they take milliseconds."""
_AGENT_SECONDS = 3.0
_LOCK = "lock"
_STATUS = "[GNUPG:] "


def find_gpg() -> str:
    """The path of gpg; raises `MissingTool` when it is absent or too old."""
    program = shutil.which("gpg") or shutil.which("gpg2")
    if not program:
        raise MissingTool("the program gpg was not found", "", "Install the package gnupg.")
    # pylint: disable-next=ansible-bad-function  # run_command is a module's; this is the library's
    said = subprocess.run([program, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False)
    found = re.match(r"gpg \(GnuPG\S*\) (\d[\w.]*)", said.stdout)
    if found is None or not version_at_least(found.group(1), MINIMUM):
        raise MissingTool(
            f"gpg is {found.group(1) if found else 'unknown'}, needed is {MINIMUM} or newer", program, "Install the package gnupg."
        )
    return program


def find_agent() -> str:
    """The path of gpg-agent, in whose hands gpg leaves every secret key; raises `MissingTool`."""
    program = shutil.which("gpg-agent")
    if not program:
        raise MissingTool("the program gpg-agent was not found, and gpg opens nothing without it", "", "Install the package gpg-agent.")
    return program


class GpgHome:
    """A private home; `close` it. Not for several threads at once."""

    def __init__(self, program: str, agent: str = "") -> None:
        self._program, self._agent = program, agent
        base = _base()
        _reap(base)
        fresh = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=base))
        self._lock = -1
        try:
            self._lock = os.open(fresh / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Settings of the host (keyboxd, above all) stay out of it; and under this name it could be taken for a remainder.
            (fresh / "common.conf").touch(mode=0o600)
            self.path = fresh.with_name(fresh.name[1:])
            fresh.rename(self.path)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            if self._lock >= 0:
                os.close(self._lock)
            raise

    def __enter__(self) -> GpgHome:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def argv(self, *arguments: str, agent: bool = False) -> list[str]:
        """A gpg command; with `agent` one that brings an agent of its own, which ends soon after gpg has, however it ended."""
        home = ["--homedir", str(self.path), "--no-options"]
        command = [self._program, *home, "--batch", "--no-tty", "--no-autostart", "--status-fd", "2", *arguments]
        # Its log elsewhere than on standard error, which it would otherwise hold open when gpg has ended.
        return [self._agent, *home, "--log-file", os.devnull, "--disable-scdaemon", "--daemon", "--", *command] if agent else command

    def run(self, *arguments: str, data: bytes = b"", agent: bool = False) -> subprocess.CompletedProcess[bytes]:
        """Run a gpg command on keys, whatever its exit status; raises `SealError` when it does not end."""
        try:
            # pylint: disable-next=ansible-bad-function  # run_command is a module's; this is the library's
            return subprocess.run(
                self.argv(*arguments, agent=agent), input=data, capture_output=True, timeout=SECONDS, check=False,
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise SealError(f"gpg did not end within {SECONDS:.0f} seconds", arguments[0]) from None
        except OSError as error:
            raise SealError(f"gpg could not start: {error.strerror}", self._program) from None
        finally:
            if agent:
                _end_agent(self.path)

    def import_keys(self, data: bytes, agent: bool = False) -> None:
        """Import keys, which stay here; raises `SealError`."""
        done = self.run("--import", data=data, agent=agent)
        if done.returncode != 0 or not any(line.startswith("IMPORT_OK") for line in status_lines(done.stderr.decode("utf-8", "replace"))):
            raise SealError(f"gpg could not import the key: {complaint(done.stderr)}", "gpg")

    def close(self) -> None:
        """End the agent, and remove everything; idempotent."""
        if self._lock >= 0:
            _end_agent(self.path)
            _remove(self.path)
            os.close(self._lock)
            self._lock = -1


def status_lines(said: str) -> list[str]:
    """What gpg said for machines, without the prefix (doc/DETAILS); text from keys and files cannot begin such a line."""
    return [line[len(_STATUS) :] for line in said.splitlines() if line.startswith(_STATUS)]


def complaint(said: bytes | str) -> str:
    """What gpg said for people, short."""
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    noise = ("keybox ", "trustdb ", "no gpg-agent running", "block_filter", "Total number", "imported:", "encrypted with", "encrypted data")
    lines = [
        line.removeprefix("gpg: ") for line in text.splitlines() if line.startswith("gpg: ") and not any(word in line for word in noise)
    ]
    return clean_line("\n".join(lines))[:160]


def remove_stale_homes() -> None:
    """Remove what killed processes of this user left."""
    _reap(_base())


def _base() -> Path:
    """Where a home is made: in memory where that is possible, and with room in the path for a socket's name."""
    with contextlib.suppress(OSError):
        if os.path.ismount(IN_MEMORY) and os.access(IN_MEMORY, os.W_OK | os.X_OK) and len(os.listdir(IN_MEMORY)) < 10_000:
            return Path(IN_MEMORY)
    place = Path(tempfile.gettempdir())
    return place if len(str(place)) < 60 else Path("/tmp")


def _reap(base: Path) -> None:
    for path in base.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if path.is_symlink() or path.lstat().st_uid != os.geteuid():
                continue
            lock = os.open(path / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _end_agent(path)
                _remove(path)
            finally:
                os.close(lock)


def _remove(path: Path) -> None:
    """Remove a home; its agent may remove its own sockets at the same moment."""
    for _attempt in range(5):
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return
        time.sleep(0.01)
    raise SealError("the private GnuPG home could not be removed; it may hold a secret key", str(path), f"rm -r {path}")


def _end_agent(home: Path) -> None:
    """End the agent of this home, if there is one: asked first, killed when it does not listen."""
    address = str(home / "S.gpg-agent")
    pid = 0
    with contextlib.suppress(OSError, ValueError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as agent:
        agent.settimeout(_AGENT_SECONDS)
        agent.connect(address)
        with agent.makefile("rwb") as lines:
            lines.readline()
            lines.write(b"GETINFO pid\n")
            lines.flush()
            pid = int(lines.readline().removeprefix(b"D "))
            lines.readline()
            lines.write(b"KILLAGENT\n")
            lines.flush()
            lines.read()
    deadline = time.monotonic() + _AGENT_SECONDS
    while pid and _runs(pid):
        if time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
            return
        time.sleep(0.005)


def _runs(pid: int) -> bool:
    """Whether the process runs; one that has ended and that nobody has waited for does not."""
    try:
        return " (gpg-agent) Z" not in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        if os.path.isdir("/proc/self"):
            return False
    except OSError:
        return False
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True

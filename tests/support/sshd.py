# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real sshd on loopback with keys of its own, whose accounts get SFTP and nothing else; and a line to it that can fail.

As root the account is `nobody`, in a chroot; as anybody else it is oneself, without one. What an account may is decided by
the key that it comes with: `writer`, `reader` (internal-sftp -R), `keeper` (may not remove or rename), `chatty` (no SFTP at all).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from support.leaks import children, eventually
from support.parts import require
from support.ports import end_with_parent, free_port

__all__ = ["Line", "SftpServer", "sftp_place", "sftp_server", "sshd"]

COMMANDS = {
    "writer": "internal-sftp",
    "reader": "internal-sftp -R",
    "keeper": "internal-sftp -P remove,rmdir,rename,posix-rename",
    "unlinked": "internal-sftp -P hardlink,fsync,limits,statvfs",
    "chatty": "echo Welcome to this server, dear user",
}
_NUMBERS = itertools.count(1)


@dataclass
class SftpServer:
    """A running server. `root` is what the account sees as `seen_as`; `keys` are the private keys by what they may."""

    port: int
    user: str
    host_key: str
    root: Path
    seen_as: str
    keys: dict[str, Path]
    pid: int
    places: list[Path] = field(default_factory=list)

    def new_place(self) -> Path:
        """A new directory of the account's own, as it lies on this machine."""
        place = self.root / f"place-{next(_NUMBERS)}"
        place.mkdir(mode=0o700)
        owner = pwd.getpwnam(self.user)
        os.chown(place, owner.pw_uid, owner.pw_gid)
        return place

    def spec(self, place: Path, *, key: str = "writer", **overrides: Any) -> dict[str, Any]:
        """Options of a repository in that directory; what is to be given up soon has other times."""
        return {
            "type": "sftp",
            "host": "127.0.0.1",
            "port": self.port,
            "user": self.user,
            "path": self.seen_as.rstrip("/") + "/" + place.name,
            "identity_file": str(self.keys[key]),
            "host_key": self.host_key,
            "connect_timeout": "60s",
            "read_timeout": "120s",
            **overrides,
        }

    def end_connections(self) -> None:
        """Kill (SIGKILL) whatever serves a connection now, until nothing does; the server goes on."""

        def none_is_left() -> bool:
            serving = children(self.pid)
            for process in serving:
                with contextlib.suppress(OSError):
                    os.kill(process, 9)
            return not serving

        eventually(none_is_left, "nothing serves a connection any more")


@contextlib.contextmanager
def sshd(work: Path, *, disk_bytes: int = 0) -> Iterator[SftpServer]:
    """Run one. `disk_bytes`: its places lie on a disk of this size, which nobody else sees (root only)."""
    program = shutil.which("sshd", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/local/sbin")
    assert program is not None
    work.mkdir(parents=True, exist_ok=True)
    work.chmod(0o755)
    keys = {name: _new_key(work / f"key-{name}") for name in COMMANDS}
    host_key = _new_key(work / "host")
    lines = (f'restrict,command="{COMMANDS[name]}" {_public(path)}' for name, path in keys.items())
    (work / "authorized_keys").write_text("\n".join(lines) + "\n")
    (work / "authorized_keys").chmod(0o644)
    with contextlib.ExitStack() as stack:
        as_root = os.geteuid() == 0
        # sshd lets a chroot be below directories only that nobody but root can write, which /tmp is not.
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lifeboat-sshd-", dir="/var/lib" if as_root else None)))
        base.chmod(0o755)
        root = base / "srv"
        root.mkdir(mode=0o755)
        if as_root:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        user = "nobody" if as_root else pwd.getpwuid(os.geteuid()).pw_name
        settings = {
            "ListenAddress": "127.0.0.1",
            "HostKey": host_key,
            "PidFile": "none",
            "UsePAM": "no",
            "StrictModes": "no",
            "AuthorizedKeysFile": work / "authorized_keys",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "Subsystem": "sftp internal-sftp",
            "MaxStartups": "200",
            "UseDNS": "no",
            "PrintMotd": "no",
            **({"ChrootDirectory": base} if as_root else {}),
            **({"PerSourcePenalties": "no"} if _version() >= (9, 8) else {}),
        }
        for attempt in range(5):
            port = free_port()
            (work / "config").write_text("".join(f"{name} {value}\n" for name, value in {**settings, "Port": port}.items()))
            argv = [program, "-D", "-e", "-f", str(work / "config")]
            if disk_bytes:
                mount = 'mount -t tmpfs -o mode=0755,size="$0" tmpfs "$1" && mkdir -m 0700 "$1/place-full" && chown "$2" "$1/place-full"'
                shell = mount + ' && shift 2 && exec "$@"'
                argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", shell, str(disk_bytes), str(root), user, *argv]
            with (
                (work / "log").open("wb") as log,
                _ended(subprocess.Popen(argv, stderr=log, preexec_fn=end_with_parent(signal.SIGTERM))) as process,
            ):
                eventually(lambda: process.poll() is not None or _accepts(port), "sshd takes connections")  # noqa: B023
                if process.poll() is not None:
                    # Another program may have taken the port between finding and using it.
                    assert attempt < 4, (work / "log").read_text()
                    continue
                seen_as = "/srv" if as_root else str(root)
                yield SftpServer(port, user, _public(host_key), root, seen_as, keys, process.pid)
                return


@pytest.fixture(scope="session")
def sftp_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpServer]:
    require("program:sshd", "program:ssh")
    # pytest's own directory is closed to the account, which reads its authorized_keys as itself.
    with tempfile.TemporaryDirectory(prefix="lifeboat-sshd-") as work, sshd(Path(work)) as server:
        yield server


@pytest.fixture
def sftp_place(sftp_server: SftpServer) -> Iterator[Path]:
    """An empty directory of the account's own, as it lies on this machine."""
    place = sftp_server.new_place()
    yield place
    shutil.rmtree(place)


class Line:
    """A TCP line to a server on loopback: `port` is this end. `cut_after` bytes towards the server it breaks; `hold` is a black hole."""

    def __init__(self, port: int) -> None:
        self._to = port
        self.cut_after: int | None = None
        self.cut_back_after: int | None = None
        self.hold = threading.Event()
        self.connections = 0
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Line:
        self._start(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()  # so that no connection is added any more
        self.cut()
        for thread in self._threads:
            thread.join()
        for end in self._open:
            end.close()

    def cut(self) -> None:
        """Break every connection there is."""
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                near, _address = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            far = socket.create_connection(("127.0.0.1", self._to))
            self._open += [near, far]
            self._start(self._carry, near, far, True)
            self._start(self._carry, far, near, False)

    def _start(self, work: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _carry(self, source: socket.socket, target: socket.socket, forth: bool) -> None:
        carried = 0
        with contextlib.suppress(OSError):
            while True:
                data = source.recv(64 * 1024)
                limit = self.cut_after if forth else self.cut_back_after
                if not data or (limit is not None and carried + len(data) > limit):
                    break
                if self.hold.is_set():
                    continue
                target.sendall(data)
                carried += len(data)
            if limit is not None and data:
                # One fault, not one for ever: the next connection gets through.
                self.cut_after = self.cut_back_after = None
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def _new_key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", path.name, "-f", str(path)], check=True)
    return path


def _public(path: Path) -> str:
    return " ".join(Path(f"{path}.pub").read_text().split()[:2])


def _version() -> tuple[int, int]:
    said = subprocess.run(["ssh", "-V"], capture_output=True, text=True).stderr
    found = re.search(r"OpenSSH_(\d+)\.(\d+)", said)
    return (int(found.group(1)), int(found.group(2))) if found else (0, 0)


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Kill the server at the end of the block, and what serves its connections."""
    try:
        yield process
    finally:
        for serving in children(process.pid):
            with contextlib.suppress(OSError):
                os.kill(serving, 9)
        process.kill()
        process.wait()


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one process per cluster that archives: started by the first file that is to be archived, ended with the postmaster.

It compresses, seals and sends what the archiver asks for, and meanwhile what the archiver will ask for next; the launcher
then finds the acknowledgement and asks nobody. It may be killed at any moment: nothing is acknowledged before every
required repository has confirmed it, and what is pushed twice is found to be there.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ArchiveError, LifeboatError
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal import backlog
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.acks import SOCKET, Life
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.front import HEARTBEAT_SECONDS
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.job import WalJob, read_job_file
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.postmaster import Postmaster, Watch
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.push import Pusher
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.shipping import Shipping, Task
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.status import Status, status_file

__all__ = ["main"]

GRACE_SECONDS = 10.0
"""For what is on its way when the worker ends."""

LOOK_SECONDS = 5.0
TURN_SECONDS = 1.0
HOLD_FILES = 16
HOLD_SECONDS = 1.0
"""While a backlog is drained, an answer waits until so many files more are acknowledged, at most so long: a front that is
started for each file would cost half as much as the file itself."""

SENDING_FACTOR = 2
"""So many files are held for each that is compressed: while one waits for the store, another has the processor."""

STUCK_FACTOR = 3

_REQUEST_BYTES = 16 * 1024


class Worker:
    """One life's worker. `stamp` is what it was started with: its job file and this library, as they lay there."""

    def __init__(self, life: Life, config: Path, watch: Watch, stamp: tuple[object, ...]) -> None:
        self.life = life
        self.data_dir = life.postmaster.data_dir
        self._watch = watch
        self._config = config
        self._stamp = stamp
        self.job = WalJob.from_options({**read_job_file(config), "data_dir": str(self.data_dir)})
        self._pusher = Pusher(self.job)
        where = status_file(life.run_dir, self.job.system)
        self._status = Status(where, self.job.system, life.postmaster.pid, self.job.alert_after_seconds)
        self._ending = threading.Event()
        self._orphaned = False
        self._failed = False
        self._looking = threading.Lock()
        self._looked_at = 0.0
        self._handlers: set[threading.Thread] = set()
        self._shipping = Shipping(self._ship, SENDING_FACTOR * self.job.jobs)

    def run(self, listener: socket.socket) -> None:
        """Serve until the postmaster has ended, or what this was started with has changed."""
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        while self._watch.alive(TURN_SECONDS) and not self._ending.is_set() and not self._stuck() and not self._changed():
            # Soon, so that a file that somebody makes ready a second time is not taken for one that is archived.
            self._forget_what_is_taken()
            if time.monotonic() - self._looked_at >= LOOK_SECONDS:
                self._look()
        self._orphaned = not self._watch.alive()
        self._ending.set()
        # From here on nobody finds us, and the launcher finds no acknowledgement.
        self.life.end()
        self._shipping.end(0.0 if self._stuck() else GRACE_SECONDS)
        for thread in list(self._handlers):
            thread.join(HEARTBEAT_SECONDS)

    # --- the front's questions ---------------------------------------------------------------------------------------

    def _accept(self, listener: socket.socket) -> None:
        while True:
            connection, _address = listener.accept()
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._handlers.add(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        # A front that is killed is no fault of ours: its file arrives all the same, and the archiver asks again.
        with contextlib.suppress(OSError), connection:
            connection.settimeout(GRACE_SECONDS)
            connection.sendall(self._answer(connection))
        self._handlers.discard(threading.current_thread())

    def _answer(self, connection: socket.socket) -> bytes:
        request = b""
        while not request.endswith(b"\n"):
            data = connection.recv(_REQUEST_BYTES)
            if not data or len(request) + len(data) > _REQUEST_BYTES:
                return b""
            request += data
        verb, _space, rest = request[:-1].partition(b" ")
        owner, _nul, path = rest.partition(b"\0")
        if verb != b"push" or os.fsdecode(owner) != str(self.data_dir):
            return b"= 1 this worker is that of another server\n"
        if self._ending.is_set() or self._changed():
            self._ending.set()
            # Before the answer: the front asks whoever listens next.
            self.life.leave()
            return b"~\n"
        if self._failed:
            # What was remembered of the stores may be what is wrong: a credential that was changed, a cluster's archive that is gone.
            self._pusher, self._failed = Pusher(self.job), False
        connection.sendall(b".\n")
        task = self._shipping.ask(Path(os.fsdecode(path)))
        self._fill()
        if not self._wait(connection, task):
            # The server's archiver waits for this answer, and a new server waits for the archiver to go.
            return b"= 1 the server has ended\n" if self._orphaned else b"~\n"
        if task.error is not None:
            return f"= {task.error.exit_code} {task.path.name}: {_one_line(task.error)}\n".encode()
        self._hold(connection, task.path.name)
        return b"= 0\n"

    def _wait(self, connection: socket.socket, task: Task) -> bool:
        """Until the file has arrived or failed, saying that we live; False when this worker ends before."""
        while True:
            with self._shipping.condition:
                self._shipping.condition.wait_for(lambda: task.finished or self._orphaned, HEARTBEAT_SECONDS)
                if task.finished:
                    return True
                if self._orphaned or (self._ending.is_set() and task.begun is None):
                    return False
            connection.sendall(b".\n")

    def _hold(self, connection: socket.socket, name: str) -> None:
        """Let some of the following files arrive before the archiver goes on, as long as any follow."""
        deadline = time.monotonic() + HOLD_SECONDS
        with self._shipping.condition:
            while (left := deadline - time.monotonic()) > 0 and not self._shipping.idle:
                if sum(other > name for other in list(self.life.acknowledged)) >= HOLD_FILES or self._ending.is_set():
                    return
                self._shipping.condition.wait(left)

    # --- shipping ----------------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        if self._shipping.nothing_follows:
            self._look()

    def _look(self) -> None:
        """See what waits: take the next files from it, and say how much it is."""
        with self._looking, contextlib.suppress(OSError):
            found = backlog.look(self.data_dir)
            self._forget_what_is_taken()
            if not self._shipping.idle:
                # Only while somebody asks: how often a failing store is tried is the archiver's to say.
                waiting = [name for name in found.names if name not in self.life.acknowledged]
                self._shipping.follow_with(self.data_dir / backlog.WAL_DIR / name for name in waiting)
            if time.monotonic() - self._looked_at >= LOOK_SECONDS or self._status.trouble:
                self._looked_at = time.monotonic()
                self._status.write(found)

    def _forget_what_is_taken(self) -> None:
        for name in list(self.life.acknowledged):
            if not backlog.is_ready(self.data_dir, name):
                self.life.forget(name)

    def _ship(self, path: Path) -> None:
        name = path.name
        ours = path.parent == self.data_dir / backlog.WAL_DIR and backlog.is_ready(self.data_dir, name)
        if name in self.life.acknowledged and ours:
            return

        def see_that_it_waits() -> None:
            # Taken meanwhile by a push of its own: then the server may have been reusing the file while it was read.
            if ours and not (self._watch.alive() and backlog.is_ready(self.data_dir, name)):
                raise ArchiveError(f"{name} is no longer waiting to be archived", str(path))

        try:
            self._pusher.push(path, see_that_it_waits)
        except LifeboatError as error:
            self._failed = True
            self._status.failed(name, _one_line(error))
            raise
        if ours:
            # A run directory that is full makes the next question slower, and the file no less archived.
            with contextlib.suppress(OSError):
                self.life.acknowledge(name)
        self._status.archived(name)

    def _stuck(self) -> bool:
        """Whether a file has been on its way for longer than every deadline of its own allows: then another worker may try."""
        return self._shipping.slowest_seconds() > STUCK_FACTOR * self.job.stall_timeout_seconds + GRACE_SECONDS

    def _changed(self) -> bool:
        return stamp_of(self._config) != self._stamp or not (self.life.folder / SOCKET).exists()


def stamp_of(config: Path) -> tuple[object, ...]:
    """What tells another job file, or another version of this library, from the one before."""
    stamp: list[object] = []
    for path in (config, Path(__file__)):
        try:
            status = os.stat(path)
            stamp += [status.st_ino, status.st_size, status.st_mtime_ns]
        except OSError as error:
            stamp.append(error.errno)
    return tuple(stamp)


def main(argv: Sequence[str] | None = None) -> int:
    """Be the worker of `<data directory> <run directory> <life> <job file>`. Who starts it reads from descriptor 3: nothing
    once it listens, else why it does not, in one line."""
    data_dir, run_dir, name, config = sys.argv[1:] if argv is None else argv
    with contextlib.ExitStack() as until_it_listens:
        parent = until_it_listens.enter_context(open(3, "w", encoding="utf-8"))
        try:
            postmaster = Postmaster.of(Path(data_dir))
            if postmaster is None or postmaster.life != name:
                raise ArchiveError("the postmaster that it was started for has ended", data_dir)
            watch = Watch(postmaster)
            stamp = stamp_of(Path(config))
            life = Life(Path(run_dir), postmaster)
            if not life.take(GRACE_SECONDS + 1):
                return 0
            # A worker that changes its directory holds no file system but that of the run directory.
            os.chdir(life.folder)
            worker = Worker(life, Path(config), watch, stamp)
            listener = _listen()
        except (LifeboatError, OSError) as error:
            parent.write(f"{_one_line(error)}\n")
            return 1
    worker.run(listener)
    # Threads may hang in a system call of a store that is gone: nothing of them is worth waiting for.
    os._exit(0)


def _listen() -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(SOCKET)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(SOCKET)
    listener.listen(16)
    return listener


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:2000]

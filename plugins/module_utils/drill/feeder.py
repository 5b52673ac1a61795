# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""WAL for a server that has no way out: it asks by name through a pipe, and the drill outside fetches, checks and answers.

PostgreSQL's restore_command is a few lines of sh that see two FIFOs and a directory, read-only. What it is told:

    0      delivered: the file lies in the directory, whole, and was checked against its digest and its own header
    1      certainly not in the archive, or behind the end that was found when the drill began
    126    anything else: a hole, a damaged file, a store that does not answer. PostgreSQL ends with FATAL then, where any
           lower status would make it promote with less data (docs/postgres-notes.md#recovery-fails-open)

Whoever is inside can ask for names and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shlex
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.chain import Chain
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import IntegrityError, LifeboatError, ObjectMissing, UnsafeName
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import HISTORY, SEGMENT, WalName

__all__ = ["DELIVERED", "FAULT", "NOT_THERE", "Fed", "Feeder"]

DELIVERED, NOT_THERE, FAULT = 0, 1, 126
AHEAD = 4
"""Segments fetched before they are asked for: bounded, since each of them takes its room on the disk."""

_LONGEST_QUESTION = 256

# $1 is the name, $2 where PostgreSQL wants it. The answer to an earlier question, whose asker was killed, is passed over.
_SCRIPT = """\
set -u
here=${0%/*} mine="$$ $1"
printf '%s\\n' "$mine" > "$here/ask" || exit 126
while read -r process name status; do
  [ "$process $name" = "$mine" ] || continue
  case $status in
    0) cp -- "$here/wal/$1" "$2" || exit 126; exit 0 ;;
    1) exit 1 ;;
    *) exit 126 ;;
  esac
done < "$here/answer"
exit 126
"""


@dataclass
class Fed:
    """What a recovery asked for and was given. `fault` is the first thing that made it end; `past_end`: it asked for more
    than there is, so everything up to the end was read."""

    delivered: int = 0
    last: str = ""
    past_end: bool = False
    fault: LifeboatError | None = None
    asked: list[str] = field(default_factory=list)


class Feeder:
    """Answers one server. A context manager; `fetch(name, path)` writes a checked file, and raises `LifeboatError`.

    `directory` is ours, and exists; the server's `group` may look into it. `command` is the restore_command.
    """

    def __init__(
        self, directory: Path, chain: Chain, fetch: Callable[[WalName, Path], None], group: int | None = None, ahead: int = AHEAD
    ) -> None:
        self.fed = Fed()
        self.directory = directory
        self._chain = chain
        self._fetch = fetch
        self._group = group
        self._ahead = ahead
        self._waiting: dict[int, Future[None]] = {}
        self._held: set[int] = set()
        self._thread: threading.Thread | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._descriptors: list[int] = []
        self._stop = (-1, -1)

    @property
    def command(self) -> str:
        """The restore_command, for the same paths inside and outside of the namespace."""
        return f"sh {shlex.quote(str(self.directory / 'fetch.sh')).replace('%', '%%')} %f %p"

    def __enter__(self) -> Feeder:
        wal = self.directory / "wal"
        wal.mkdir(mode=0o750)
        script = self.directory / "fetch.sh"
        script.write_text(_SCRIPT, encoding="ascii")
        for name in ("ask", "answer"):
            os.mkfifo(self.directory / name, 0o600)
        for path, mode in ((wal, 0o750), (script, 0o640), (self.directory / "ask", 0o660), (self.directory / "answer", 0o640)):
            if self._group is not None:
                os.chown(path, -1, self._group)
            path.chmod(mode)
        # Open for both, so that neither opening nor reading depends on who else is there.
        self._descriptors = [os.open(self.directory / name, os.O_RDWR | os.O_CLOEXEC) for name in ("ask", "answer")]
        self._stop = os.pipe()
        self._pool = ThreadPoolExecutor(max_workers=max(1, self._ahead), thread_name_prefix="lifeboat-wal")
        self._thread = threading.Thread(target=self._serve, name="lifeboat-feeder", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._thread is not None:
            os.write(self._stop[1], b"x")
            self._thread.join(30)
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        for descriptor in (*self._descriptors, *self._stop):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        for name in ("ask", "answer"):
            with contextlib.suppress(OSError):
                os.unlink(self.directory / name)  # whoever asks now would wait for ever
        self._descriptors, self._stop, self._thread, self._pool = [], (-1, -1), None, None

    def _serve(self) -> None:
        ask, answer = self._descriptors
        said = b""
        with selectors.DefaultSelector() as selector:
            selector.register(ask, selectors.EVENT_READ)
            selector.register(self._stop[0], selectors.EVENT_READ)
            while True:
                if any(key.fd == self._stop[0] for key, _events in selector.select()):
                    return
                said += os.read(ask, 4096)
                *lines, said = said.split(b"\n")
                said = said[-_LONGEST_QUESTION:]
                for line in lines:
                    process, _space, name = line[:_LONGEST_QUESTION].decode("ascii", "replace").partition(" ")
                    status = self._answer(name)
                    os.write(answer, f"{process[:20]} {name} {status}\n".encode("ascii", "replace"))

    def _answer(self, text: str) -> int:
        """The exit status for one question; a fault is kept, the first one only."""
        try:
            try:
                name = WalName.parse(text)
            except UnsafeName:
                return NOT_THERE  # somebody inside asks for something else: there is nothing else
            return self._give(name)
        except LifeboatError as error:
            self.fed.fault = self.fed.fault or error
        except Exception as error:  # noqa: BLE001 - whatever it was: PostgreSQL must not take it for the end of the archive
            self.fed.fault = self.fed.fault or LifeboatError(f"fetching {text} failed: {type(error).__name__}: {error}")
        return FAULT

    def _give(self, name: WalName) -> int:
        if len(self.fed.asked) < 10_000:
            self.fed.asked.append(name.text)
        if self._chain.included:
            return NOT_THERE  # PostgreSQL looks into pg_wal then, where the base backup brought it
        if name.kind == HISTORY:
            # Newer ones than the target's are given as well: the server looks for a number that nobody has.
            if name.timeline not in self._chain.histories:
                return NOT_THERE
            self._bring(name)
            return DELIVERED
        index = self._chain.index(name) if name.kind == SEGMENT else None
        if index is None:
            if name.kind == SEGMENT and name.number(self._chain.segment_bytes) > self._chain.parts[-1].last:
                self.fed.past_end = True
            return NOT_THERE
        for ready in [number for number in self._waiting if not index <= number <= index + self._ahead]:
            self._waiting.pop(ready).cancel()
        for number in range(index, min(index + self._ahead + 1, self._chain.count)):
            if number not in self._waiting:
                self._start(number)
        self._waiting[index].result()
        self._drop_before(index)
        self.fed.delivered += 1
        self.fed.last = name.text
        return DELIVERED

    def _start(self, number: int) -> None:
        if self._pool is not None:
            self._held.add(number)
            self._waiting[number] = self._pool.submit(self._bring, WalName.parse(self._chain.name(number)))

    def _bring(self, name: WalName) -> None:
        """Fetch one file to where the server may read it; one that was announced and is gone is a hole."""
        path = self.directory / "wal" / name.text
        if path.exists():
            return
        try:
            self._fetch(name, path)
        except ObjectMissing:
            raise IntegrityError(f"{name.text} is missing in the WAL archive; it was there when the drill began") from None
        if self._group is not None:
            os.chown(path, -1, self._group)
        path.chmod(0o640)

    def _drop_before(self, index: int) -> None:
        """What the server has taken is not kept twice; a segment that it asks for again is fetched again."""
        for number in [number for number in self._held if number < index]:
            self._held.discard(number)
            self._waiting.pop(number, None)
            with contextlib.suppress(OSError):
                (self.directory / "wal" / self._chain.name(number)).unlink()

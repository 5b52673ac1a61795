# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One connection to an SFTP server: `ssh` carries it, requests travel many at once, and standing still has a deadline.

Host keys, ciphers and the key of the account are the business of OpenSSH's client, which every administrator knows and
which encrypts outside of this process. What is left is a small, frozen protocol over two pipes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import stat
import subprocess
from collections import deque
from collections.abc import Callable

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import RepositoryError, RepositoryStalled
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_faults import (
    ConnectionLost,
    Refused,
    not_sftp,
    unconnected,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_options import SftpOptions
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_wire import (
    Attributes,
    Fields,
    Kind,
    Malformed,
    Status,
    number32,
    packet,
    text,
)

__all__ = ["Session"]

_OUR_VERSION = 3
_LARGEST_PACKET = 1024 * 1024
_USUAL_DATA_BYTES = 32 * 1024
"""What every server takes in one packet; OpenSSH says that it takes more."""
_MOST_DATA_BYTES = 256 * 1024
_PIPE_BYTES = 1024 * 1024
_READ_BYTES = 512 * 1024
_END_SECONDS = 2.0


class Session:
    """Used by one thread at a time; `kill` may come from any. Raises `Refused` for what the server refuses in a STATUS.

    `write_bytes`, `read_bytes`: the most data that one request carries. `extensions`: what the server offers beyond the
    protocol. `root`: the real path of the repository's directory there, or None when it does not exist.
    """

    def __init__(self, given: SftpOptions, argv: list[str], environment: dict[str, str]) -> None:
        self.given = given
        self.extensions: dict[str, str] = {}
        self.write_bytes = self.read_bytes = _USUAL_DATA_BYTES
        self.root: bytes | None = None
        self._number = 0
        self._out: deque[memoryview] = deque()
        self._in = bytearray()
        self._answers: dict[int, tuple[int, bytes]] = {}
        self._forgotten: set[int] = set()
        self._greeted = False
        self._timeout = given.read_timeout_seconds
        # pylint: disable-next=ansible-bad-function  # a library that also runs without Ansible; argv, never a shell
        self._process = subprocess.Popen(
            argv,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            start_new_session=True,  # an interrupt at the keyboard is ours to handle, and there is no terminal to ask at
        )
        pipes = (self._process.stdin, self._process.stdout, self._process.stderr)
        self._to, self._from, self._words = (pipe.fileno() for pipe in pipes if pipe is not None)
        for descriptor in (self._to, self._from, self._words):
            os.set_blocking(descriptor, False)
        for descriptor in (self._to, self._from):
            with contextlib.suppress(OSError):
                fcntl.fcntl(descriptor, getattr(fcntl, "F_SETPIPE_SZ", 1031), _PIPE_BYTES)
        self._poll = select.poll()
        self._poll.register(self._from, select.POLLIN)
        self._poll.register(self._to, 0)
        try:
            self._greet()
        except BaseException:
            self.close()
            raise

    def send(self, kind: int, *parts: bytes) -> int:
        """Queue a request; its number is for `answer`. Nothing is waited for."""
        self._number += 1
        self._out.append(memoryview(packet(kind, self._number, *parts)))
        return self._number

    def send_data(self, head: bytes, data: memoryview) -> int:
        """A WRITE of `data`, which is not copied; it must not change before its answer is here."""
        self._number += 1
        whole = number32(5 + len(head) + 4 + len(data)) + bytes((Kind.WRITE,)) + number32(self._number) + head + number32(len(data))
        self._out.append(memoryview(whole))
        self._out.append(data)
        return self._number

    def answer(self, number: int) -> tuple[int, Fields]:
        """The answer to a request, waited for; a STATUS other than OK is raised as `Refused`."""
        self._pump(lambda: number in self._answers)
        kind, body = self._answers.pop(number)
        fields = Fields(body)
        if kind == Kind.STATUS:
            code = fields.number32()
            if code != Status.OK:
                raise Refused(code, fields.text().decode(errors="replace") if fields.rest else "")
        return kind, fields

    def call(self, kind: int, *parts: bytes) -> Fields:
        return self.answer(self.send(kind, *parts))[1]

    def forget(self, number: int) -> None:
        """The answer of this request is of no interest, whenever it comes."""
        if self._answers.pop(number, None) is None:
            self._forgotten.add(number)

    def push(self) -> None:
        """Give the pipe what it takes at once, and take what is there; nothing is waited for."""
        self._turn(0)

    def flush(self) -> None:
        """Return once all that was queued is sent."""
        self._pump(lambda: not self._out)

    def open_file(self, path: bytes, flags: int, attributes: bytes) -> bytes:
        """The handle of an opened file."""
        return self.call(Kind.OPEN, text(path), number32(flags), attributes).text()

    def lstat(self, path: bytes) -> Attributes | None:
        """The facts of a file, a link not followed; None where there is none."""
        return self.attributes_of(self.send(Kind.LSTAT, text(path)))

    def attributes_of(self, number: int) -> Attributes | None:
        """What an LSTAT, STAT or FSTAT answered; None where there is no such file."""
        try:
            return self.answer(number)[1].attributes()
        except Refused as refused:
            if refused.code == Status.NO_SUCH_FILE:
                return None
            raise

    def path_of(self, number: int) -> bytes | None:
        """What a REALPATH answered; None where there is no such path."""
        try:
            fields = self.answer(number)[1]
        except Refused as refused:
            if refused.code in (Status.NO_SUCH_FILE, Status.FAILURE):
                return None
            raise
        fields.number32()
        return fields.text()

    def extended(self, name: str, *parts: bytes) -> int:
        """Queue a request that is OpenSSH's own; ask `extensions` first."""
        return self.send(Kind.EXTENDED, text(name.encode()), *parts)

    def is_alive(self) -> bool:
        """Whether a connection that was idle still is one."""
        try:
            while self._turn(0):
                pass
        except RepositoryError:
            return False
        return self._process.poll() is None

    def kill(self) -> None:
        """End it at once; who waits for an answer gets `ConnectionLost`."""
        self._process.kill()

    def close(self) -> None:
        """End it and release what it held; never raises. Not while another thread uses it."""
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._process.kill()
        self._process.wait()

    def _greet(self) -> None:
        # A key exchange and a log-in may take as long as any other answer, once the server has taken the call.
        self._timeout = self.given.connect_timeout_seconds + self.given.read_timeout_seconds
        self._out.append(memoryview(number32(5) + bytes((Kind.INIT,)) + number32(_OUR_VERSION)))
        self._pump(lambda: -1 in self._answers)
        kind, body = self._answers.pop(-1)
        fields = Fields(body)
        try:
            if kind != Kind.VERSION or fields.number32() < _OUR_VERSION:
                raise not_sftp(self.given, "it speaks an older version")
            while fields.rest:
                name, data = fields.text(), fields.text()
                self.extensions[name.decode(errors="replace")] = data.decode(errors="replace")
        except Malformed:
            raise not_sftp(self.given, "its first answer is not SFTP") from None
        self._greeted = True
        self._timeout = self.given.read_timeout_seconds
        path = text(self.given.path_of())
        real, there = self.send(Kind.REALPATH, path), self.send(Kind.STAT, path)
        limits = self.extended("limits@openssh.com") if "limits@openssh.com" in self.extensions else None
        root = self.path_of(real)
        try:
            facts = self.attributes_of(there)
            self.root = None if facts is None else root
            if facts is not None and facts.permissions is not None and not stat.S_ISDIR(facts.permissions):
                raise RepositoryError("the repository's path is not a directory", self.given.place(), "Name a directory.")
        except Refused:
            self.root = root  # what it means shows when the directory is used
        if limits is not None:
            with contextlib.suppress(Refused, Malformed):
                answer = self.answer(limits)[1]
                answer.number64()
                read, write = answer.number64(), answer.number64()
                self.read_bytes = min(max(read, _USUAL_DATA_BYTES), _MOST_DATA_BYTES)
                self.write_bytes = min(max(write, _USUAL_DATA_BYTES), _MOST_DATA_BYTES)

    def _pump(self, done: Callable[[], bool]) -> None:
        """Send and receive until `done`; raises when neither goes on for the deadline, or the other side is gone."""
        while not done():
            if not self._turn(self._timeout):
                raise self._silent()

    def _turn(self, seconds: float) -> bool:
        """Wait until the pipes take or give something, and do it; False when they did neither for so long."""
        self._poll.modify(self._to, select.POLLOUT if self._out else 0)
        events = self._poll.poll(seconds * 1000)
        for descriptor, event in events:
            if descriptor == self._from:
                self._receive()
            elif self._out:
                self._write()
            elif event & (select.POLLERR | select.POLLHUP):
                raise self._lost()
        return bool(events)

    def _write(self) -> None:
        some = [self._out[index] for index in range(min(len(self._out), 64))]
        try:
            written = os.writev(self._to, some)
        except BlockingIOError:
            return
        except OSError:
            raise self._lost() from None
        while written:
            head = self._out[0]
            if written < len(head):
                self._out[0] = head[written:]
                return
            written -= len(head)
            self._out.popleft()

    def _receive(self) -> None:
        try:
            data = os.read(self._from, _READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            raise self._lost()
        self._in += data
        position = 0
        while len(self._in) - position >= 4:
            length = int.from_bytes(self._in[position : position + 4], "big")
            if not 5 <= length <= _LARGEST_PACKET:
                raise not_sftp(self.given, f"it sent {bytes(self._in[position : position + 40])!r}")
            end = position + 4 + length
            if len(self._in) < end:
                break
            self._take(bytes(self._in[position + 4 : end]))
            position = end
        del self._in[:position]

    def _take(self, frame: bytes) -> None:
        if frame[0] == Kind.VERSION:
            self._answers[-1] = (frame[0], frame[1:])
            return
        number = int.from_bytes(frame[1:5], "big")
        if number in self._forgotten:
            self._forgotten.remove(number)
        else:
            self._answers[number] = (frame[0], frame[5:])

    def _silent(self) -> RepositoryError:
        self._process.kill()
        what = f"repository {self.given.name!r}: the server did not answer within {self._timeout:g} s"
        return RepositoryStalled(what, self.given.place(), "Is it up, and is the way to it open (firewall)?")

    def _lost(self) -> RepositoryError:
        """What ssh said when it ended."""
        try:
            status = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        said = b""
        with contextlib.suppress(OSError):
            said = os.read(self._words, 16 * 1024)
        words = said.decode(errors="replace")
        if self._greeted:
            return ConnectionLost(self.given, words)
        return unconnected(self.given, status, words)

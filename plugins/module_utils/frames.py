# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Large streams as a row of zstd frames, each of a bounded size: packed and opened by several threads, without a program between.

Frames one behind the other are one stream to every reader of zstd (RFC 8878, section 3), so `zstd -d` reads what is written here.
A frame says where it ends by the sizes of its blocks. So a cut one and anything behind the last one is refused here, too, and each
is opened whole in memory of the size that it announces. A frame that announces nothing, or too much, is opened piece by piece.

Where the library is not installed the program does the same work, more slowly: every byte then passes two pipes more.
"""

from __future__ import annotations

import collections
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from ansible_collections.lifeboat.postgres.plugins.module_utils import compress
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import IntegrityError
from ansible_collections.lifeboat.postgres.plugins.module_utils.stages import (
    CHUNK_BYTES,
    WORTHWHILE_BYTES,
    FunctionStage,
    Stage,
    clean_line,
    nap_seconds,
)

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["Follower", "opening", "packing"]

THREADS = 2
FRAME_BYTES = 2 * 1024 * 1024
"""What level 3 looks back on. Four times as much would save 0.5 % of a base backup, and cost more: what lies in the processor's
cache is compressed, opened and written faster."""
LARGE_FRAME_BYTES, LARGE_FROM = 32 * 1024 * 1024, 9
"""From this level on one looks back further."""
LIMIT_BYTES = 64 * 1024 * 1024
"""No larger frame is opened in one piece."""

_MAGIC = b"\x28\xb5\x2f\xfd"
_CHECKSUM, _SINGLE = 0x04, 0x20
_RLE, _RESERVED = 1, 3


class Follower(Protocol):
    """Looks at a stream: is given its bytes in order, and told that there are no more. What it raises ends the stream."""

    def feed(self, data: memoryview) -> None:
        """Valid only during the call."""

    def finish(self) -> None:
        """The stream was whole."""


def packing(level: int, follower: Follower | None = None) -> list[Stage]:
    """Stages that compress what comes, while the follower looks at it before. Raises as `compress.compressor` does."""
    stage = compress.compressor(level)
    library = compress.library_at_hand()
    if library is not None:
        return [FunctionStage("zstd", lambda source, target: _pack(library, level, follower, source, target))]
    return [stage] if follower is None else [FunctionStage("following", lambda source, target: _pass(source, target, follower)), stage]


def opening(follower: Follower) -> list[Stage]:
    """The last stages of a stream: decompress it, and give it to the follower. Raises `MissingTool`.

    A cut or damaged stream ends with `IntegrityError`. A frame's content reaches the follower only when all of it is right, that of
    one that is opened piece by piece before.
    """
    library = compress.library_at_hand()
    if library is not None:
        return [FunctionStage("zstd", lambda source, _target: _open(library, follower, source))]
    return [compress.decompressor(), FunctionStage("following", lambda source, _target: _pass(source, None, follower))]


def _pass(source: BinaryIO, target: BinaryIO | None, follower: Follower) -> None:
    while data := os.read(source.fileno(), CHUNK_BYTES):
        view = memoryview(data)
        follower.feed(view)
        while target is not None and view:
            view = view[os.write(target.fileno(), view) :]
    follower.finish()


def _pack(library: ModuleType, level: int, follower: Follower | None, source: BinaryIO, target: BinaryIO) -> None:
    frame_bytes = LARGE_FRAME_BYTES if level >= LARGE_FROM else FRAME_BYTES
    descriptor = source.fileno()  # past its buffer
    row = _Row(lambda: library.ZstdCompressor(level=level, write_checksum=True))
    frames = 0
    with row:
        while True:
            buffer = row.buffer(frame_bytes)
            view = memoryview(buffer)
            count = _fill(descriptor, view, follower)
            if not count and frames:
                break
            frames += 1
            row.add(buffer, partial(_packed, view[:count]))
            target.writelines(row.ready())
        target.writelines(row.ready(everything=True))
    if follower is not None:
        follower.finish()


def _fill(descriptor: int, view: memoryview, follower: Follower | None) -> int:
    """Fill it, or as much of it as there is until the end; the number of bytes."""
    count, nap = 0, nap_seconds(descriptor)
    while count < len(view) and (got := os.readv(descriptor, [view[count : count + CHUNK_BYTES]])):
        if follower is not None:
            follower.feed(view[count : count + got])
        count += got
        if nap and got < WORTHWHILE_BYTES and count < len(view):
            time.sleep(nap)
    return count


def _open(library: ModuleType, follower: Follower, source: BinaryIO) -> None:
    frames = _Frames(source.fileno())
    row = _Row(library.ZstdDecompressor)
    with row:
        while (size := frames.begin()) is not None:
            if 0 <= size <= LIMIT_BYTES:
                buffer = row.buffer(size)
                row.add(buffer, partial(_unpacked, library, frames.whole(), memoryview(buffer)[:size]))
                _show(row.ready(), follower)
            else:
                _show(row.ready(everything=True), follower)
                _show(_pieces(library, frames), follower)
        _show(row.ready(everything=True), follower)
    follower.finish()


def _show(pieces: Iterator[Any], follower: Follower) -> None:
    for piece in pieces:
        follower.feed(piece)


def _packed(view: memoryview, packer: Any) -> bytes:
    packed: bytes = packer.compress(view)
    return packed


def _unpacked(library: ModuleType, frame: bytes, room: memoryview, opener: Any) -> memoryview:
    """The frame's content in this room, which is as large as the frame says."""
    try:
        with opener.stream_reader(frame) as reader:
            count = reader.readinto(room)
            more = reader.read(1)  # its checksum may be looked at only now
    except library.ZstdError as error:
        raise _damaged(clean_line(str(error))) from None
    if count != len(room) or more:
        raise _damaged("a frame does not hold what it says")
    return room


def _pieces(library: ModuleType, frames: _Frames) -> Iterator[memoryview]:
    buffer = bytearray(CHUNK_BYTES)
    try:
        with library.ZstdDecompressor().stream_reader(frames, read_size=CHUNK_BYTES) as reader:
            while count := reader.readinto(buffer):
                yield memoryview(buffer)[:count]
    except library.ZstdError as error:
        raise _damaged(clean_line(str(error))) from None
    if frames.read(1):
        raise _damaged("a frame is longer than its content")


class _Row:
    """Work of several threads whose results come in the order of the work. `make` makes each thread's own tool."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._tools: list[Any] = []
        self._free: list[bytearray] = []
        self._waiting: collections.deque[tuple[Future[Any], bytearray]] = collections.deque()
        self._pool = ThreadPoolExecutor(THREADS, "lifeboat-zstd")

    def __enter__(self) -> _Row:
        return self

    def __exit__(self, *_error: object) -> None:
        for future, _buffer in self._waiting:
            future.cancel()
        self._pool.shutdown()

    def buffer(self, size: int) -> bytearray:
        """At least so large; memory that was used before costs less than new memory."""
        free = self._free.pop() if self._free else b""
        return free if isinstance(free, bytearray) and len(free) >= size else bytearray(size)

    def add(self, buffer: bytearray, work: Callable[[Any], Any]) -> None:
        """`buffer` is what the work or its result rests on: it is used again when that was taken."""

        def run() -> Any:
            tool = self._tools.pop() if self._tools else self._make()
            try:
                return work(tool)
            finally:
                self._tools.append(tool)

        self._waiting.append((self._pool.submit(run), buffer))

    def ready(self, everything: bool = False) -> Iterator[Any]:
        """What is done; waits for the first when each thread has its work and one more lies there, and for all of `everything`."""
        while self._waiting and (everything or len(self._waiting) > THREADS or self._waiting[0][0].done()):
            future, buffer = self._waiting.popleft()
            yield future.result()
            self._free.append(buffer)


class _Frames:
    """The frames that a descriptor brings, followed by the sizes of their blocks (RFC 8878, section 3.1.1)."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._data = bytearray()
        self._known = 0
        """So many bytes from the beginning of `_data` on, which need not all be there yet, belong to the frame."""
        self._whole = True
        self._checksum = 0
        self._begun = False

    def begin(self) -> int | None:
        """Go to the next frame, the one before being read: the size of its content, -1 where it does not say; None at the end."""
        if not self._data and not self._more() and self._begun:
            return None
        self._begun = True
        self._need(5)
        if self._data[:4] != _MAGIC:
            raise _damaged("unknown header")
        flags = self._data[4]
        single, size_flag = flags & _SINGLE, flags >> 6
        before = 5 + (not single) + (0, 1, 2, 4)[flags & 3]
        size_bytes = (1 if single else 0, 2, 4, 8)[size_flag]
        self._need(before + size_bytes)
        size = int.from_bytes(self._data[before : before + size_bytes], "little") + (256 if size_flag == 1 else 0)
        self._known, self._whole, self._checksum = before + size_bytes, False, 4 if flags & _CHECKSUM else 0
        return size if size_bytes else -1

    def whole(self) -> bytes:
        """All of the frame."""
        while not self._whole:
            self._follow()
        return self._take(self._known)

    def read(self, size: int) -> bytes:
        """As a file that ends with the frame."""
        while not self._whole and self._known < size:
            self._follow()
        return self._take(min(size, self._known))

    def _follow(self) -> None:
        """Over one more block, of which only the head has to be there."""
        at = self._known
        self._need(at + 3)
        head = int.from_bytes(self._data[at : at + 3], "little")
        kind, size = head >> 1 & 3, head >> 3
        if kind == _RESERVED:
            raise _damaged("a block of an unknown kind")
        self._known += 3 + (1 if kind == _RLE else size)
        if head & 1:
            self._known += self._checksum
            self._whole = True

    def _take(self, count: int) -> bytes:
        self._need(count)
        with memoryview(self._data) as view:
            taken = bytes(view[:count])
        del self._data[:count]
        self._known -= count
        return taken

    def _need(self, count: int) -> None:
        while len(self._data) < count:
            if not self._more():
                raise IntegrityError("the compressed stream ends early", compress.METHOD, compress.OTHER_COPY)

    def _more(self) -> bool:
        data = os.read(self._descriptor, CHUNK_BYTES)
        self._data += data
        return bool(data)


def _damaged(what: str) -> IntegrityError:
    return IntegrityError(f"the compressed stream is damaged: {what}", compress.METHOD, compress.OTHER_COPY)

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A tar followed while its bytes come in pieces of any size: headers are put together, everything else is shown where it lies.

Nothing is copied and nothing is held but a header that is not whole yet. So it costs a few calls per file, and memory does not
grow with what is followed.
"""

from __future__ import annotations

import tarfile

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError

__all__ = ["BLOCK", "TarWalk"]

BLOCK = 512
_REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE)


class TarWalk:
    """`feed` takes the bytes as they come, `finish` says that there are no more; both raise what `wrong` makes of a fault.

    Whoever inherits is told of each member: `begin`, its content in `piece` after `piece`, and for a regular file `end`.
    `size_bytes` is what came so far, everything counted.
    """

    def __init__(self) -> None:
        self.size_bytes = 0
        self._head = bytearray()
        self._name = ""
        self._inside = False
        self._left = self._padding = 0
        self._ended = False

    def begin(self, member: tarfile.TarInfo) -> None:
        """A member begins."""
        raise NotImplementedError

    def piece(self, data: memoryview) -> None:
        """Some more of a regular file's content; valid only during the call."""
        raise NotImplementedError

    def end(self) -> None:
        """The regular file is whole."""
        raise NotImplementedError

    def wrong(self, what: str) -> LifeboatError:
        """The error for a stream that is no whole tar."""
        raise NotImplementedError

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        while view:
            part = view[: self._left or self._padding or BLOCK - len(self._head)]
            view = view[len(part) :]
            self.size_bytes += len(part)
            if self._left:
                self._left -= len(part)
                self.piece(part)
                self._end_when_whole()
            elif self._padding:
                self._padding -= len(part)
            else:
                self._head += part
                if len(self._head) == BLOCK:
                    header, self._head = bytes(self._head), bytearray()
                    self._header(header)

    def finish(self) -> None:
        if self._head:
            raise self.wrong("it ends within a header")
        if self._left or self._padding:
            raise self.wrong(f"it ends within {self._name!r}")
        if not self._ended:
            raise self.wrong("it ends early")

    def _header(self, header: bytes) -> None:
        if not any(header):
            self._ended = True  # the end is two empty blocks, and whatever padding follows is empty, too
            return
        if self._ended:
            raise self.wrong("something follows its end")
        try:
            member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise self.wrong(f"a header in it is damaged: {error}") from None
        if member.size < 0:
            raise self.wrong(f"{member.name!r} in it has less than no bytes")
        self._name = member.name
        self.begin(member)
        self._inside = member.type in _REGULAR
        self._left = member.size if self._inside else 0
        self._padding = -self._left % BLOCK
        self._end_when_whole()

    def _end_when_whole(self) -> None:
        if self._inside and not self._left:
            self._inside = False
            self.end()

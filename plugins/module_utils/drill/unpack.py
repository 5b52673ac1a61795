# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory dump out of its tar, file by file as the bytes come, and nothing but what a directory dump consists of.

A tar can name any path, hold links and devices, and say one size and bring another. So it is not extracted by a program
but read here: regular files only, with the names that pg_dump gives, each once, never more bytes than were announced.
"""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.staging import DATA_FILE, TOC
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import IntegrityError, PipelineError

__all__ = ["Unpacker"]

_BLOCK = 512
_LEAST_BYTES_PER_FILE = 5
"""A table's file holds its end mark at least; an empty large object has its line in the list of them."""
_REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE)


class Unpacker:
    """Takes a tar in pieces and writes its files into `directory`, which exists and is empty.

    `feed` what comes, then `finish`, which raises when the tar ended early. `size_bytes` is what the files hold together;
    more than `limit_bytes` is refused. Raises `IntegrityError` that names what is wrong, `PipelineError` for a full disk.
    """

    def __init__(self, directory: Path, limit_bytes: int, where: str, group: int | None = None) -> None:
        self.size_bytes = 0
        self._directory = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._limit_bytes = limit_bytes
        self._where = where
        self._group = group
        self._names: set[str] = set()
        self._header = b""
        self._file = -1
        self._left, self._padding = 0, 0
        self._ended = False

    def feed(self, chunk: bytes | memoryview) -> None:
        """Take the next bytes."""
        view = memoryview(chunk)
        while view:
            if self._left:
                part = view[: self._left]
                self._write(part)
                self._left -= len(part)
                if not self._left:
                    self._end_file()
            elif self._padding:
                part = view[: self._padding]
                self._padding -= len(part)
            else:
                part = view[: _BLOCK - len(self._header)]
                self._header += part
                if len(self._header) == _BLOCK:
                    block, self._header = self._header, b""
                    self._begin(block)
            view = view[len(part) :]

    def finish(self) -> None:
        """The end of the stream: raises when it came too early."""
        if not self._ended or self._left or self._padding or self._header:
            raise self._wrong("it ends early")

    def discard(self) -> None:
        """Give up what is open; the directory is the caller's."""
        for descriptor in (self._file, self._directory):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._directory = -1

    def _begin(self, block: bytes) -> None:
        if not any(block):
            self._ended = True  # the end is two empty blocks; whatever padding follows is empty, too
            return
        if self._ended:
            raise self._wrong("something follows its end")
        try:
            member = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise self._wrong(f"a header in it is damaged: {error}") from None
        if member.type not in _REGULAR:
            raise self._wrong(f"{member.name!r} in it is no regular file")
        if not DATA_FILE.fullmatch(member.name) or member.name in self._names:
            raise self._wrong(f"it holds {member.name!r}, {'twice' if member.name in self._names else 'which pg_dump does not write'}")
        if not self._names and member.name != TOC:
            raise self._wrong(f"it begins with {member.name!r}, not with the table of contents")
        self.size_bytes += member.size
        if member.size < 0 or self.size_bytes > self._limit_bytes:
            raise self._wrong(f"its files hold more than {self._limit_bytes} bytes, which is what the manifest says")
        self._names.add(member.name)
        if len(self._names) * _LEAST_BYTES_PER_FILE > self._limit_bytes:
            raise self._wrong("it holds more files than a dump of that size has")
        try:
            self._file = os.open(
                member.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=self._directory
            )
        except OSError as error:
            raise PipelineError(f"the opened dump cannot be written: {error.strerror}", member.name) from None
        self._left, self._padding = member.size, -member.size % _BLOCK
        if not self._left:
            self._end_file()

    def _write(self, part: memoryview) -> None:
        try:
            while part:
                part = part[os.write(self._file, part) :]
        except OSError as error:
            raise PipelineError(f"the opened dump cannot be written: {error.strerror}", self._where) from None

    def _end_file(self) -> None:
        if self._group is not None:
            os.fchown(self._file, -1, self._group)
            os.fchmod(self._file, 0o640)
        os.close(self._file)
        self._file = -1

    def _wrong(self, what: str) -> IntegrityError:
        return IntegrityError(f"the opened dump is not a directory that pg_dump wrote: {what}", self._where)

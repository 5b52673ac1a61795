# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Zstandard: the program `zstd` where there is one, else the library; both write and check content checksums.

Every byte must belong to a whole frame: a frame that is cut, and anything behind the last frame, is refused. The
library's stream reader takes both in silence, so frames are followed by hand here.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, BinaryIO

from ansible_collections.lifeboat.postgres.plugins.module_utils import deps
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, IntegrityError, LifeboatError, MissingTool
from ansible_collections.lifeboat.postgres.plugins.module_utils.pipeline import run_through
from ansible_collections.lifeboat.postgres.plugins.module_utils.process_stage import ProcessStage
from ansible_collections.lifeboat.postgres.plugins.module_utils.stages import CHUNK_BYTES, FunctionStage, Stage, clean_line

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["METHOD", "OTHER_COPY", "SUFFIX", "compressor", "decompressor", "library_at_hand", "packed", "unpacked", "unpacked_bytes"]

METHOD = "zstd"
SUFFIX = ".zst"
LEVELS = range(1, 20)
PIECE_BYTES = 1024
"""What the library is given at a time. Zeros shrink to 4 bytes per block of 128 KiB, so this bounds memory to 32 MiB."""

OTHER_COPY = "Use another repository's copy."
_DAMAGE_WORDS = ("premature end", "end of file", "unknown header", "unsupported format", "Decoding error")


def compressor(level: int = 3, threads: int = 2, prefer: str = "") -> Stage:
    """A stage that compresses. `prefer` ("program" or "library") forces one of the two.

    Raises `ConfigurationError` for a level outside 1–19, `MissingTool` where neither the program nor the library is.
    """
    if level not in LEVELS:
        raise ConfigurationError(f"compression level {level} is not within {LEVELS[0]} and {LEVELS[-1]}", METHOD)
    program = _program(prefer)
    if program:
        return ProcessStage("zstd", [program, "-q", "-c", f"-T{threads}", f"-{level}", "--check"])
    library = _library()

    def compress(source: BinaryIO, target: BinaryIO) -> None:
        library.ZstdCompressor(level=level, threads=threads, write_checksum=True).copy_stream(
            source, target, read_size=CHUNK_BYTES, write_size=CHUNK_BYTES
        )

    return FunctionStage("zstd (library)", compress)


def decompressor(prefer: str = "") -> Stage:
    """A stage that decompresses; a cut or damaged stream raises `IntegrityError`."""
    program = _program(prefer)
    if program:
        return ProcessStage("zstd", [program, "-q", "-d", "-c"], explain=_explain)
    library = _library()
    return FunctionStage("zstd (library)", lambda source, target: _decompress(library, source, target))


def packed(data: bytes, level: int = 3) -> bytes:
    """`data` compressed in memory, by the library where there is one: for what shrinks faster than a program starts.

    Raises as `compressor` does.
    """
    library = library_at_hand()
    if library is None or level not in LEVELS:
        return _through(compressor(level), data)
    result: bytes = library.ZstdCompressor(level=level, write_checksum=True).compress(data)
    return result


def unpacked(data: bytes, limit_bytes: int) -> bytes:
    """The inverse in memory; raises `IntegrityError` for what is cut, damaged, or larger than `limit_bytes` when opened."""
    library = library_at_hand()
    if library is not None and 0 <= unpacked_bytes(data) <= limit_bytes:
        try:
            whole: bytes = library.ZstdDecompressor().decompress(data, allow_extra_data=False)
        except library.ZstdError as error:
            raise IntegrityError(f"the compressed stream is damaged: {clean_line(str(error))}", METHOD, OTHER_COPY) from None
        return whole
    parts: list[bytes] = []
    room = limit_bytes

    def keep(chunk: bytes) -> None:
        nonlocal room
        room -= len(chunk)
        if room < 0:
            raise IntegrityError(f"the compressed stream holds more than {limit_bytes} bytes", METHOD, OTHER_COPY)
        parts.append(chunk)

    run_through([decompressor()], [data], keep)
    return b"".join(parts)


def unpacked_bytes(data: bytes) -> int:
    """What it says that it holds, or -1 where it does not say so (it was written to a pipe) or nobody here can read it."""
    library = library_at_hand()
    if library is None:
        return -1
    try:
        size = int(library.get_frame_parameters(data).content_size)
    except library.ZstdError:
        return -1
    return size if 0 <= size < 1 << 62 else -1


def library_at_hand() -> ModuleType | None:
    """The library, or None where it is not installed."""
    try:
        return _library()
    except MissingTool:
        return None


def _through(stage: Stage, data: bytes) -> bytes:
    parts: list[bytes] = []
    run_through([stage], [data], parts.append)
    return b"".join(parts)


def _program(prefer: str) -> str:
    program = "" if prefer == "library" else shutil.which("zstd") or ""
    if prefer == "program" and not program:
        raise MissingTool("the program zstd was not found", "", "Install the package zstd.")
    return program


def _library() -> ModuleType:
    try:
        return deps.load("zstandard", minimum="0.19", package="zstandard", debian="python3-zstandard")
    except MissingTool as error:
        raise MissingTool(
            f"neither the program zstd nor its library is there: {error.what}", "", f"Install the package zstd. Or: {error.next_step}"
        ) from None


def _decompress(library: ModuleType, source: BinaryIO, target: BinaryIO) -> None:
    frame, rest, frames = None, b"", 0
    while True:
        data = rest or source.read(PIECE_BYTES)
        if not data:
            break
        if frame is None:
            frame = library.ZstdDecompressor().decompressobj()
        try:
            target.write(frame.decompress(data))
        except library.ZstdError as error:
            raise IntegrityError(f"the compressed stream is damaged: {clean_line(str(error))}", METHOD, OTHER_COPY) from None
        rest = b""
        if frame.eof:
            rest, frame, frames = frame.unused_data, None, frames + 1
    if frame is not None or not frames:
        raise IntegrityError("the compressed stream ends early", METHOD, OTHER_COPY)


def _explain(status: int, stderr: str) -> LifeboatError | None:
    said = clean_line(stderr).replace("/*stdin*\\", "stream").removeprefix("zstd: ")
    if status > 0 and any(word in said for word in _DAMAGE_WORDS):
        return IntegrityError(f"the compressed stream is damaged or ends early: {said}", METHOD, OTHER_COPY)
    return None

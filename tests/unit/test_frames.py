# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stream as a row of frames: the program reads what we write and the other way round; what is cut, altered or prolonged is refused."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import compress, frames
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import IntegrityError, MissingTool
from ansible_collections.lifeboat.postgres.plugins.module_utils.pipeline import Pipeline, run_through

pytestmark = pytest.mark.needs("program:zstd", "library:zstandard")

FRAME_BYTES = 100_000
PLAIN = random.Random(1).randbytes(300_000) + b"a row of the shop\n" * 20_000
MAGIC = b"\x28\xb5\x2f\xfd"


class Kept:
    """Keeps what it is shown."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.finished = False

    def feed(self, data: memoryview) -> None:
        self.data += data

    def finish(self) -> None:
        self.finished = True


@pytest.fixture(autouse=True)
def small_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "FRAME_BYTES", FRAME_BYTES)


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise MissingTool("not here")

    monkeypatch.setattr(compress, "_library", missing)


def pack(data: bytes, level: int = 3, kept: Kept | None = None) -> bytes:
    output = bytearray()
    run_through(frames.packing(level, kept), [data], output.extend)
    return bytes(output)


def unpack(packed: bytes) -> bytes:
    kept = Kept()
    with Pipeline(frames.opening(kept), [packed]) as pipeline:
        pipeline.finish()
    assert kept.finished
    return bytes(kept.data)


def program(*argv: str, data: bytes) -> bytes:
    return subprocess.run(["zstd", "-q", "-c", *argv], input=data, capture_output=True, check=True).stdout


@pytest.mark.parametrize("size", [0, 1, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, 2 * FRAME_BYTES, len(PLAIN)])
def test_each_reads_what_the_other_wrote(size: int) -> None:
    data, kept = PLAIN[:size], Kept()
    packed = pack(data, kept=kept)
    assert (bytes(kept.data), kept.finished) == (data, True)
    assert program("-d", data=packed) == data == unpack(packed)
    assert unpack(program("-T2", "--check", data=data)) == data


def test_it_is_a_row_of_frames_with_checksums_and_none_is_empty() -> None:
    packed = pack(PLAIN)
    found = list(_frames(packed))
    assert len(found) == -(-len(PLAIN) // FRAME_BYTES)
    assert all(frame[4] & 0b100 for frame in found)  # Content_Checksum_flag, RFC 8878 section 3.1.1.1.1
    assert b"".join(program("-d", data=frame) for frame in found) == PLAIN


def test_a_high_level_looks_back_further(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "LARGE_FRAME_BYTES", 2 * FRAME_BYTES)
    assert len(list(_frames(pack(PLAIN, level=19)))) == -(-len(PLAIN) // (2 * FRAME_BYTES))


@pytest.mark.usefixtures("no_library")
def test_without_the_library_the_program_does_the_same() -> None:
    kept = Kept()
    packed = pack(PLAIN, kept=kept)
    assert (bytes(kept.data), kept.finished) == (PLAIN, True)
    assert unpack(packed) == unpack(pack(PLAIN)) == PLAIN


def test_a_frame_that_announces_too_much_is_opened_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = pack(PLAIN)
    monkeypatch.setattr(frames, "LIMIT_BYTES", FRAME_BYTES - 1)
    assert unpack(packed) == PLAIN
    with pytest.raises(IntegrityError, match="the compressed stream is damaged"):
        unpack(packed[: len(packed) - 1] + bytes([packed[-1] ^ 1]))


def test_a_frame_that_holds_more_than_it_announces_takes_no_memory_for_it() -> None:
    liar = bytearray(pack(bytes(FRAME_BYTES)))
    place = liar.index(FRAME_BYTES.to_bytes(4, "little"), 4)
    liar[place : place + 4] = (10).to_bytes(4, "little")
    with pytest.raises(IntegrityError, match="the compressed stream is damaged"):
        unpack(bytes(liar))


@pytest.mark.parametrize("written_by", ["us", "program"])
@pytest.mark.parametrize("kept", [0, 1, 3, 4, 5, 20, 100_020, 150_000, -5, -4, -1])
def test_a_cut_stream_is_refused_wherever_it_was_cut(written_by: str, kept: int) -> None:
    packed = pack(PLAIN) if written_by == "us" else program("--check", data=PLAIN)
    with pytest.raises(IntegrityError, match="the compressed stream"):
        unpack(packed[:kept])


@pytest.mark.parametrize("written_by", ["us", "program"])
@pytest.mark.parametrize("surplus", [b"x", b"\0\0\0\0\0\0\0\0", b"trailing garbage", MAGIC])
def test_bytes_behind_the_end_are_refused(written_by: str, surplus: bytes) -> None:
    packed = pack(PLAIN) if written_by == "us" else program("--check", data=PLAIN)
    with pytest.raises(IntegrityError, match="the compressed stream"):
        unpack(packed + surplus)


@pytest.mark.parametrize("written_by", ["us", "program"])
@pytest.mark.parametrize("position", [0, 4, 12, 100, 150_000, 200_000, -2])
def test_a_flipped_bit_is_refused(written_by: str, position: int) -> None:
    damaged = bytearray(pack(PLAIN) if written_by == "us" else program("--check", data=PLAIN))
    damaged[position] ^= 0x04
    with pytest.raises(IntegrityError, match="the compressed stream"):
        unpack(bytes(damaged))


@pytest.mark.parametrize("library", [True, False])
def test_what_the_follower_says_ends_the_stream(request: pytest.FixtureRequest, library: bool) -> None:
    class Refuses(Kept):
        def finish(self) -> None:
            raise IntegrityError("it is not what it should be")

    if not library:
        request.getfixturevalue("no_library")
    with pytest.raises(IntegrityError, match="not what it should be"):
        pack(PLAIN, kept=Refuses())
    packed = pack(PLAIN)
    with pytest.raises(IntegrityError, match="not what it should be"), Pipeline(frames.opening(Refuses()), [packed]) as pipeline:
        pipeline.finish()


def _frames(packed: bytes) -> Iterator[bytes]:
    """Told apart by what the library finds, one after the other."""
    import zstandard

    while packed:
        opened = zstandard.ZstdDecompressor().decompressobj()
        opened.decompress(packed)
        assert opened.eof
        yield packed[: len(packed) - len(opened.unused_data)]
        packed = opened.unused_data

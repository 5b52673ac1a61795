# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Program and library write the same format, and neither takes a cut, altered or prolonged stream for a whole one."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import compress
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, IntegrityError, MissingTool
from ansible_collections.lifeboat.postgres.plugins.module_utils.pipeline import Stage, run_through
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.needs("program:zstd", "library:zstandard")

WAYS = ("program", "library")
PLAIN = random.Random(1).randbytes(300_000) + b"a row of the shop\n" * 20_000


def through(stage: Stage, data: bytes) -> bytes:
    output = bytearray()
    run_through([stage], [data], output.extend)
    return bytes(output)


@pytest.fixture(scope="module", params=WAYS)
def packed(request: pytest.FixtureRequest) -> bytes:
    return through(compress.compressor(prefer=request.param), PLAIN)


@pytest.mark.parametrize("reader", WAYS)
def test_each_reads_what_the_other_wrote(packed: bytes, reader: str) -> None:
    assert len(packed) < len(PLAIN)
    assert through(compress.decompressor(prefer=reader), packed) == PLAIN


@settings(max_examples=25, deadline=None)
@given(data=st.binary(max_size=5000), writer=st.sampled_from(WAYS), reader=st.sampled_from(WAYS), level=st.integers(1, 19))
def test_any_bytes_come_back_at_any_level(data: bytes, writer: str, reader: str, level: int) -> None:
    assert through(compress.decompressor(prefer=reader), through(compress.compressor(level, prefer=writer), data)) == data


@pytest.mark.parametrize("writer", WAYS)
def test_the_frame_carries_a_checksum_of_its_content(writer: str) -> None:
    packed = through(compress.compressor(prefer=writer), b"content")
    assert packed[:4] == b"\x28\xb5\x2f\xfd"
    assert packed[4] & 0b100  # Content_Checksum_flag, RFC 8878 section 3.1.1.1.1


@pytest.mark.parametrize("reader", WAYS)
@pytest.mark.parametrize("kept", [0, 1, 3, 4, 5, 20, 150_000, -5, -4, -1])
def test_a_cut_stream_is_refused_wherever_it_was_cut(packed: bytes, reader: str, kept: int) -> None:
    with pytest.raises(IntegrityError, match="the compressed stream"):
        through(compress.decompressor(prefer=reader), packed[:kept])


@pytest.mark.parametrize("reader", WAYS)
@pytest.mark.parametrize("surplus", [b"x", b"\0\0\0\0\0\0\0\0", b"trailing garbage", b"\x28\xb5\x2f\xfd"])
def test_bytes_behind_the_end_are_refused(packed: bytes, reader: str, surplus: bytes) -> None:
    with pytest.raises(IntegrityError, match="the compressed stream"):
        through(compress.decompressor(prefer=reader), packed + surplus)


@pytest.mark.parametrize("reader", WAYS)
@pytest.mark.parametrize("position", [0, 4, 100, 200_000, -2])
def test_a_flipped_bit_is_refused(packed: bytes, reader: str, position: int) -> None:
    damaged = bytearray(packed)
    damaged[position] ^= 0x04
    with pytest.raises(IntegrityError, match="the compressed stream"):
        through(compress.decompressor(prefer=reader), bytes(damaged))


@pytest.mark.parametrize("reader", WAYS)
def test_several_whole_frames_are_one_stream(packed: bytes, reader: str) -> None:
    assert through(compress.decompressor(prefer=reader), packed + packed) == PLAIN + PLAIN


@pytest.mark.parametrize("level", [0, 20, -1])
def test_a_level_that_is_none_is_refused(level: int) -> None:
    with pytest.raises(ConfigurationError, match="not within 1 and 19"):
        compress.compressor(level)


def test_the_program_comes_first_and_the_library_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compress.compressor().name == "zstd"
    monkeypatch.setenv("PATH", "/nowhere")
    assert compress.compressor().name == "zstd (library)"
    with pytest.raises(MissingTool, match=r"the program zstd was not found"):
        compress.decompressor(prefer="program")


def test_without_either_both_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setitem(__import__("sys").modules, "zstandard", None)
    with pytest.raises(
        MissingTool, match=r"neither the program zstd nor its library .* Install the package zstd\. Or: .*python3-zstandard"
    ):
        compress.compressor()


def test_the_callers_environment_does_not_change_what_a_backup_is(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = through(compress.compressor(prefer="program"), PLAIN)
    monkeypatch.setenv("ZSTD_CLEVEL", "19")
    monkeypatch.setenv("ZSTD_NBTHREADS", "7")
    assert through(compress.compressor(prefer="program"), PLAIN) == usual


@given(data=st.binary(max_size=300_000), level=st.integers(1, 6))
def test_what_is_packed_in_memory_is_an_ordinary_stream(data: bytes, level: int) -> None:
    packed = compress.packed(data, level)
    assert compress.unpacked_bytes(packed) == len(data)
    assert compress.unpacked(packed, len(data)) == data
    if data:
        with pytest.raises(IntegrityError, match="holds more than"):
            compress.unpacked(packed, len(data) - 1)


@pytest.mark.parametrize("way", WAYS)
def test_what_went_through_a_pipe_is_unpacked_in_memory(way: str) -> None:
    assert compress.unpacked(through(compress.compressor(prefer=way), PLAIN), len(PLAIN)) == PLAIN


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data + b"x", lambda data: data[:-9] + b"12345" + data[-4:]])
def test_what_is_unpacked_in_memory_is_whole_or_refused(damage: Callable[[bytes], bytes]) -> None:
    with pytest.raises(IntegrityError, match="damaged"):
        compress.unpacked(damage(compress.packed(PLAIN)), 1_000_000)


@pytest.mark.parametrize("data", [b"", b"nonsense"])
def test_what_is_no_stream_is_refused_in_memory(data: bytes) -> None:
    assert compress.unpacked_bytes(data) == -1
    with pytest.raises(IntegrityError):
        compress.unpacked(data, 1_000_000)

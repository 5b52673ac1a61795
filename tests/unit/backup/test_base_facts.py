# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a base backup says of itself, read strictly."""

from __future__ import annotations

import hashlib
import io

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.base_facts import (
    LogRange,
    read_label,
    read_ranges,
    segments_of,
    wal_range,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import BackupGuardError
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import Lsn

MEGABYTE = 1024 * 1024
LABEL = """START WAL LOCATION: 0/5000028 (file 000000010000000000000005)
CHECKPOINT LOCATION: 0/5000080
BACKUP METHOD: streamed
BACKUP FROM: standby
START TIME: 2026-11-21 08:03:47 UTC
LABEL: START WAL LOCATION: of mine
START TIMELINE: 1
INCREMENTAL FROM LSN: 0/3000028
INCREMENTAL FROM TLI: 1
"""


def manifest(ranges: str, files: int = 3) -> bytes:
    """As the server writes it."""
    lines = ",\n".join(f'{{ "Path": "base/1/{number}", "Size": 8192 }}' for number in range(files))
    body = f'{{ "PostgreSQL-Backup-Manifest-Version": 2,\n"Files": [\n{lines}\n],\n"WAL-Ranges": [\n{ranges}\n],\n'.encode()
    return body + b'"Manifest-Checksum": "' + hashlib.sha256(body).hexdigest().encode() + b'"}\n'


ONE = '{ "Timeline": 1, "Start-LSN": "0/2000028", "End-LSN": "0/2000100" }'


def test_a_label_says_where_recovery_begins_and_what_it_builds_on() -> None:
    label = read_label(LABEL)
    assert (str(label.start), label.timeline, label.from_standby, str(label.builds_on)) == ("0/5000028", 1, True, "0/3000028")
    assert read_label(LABEL.partition("INCREMENTAL")[0]).builds_on is None


@pytest.mark.parametrize(
    "text", ["", "LABEL: x\n", LABEL.replace("0/5000028 (", "somewhere ("), LABEL.replace("TIMELINE: 1", "TIMELINE: x")]
)
def test_a_label_that_does_not_say_it_is_refused(text: str) -> None:
    with pytest.raises(BackupGuardError, match="backup_label cannot be read"):
        read_label(text)


@pytest.mark.parametrize("files", [3, 40_000])
def test_the_ranges_are_found_at_the_end_of_a_manifest_of_any_size(files: int) -> None:
    assert read_ranges(io.BytesIO(manifest(ONE, files))) == (LogRange(1, Lsn.parse("0/2000028"), Lsn.parse("0/2000100")),)


def test_a_manifest_over_two_timelines_ends_on_the_later_one() -> None:
    later = '{ "Timeline": 2, "Start-LSN": "0/3000000", "End-LSN": "0/5000100" }'
    earlier = '{ "Timeline": 1, "Start-LSN": "0/2000028", "End-LSN": "0/3000000" }'
    two = f"{later},\n{earlier}"
    ranges = read_ranges(io.BytesIO(manifest(two)))
    assert [item.timeline for item in ranges] == [1, 2]
    said = wal_range(ranges, 16 * MEGABYTE, False)
    assert (said.timeline, said.first, said.last) == (2, "000000010000000000000002", "000000020000000000000005")


def test_a_manifest_that_was_cut_or_altered_is_refused() -> None:
    whole = manifest(ONE)
    for wrong, says in (
        (whole[:-1], "ends early"),
        (whole[:200], "ends early"),
        (b"", "ends early"),
        (whole.replace(b"8192", b"8193", 1), "differs from its own checksum"),
        (manifest(""), "names no range"),
        (manifest('{ "Timeline": 1 }'), "cannot be read"),
    ):
        with pytest.raises(BackupGuardError, match=says):
            read_ranges(io.BytesIO(wrong))


def test_the_segments_of_a_range_are_those_that_hold_its_bytes() -> None:
    ranges = [LogRange(1, Lsn.parse("0/2000028"), Lsn.parse("0/2300000"))]
    assert segments_of(ranges, MEGABYTE) == [f"0000000100000000000000{number:02X}" for number in (0x20, 0x21, 0x22)]
    assert segments_of(ranges, 16 * MEGABYTE) == ["000000010000000000000002"]

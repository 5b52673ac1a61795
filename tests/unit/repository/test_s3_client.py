# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests that are tried again: how long, and what an older library is taught."""

from __future__ import annotations

import datetime as dt
import time
from typing import Optional

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import s3_client
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_client import S3Client, _usual_moment, pauses
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_options import parse_s3


def test_pauses_grow_with_jitter_to_a_limit() -> None:
    found = [pause for pause, _ in zip(pauses(3600), range(10))]
    longest = [0.5, 1, 2, 4, 8, 8, 8, 8, 8, 8]
    assert all(limit / 2 <= pause <= limit for pause, limit in zip(found, longest))
    assert len(set(found)) == 10


def test_pauses_end_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(pauses(0.2)) == []
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    taken = 0.0
    for pause in pauses(20):
        taken += pause
        now[0] += pause
    assert 10 < taken < 20


def test_a_fault_of_this_program_is_not_taken_for_one_of_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    client = S3Client(parse_s3("offsite", {"type": "s3", "bucket": "backups"}))

    class Broken:
        def put_object(self, **_parameters: object) -> None:
            raise ValueError("a mistake in the code")

    monkeypatch.setattr(client, "_connected", Broken)
    with pytest.raises(ValueError, match="a mistake"):
        client.ask("put_object", "publishing", "k")
    assert s3_client.ATTEMPTS > 1


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-21T03:15:00.000Z", dt.datetime(2026, 11, 21, 3, 15, tzinfo=dt.timezone.utc)),
        ("2026-11-21T03:15:00.123456Z", dt.datetime(2026, 11, 21, 3, 15, 0, 123456, tzinfo=dt.timezone.utc)),
        ("2026-11-21T03:15:00Z", dt.datetime(2026, 11, 21, 3, 15, tzinfo=dt.timezone.utc)),
        ("Sat, 21 Nov 2026 03:15:00 GMT", None),
        ("2026-11-21T03:15:00+01:00", None),
        ("never", None),
        (1795230900, None),
    ],
)
def test_the_usual_moment_is_read_here_and_any_other_left_to_botocore(text: object, moment: Optional[dt.datetime]) -> None:
    assert _usual_moment(text) == moment

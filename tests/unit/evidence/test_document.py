# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evidence is written stably and read strictly."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import EvidenceError
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.document import (
    Collation,
    Evidence,
    LargeObjects,
    QueryRows,
    SequencePosition,
    TableRows,
)

EVIDENCE = Evidence(
    snapshot_at=dt.datetime(2026, 11, 21, 3, 15, 0, 123456, tzinfo=dt.timezone.utc),
    database='odd "name"',
    server_version="18.6",
    server_version_num=180006,
    system_identifier="7000000000000000000",
    superuser="postgres",
    database_bytes=8_000_000,
    dump_bytes=12_345,
    encoding={"encoding": "UTF8"},
    rules=1,
    tables=(TableRows("public", "orders", 10), TableRows("public", "late", None, "public.all", True)),
    sequences=(SequencePosition("public.s", -(2**63), True, False),),
    objects={"table public.orders": "0" * 64},
    privileges={"table public.orders": "1" * 64},
    unstable=("view public.v",),
    extensions={"hstore": "1.8"},
    collations=(Collation("database", "2.36", "2.36"),),
    large_objects=LargeObjects(2, None),
    settings=("work_mem=7MB",),
    roles=("postgres",),
    queries={"all": QueryRows("SELECT 1", ("a",), (("1",), (None,)))},
    checks={"gapless invoices": {"last": [1, None, "x"]}},
    missing={"query late": "time"},
)


def test_what_was_written_is_read_back() -> None:
    assert Evidence.from_bytes(EVIDENCE.to_bytes()) == EVIDENCE
    without = replace(EVIDENCE, large_objects=None)
    assert Evidence.from_bytes(without.to_bytes()) == without
    assert EVIDENCE.to_bytes() == Evidence.from_bytes(EVIDENCE.to_bytes()).to_bytes()


def test_what_is_missing_is_said() -> None:
    assert EVIDENCE.uncounted == ("public.late",)
    assert EVIDENCE.notes == (
        "evidence: query late was not recorded: time",
        "evidence: 1 table was not counted in the time allowed",
    )
    assert replace(EVIDENCE, missing={}, tables=()).notes == ()


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("schema", 2, "schema 2, this version reads 1.*newer"),
        ("tables", [{"schema": "a", "name": "b", "rows": -1, "partition_of": "", "rehashed": False}], "field 'tables'.*'rows'"),
        ("sequences", [{"name": "a", "last_value": True, "is_called": True, "ascending": True}], "field 'sequences'"),
        ("rules", "1", "field 'rules'"),
        ("snapshot_at", "yesterday", "field 'snapshot_at'"),
    ],
)
def test_a_wrong_field_is_named(field: str, value: object, words: str) -> None:
    document = {**json.loads(EVIDENCE.to_bytes()), field: value}
    with pytest.raises(EvidenceError, match=words):
        Evidence.from_bytes(json.dumps(document).encode(), "backup x")


def test_a_missing_and_a_surplus_field_are_refused() -> None:
    document = json.loads(EVIDENCE.to_bytes())
    with pytest.raises(EvidenceError, match=r"missing: \['roles'\], not known: \['rolls'\]"):
        Evidence.from_bytes(json.dumps({**{k: v for k, v in document.items() if k != "roles"}, "rolls": []}).encode())
    with pytest.raises(EvidenceError, match="cannot be read"):
        Evidence.from_bytes(EVIDENCE.to_bytes()[:100])
    with pytest.raises(EvidenceError, match="cannot be read"):
        Evidence.from_bytes(b"\xff\xfe")

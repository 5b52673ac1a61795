# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each mistake in a job file of `lifeboat wal` is one sentence, before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.job import WalJob, read_job_file

HERE = {"type": "posix", "path": "/backup"}
GIVEN = {"system": "shop", "repositories": {"here": HERE}, "encryption": {"method": "none"}}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"sytem": "shop"}, "Did you mean 'system'"),
        ({"system": ""}, "system is empty"),
        ({"repositories": {}}, "repositories is empty"),
        ({"repositories": {"here": {**HERE, "optional": True}}}, "every repository is optional"),
        ({"repositories": {"here": HERE, "attic": {**HERE, "optional": "perhaps"}}}, "optional: expected true or false"),
        ({"repositories": {"here": HERE, "copy": {**HERE, "copy_from": "here", "optional": True}}}, "optional with copy_from"),
        ({"compression_level": 20}, "compression_level is 20"),
        ({"jobs": 0}, "jobs is 0"),
        ({"prefetch": 65}, "prefetch is 65"),
        ({"stall_timeout": "0s"}, "stall_timeout"),
        ({"run_dir": "run"}, "run_dir: expected an absolute path"),
        ({"data_dir": "data"}, "data_dir: expected an absolute path"),
        ({"encryption": {"method": "rot13"}}, "unknown value 'rot13'"),
    ],
)
def test_names_the_mistake(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        WalJob.from_options({**GIVEN, **wrong})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_takes_what_is_right_and_passes_by_what_gets_copies() -> None:
    attic, copy = {**HERE, "optional": "yes"}, {**HERE, "copy_from": "here"}
    job = WalJob.from_options({**GIVEN, "repositories": {"here": HERE, "attic": attic, "copy": copy}, "note": "x"}, others=("note",))
    assert list(job.repositories) == ["here", "attic"]
    assert [name for name in job.repositories if job.is_optional(name)] == ["attic"]
    assert (job.jobs, job.prefetch, job.compression_level, job.stall_timeout_seconds) == (2, 8, 3, 120.0)
    assert job.server_dir == Path.cwd()


def test_one_that_only_fetches_needs_no_recipients_and_cannot_push() -> None:
    job = WalJob.from_options({name: value for name, value in GIVEN.items() if name != "encryption"})
    with pytest.raises(ConfigurationError, match="encryption is missing"):
        job.sealing()


@pytest.mark.parametrize(
    ("text", "said"), [(None, "No such file"), ("{", "is not JSON"), ("[]", "not a JSON object"), ("\xff", "is not JSON")]
)
def test_a_job_file_that_is_none_is_named(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "wal.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigurationError, match=said) as caught:
        read_job_file(tmp_path / "wal.json")
    assert "wal.json" in str(caught.value)

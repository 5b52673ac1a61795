# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Job files: read strictly, found by name, and never the place of a secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.jobs.job import find_job, parse_job, read_jobs
from ansible_collections.lifeboat.postgres.plugins.module_utils.jobs.kinds import KINDS, function_of

GOOD: dict[str, Any] = {
    "schema": 1, "job": "databases", "kind": "logical", "system": "shop", "schedule": "17 3 * * *", "timeout": "6h",
    "options": {"system": "shop", "login_password_file": "/etc/lifeboat/shop/login_password"},
}  # fmt: skip


def test_a_good_one_is_read() -> None:
    job = parse_job(GOOD, Path("databases.json"))
    assert (job.name, job.timeout_seconds, job.hooks.after) == ("shop/databases", 6 * 3600, 1)


def test_paths_of_secrets_and_columns_of_that_name_are_no_secrets() -> None:
    given = {
        "passphrase_files": ["/etc/backup.passphrase"], "repositories": {"offsite": {"credentials_file": "/etc/token"}},
        "checks": [{"decrypt": {"table": "users", "columns": ["password"], "secret": "totp_secret"}}],
    }  # fmt: skip
    assert parse_job({**GOOD, "options": given}, Path("databases.json")).options == given


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"sytem": "shop"}, "unknown key 'sytem'"),
        ({"schema": 2}, "schema 2 is not known to this version"),
        ({"kind": "logcal"}, "Did you mean 'logical'?"),
        ({"job": "Data Bases"}, "cannot be the name of a job"),
        ({"job": "../evil"}, "cannot be the name of a job"),
        ({"schedule": "0 25 * * *"}, "hour 25 is not between 0 and 23"),
        ({"timeout": "soon"}, "expected a duration"),
        ({"options": {"login_password": "hush"}}, "login_password would be a secret in a job file"),
        ({"options": {"login_url": "postgresql://x:hush@db/shop"}}, "login_url would be a secret"),
        ({"options": {"repositories": {"x": {"secret_key": "hush"}}}}, "secret_key would be a secret"),
        ({"options": {"webhook_url": "https://example.net/hush"}}, "webhook_url would be a secret"),
        ({"options": {"identity": "AGE-SECRET-KEY-1HUSH"}}, "identity would be a secret"),
        ({"on_failure": {"comand": ["/bin/true"]}}, "Did you mean 'command'?"),
        ({"on_failure": {"command": ["notify"]}}, "is not a whole path"),
        ({"on_failure": {"mail_to": ["a@b c"]}}, "is no mail address"),
        ({"on_failure": {"mail_to": ["-oQ/tmp"]}}, "is no mail address"),
        ({"on_failure": {"after": 0}}, "the least is 1"),
        ({"state_dir": "here"}, "expected an absolute path"),
    ],
)
def test_a_wrong_one_is_refused_in_one_sentence_that_shows_no_secret(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_job({**GOOD, **change}, Path("databases.json"))
    said = str(caught.value)
    assert sentence in said
    assert "\n" not in said
    assert "hush" not in said.lower()


def write(folder: Path, system: str, name: str, **change: Any) -> Path:
    path = folder / system / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({**GOOD, "system": system, "job": name, **change}))
    return path


def test_a_job_is_found_by_its_file_its_whole_name_or_a_name_that_one_system_has(tmp_path: Path) -> None:
    file = write(tmp_path, "shop", "databases")
    write(tmp_path, "crm", "base", kind="base")
    for name in (str(file), "shop/databases", "databases"):
        assert find_job(name, tmp_path).name == "shop/databases"
    write(tmp_path, "crm", "databases")
    with pytest.raises(ConfigurationError, match=r"several systems have a job 'databases'.*crm/databases, shop/databases"):
        find_job("databases", tmp_path)
    with pytest.raises(ConfigurationError, match=r"there is no job 'shop/databasse'.*Did you mean 'shop/databases'"):
        find_job("shop/databasse", tmp_path)


def test_other_files_beside_the_jobs_are_passed_by_and_one_that_is_broken_is_said(tmp_path: Path) -> None:
    write(tmp_path, "shop", "databases")
    (tmp_path / "shop" / "wal.json").write_text('{"system": "shop"}')
    (tmp_path / "shop" / "cut.json").write_text('{"schema": 1, "job')
    write(tmp_path, "shop", "other").rename(tmp_path / "shop" / "renamed.json")
    jobs, faults = read_jobs(tmp_path)
    assert [job.job for job in jobs] == ["databases"]
    assert {Path(fault.where).name for fault in faults} == {"cut.json", "renamed.json"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_leads_to_a_function(kind: str) -> None:
    assert callable(function_of(kind))

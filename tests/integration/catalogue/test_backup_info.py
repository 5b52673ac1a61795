# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `backup_info` answers, from the library and once as a module."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup_list import list_backups
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.document import Objective
from ansible_collections.lifeboat.postgres.plugins.modules import backup_info
from support.modules import run_module
from support.reports import a_report


@pytest.fixture
def ask(shelf: Any) -> Callable[..., dict[str, Any]]:
    return lambda **options: list_backups({"system": "shop", "repositories": shelf.specs, "cache_dir": "", **options})


def drill(shelf: Any, manifest: Manifest, verdict: str, at: dt.datetime) -> str:
    """Leave a report of a drill in the report repository, which is `reports` beside the others."""
    report = a_report(backup_id=manifest.backup_id, verdict=verdict, started_at=at, objective=Objective(met=verdict == "passed"))
    key = layout.report_key(manifest.ref, at)
    shelf.repositories["here"].put(key, report.to_bytes())
    return key


def test_it_says_since_when_every_table_was_digested_by_good_backups(shelf: Any) -> None:
    options = {"system": "shop", "repositories": shelf.specs, "cache_dir": ""}
    for hours, part in ((1, "2/2"), (25, "1/2"), (49, "2/2")):
        shelf.backup(hours, digested=part)
    shelf.backup(1, name="plain")
    backup = next(item for item in list_backups(options)["backups"] if item["digested"] == "1/2")
    assert list_backups(options)["digests"] == {"database/shop": {"parts": 2, "since": backup["snapshot_at"], "missing": []}}
    ref = layout.BackupRef("shop", "database", "shop", backup["backup_id"])
    for place in ("here", "offsite"):
        shelf.overwrite(place, layout.manifest_key(ref), b"{")
    assert list_backups(options)["digests"] == {"database/shop": {"parts": 2, "since": "", "missing": [1]}}


def test_every_documented_key_is_there_and_no_other(shelf: Any, ask: Callable[..., dict[str, Any]]) -> None:
    drill(shelf, shelf.backup(1), "passed", dt.datetime(2026, 11, 21, 11, tzinfo=dt.timezone.utc))
    answer = ask(report_repository=shelf.specs["here"])
    documented = yaml.safe_load(backup_info.RETURN)
    # The module says it in another word: Ansible has a meaning of its own for this one.
    assert set(answer) - {"warnings", "unreachable"} == set(documented) - {"unreachable_repositories"}
    (backup,) = answer["backups"]
    assert set(backup) == set(documented["backups"]["contains"])
    assert set(backup["drilled"]) == set(documented["backups"]["contains"]["drilled"]["contains"])
    assert answer["newest"] == {"database/shop": backup}
    assert (answer["broken"], answer["unreachable"], answer["warnings"]) == ([], {}, [])


def test_newest_is_marked_per_asset_and_the_newest_good_one_told_apart(shelf: Any, ask: Callable[..., dict[str, Any]]) -> None:
    good = shelf.backup(5)
    bad = shelf.backup(1)
    shelf.backup(3, name="licences", into=["here"], meant_for={"here": "", "offsite": ""})
    shelf.repositories["here"].delete(layout.artifact_key(bad.ref, "evidence.json.zst.age"))
    answer = ask(verify="sizes")
    assert [(backup["name"], backup["newest"], backup["good"]) for backup in answer["backups"]] == [
        ("shop", True, False),
        ("licences", True, False),
        ("shop", False, True),
    ]
    assert answer["newest"]["database/shop"]["backup_id"] == good.backup_id
    assert answer["newest"]["database/licences"] is None


def test_only_the_newest_may_be_verified(shelf: Any, ask: Callable[..., dict[str, Any]]) -> None:
    for hours in (1, 2, 3):
        shelf.backup(hours)
    answer = ask(verify="digests", verify_newest=1)
    assert [backup["verified"] for backup in answer["backups"]] == ["digests", "none", "none"]
    assert all(backup["good"] for backup in answer["backups"])


def test_the_last_drill_of_each_backup_counts(shelf: Any, ask: Callable[..., dict[str, Any]]) -> None:
    undrilled, drilled = shelf.backup(1), shelf.backup(9)
    noon = dt.datetime(2026, 11, 21, 12, tzinfo=dt.timezone.utc)
    drill(shelf, drilled, "failed", noon - dt.timedelta(hours=2))
    drill(shelf, drilled, "passed", noon - dt.timedelta(hours=1))
    answer = ask(report_repository=shelf.specs["here"], query="[].[backup_id, drilled.verdict, drilled.at]")
    assert answer["backups"] == [
        [undrilled.backup_id, None, None],
        [drilled.backup_id, "passed", "2026-11-21T11:00:00.000000Z"],
    ]
    broken = drill(shelf, drilled, "passed", noon)
    shelf.overwrite("here", broken, b"{")
    answer = ask(report_repository=shelf.specs["here"])
    assert answer["backups"][1]["drilled"] is None, "the last drill is unreadable; an older one does not stand in for it"
    assert [item["key"] for item in answer["broken"]] == [broken]


def test_a_query_filters_and_says_what_is_wrong_with_it(shelf: Any, ask: Callable[..., dict[str, Any]]) -> None:
    shelf.backup(1)
    old = shelf.backup(30)
    newest_at = ask()["backups"][0]["age_seconds"]
    answer = ask(query=f"[?good && age_seconds > `{newest_at + 3600}`]")
    assert [backup["backup_id"] for backup in answer["backups"]] == [old.backup_id]
    assert "database/shop" in answer["newest"], "what the query leaves out is still known"
    with pytest.raises(ConfigurationError, match="JMESPath expression cannot be evaluated"):
        ask(query="[?good")
    with pytest.raises(ConfigurationError, match="gives int, not a list"):
        ask(query="length(@)")


def test_an_unreachable_repository_is_a_warning_until_it_is_the_last(
    shelf: Any, ask: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    shelf.backup(1, into=["here"])
    gone = {"type": "posix", "path": str(tmp_path / "not mounted")}
    answer = ask(repositories={"here": shelf.specs["here"], "gone": gone})
    assert len(answer["backups"]) == 1
    assert list(answer["unreachable"]) == ["gone"]
    assert "cannot be listed" in answer["warnings"][0]
    assert "drill reports cannot be listed" in ask(report_repository=gone)["warnings"][0]
    with pytest.raises(RepositoryError, match="no repository can be listed"):
        ask(repositories={"gone": gone})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "shop"}, "name needs kind"),
        ({"kind": "databse"}, "Did you mean 'database'"),
        ({"repositories": {}}, "repositories is empty"),
        ({"repositories": {"here": {"type": "posx"}}}, "Did you mean 'posix'"),
        ({"verify": "size"}, "Did you mean 'sizes'"),
        ({"verfy": "sizes"}, "Did you mean 'verify'"),
    ],
)
def test_what_is_wrong_with_the_options_is_named(ask: Callable[..., dict[str, Any]], options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        ask(**options)


def test_the_module_answers_the_same_and_changes_nothing(shelf: Any, tmp_path: Path) -> None:
    manifest = shelf.backup(1)
    options = {"system": "shop", "repositories": shelf.specs, "verify": "digests", "query": "[?good].backup_id"}
    before = [info for repository in shelf.all for info in repository.list()]
    for check in (False, True):
        answer = run_module("backup_info", options, tmp_path / "ansible", check=check)
        assert not answer["failed"], answer
        assert answer["changed"] is False
        assert answer["backups"] == [manifest.backup_id]
    assert [info for repository in shelf.all for info in repository.list()] == before
    failed = run_module("backup_info", {**options, "query": "[?"}, tmp_path / "ansible")
    assert failed["failed"]
    assert failed["error"]["kind"] == "ConfigurationError"
    assert "Traceback" not in str(failed)


def test_names_that_the_inventory_gives_otherwise_than_the_backup_did_do_no_harm(shelf: Any, ask: Callable[..., dict[str, Any]]) -> None:
    shelf.backup(1, into=["here"], meant_for={"backup-server": "", "bucket": ""})
    (backup,) = ask()["backups"]
    assert (backup["good"], backup["repositories"]) == (True, ["here"])

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Freshness judged from outside: by what lies in the repositories, and by nothing that the database host says."""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, NotFresh
from ansible_collections.lifeboat.postgres.plugins.module_utils.monitoring.freshness import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.monitoring.prometheus import HELP
from support.reports import a_report
from support.shelf import Shelf

CHECKOUT = Path(__file__).resolve().parents[3]
RULES = CHECKOUT / "roles/monitoring/files/lifeboat.rules.yml"


def hours(number: float) -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc) - dt.timedelta(hours=number)


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    for name in ("here", "offsite", "reports"):
        (tmp_path / name).mkdir(mode=0o700)
    found = Shelf({name: {"type": "posix", "path": str(tmp_path / name)} for name in ("here", "offsite", "reports")})
    yield found
    found.close()


@pytest.fixture
def asked(shelf: Shelf, tmp_path: Path) -> dict[str, Any]:
    return {
        "system": "shop",
        "repositories": {name: shelf.specs[name] for name in ("here", "offsite")},
        "objective": "baseline",
        "cache_dir": "",
        "textfile": str(tmp_path / "lifeboat.prom"),
    }


def problems(asked: dict[str, Any]) -> list[str]:
    with pytest.raises(NotFresh) as caught:
        run(asked)
    assert caught.value.exit_code == 19
    assert caught.value.result["good"] is False
    found: list[str] = caught.value.result["problems"]
    return found


def metrics(asked: dict[str, Any]) -> dict[str, float]:
    lines = Path(asked["textfile"]).read_text().splitlines()
    return {name: float(value) for name, _space, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))}


def test_young_and_whole_backups_are_fresh_and_nothing_is_written_into_the_repositories(shelf: Shelf, asked: dict[str, Any]) -> None:
    shelf.backup(at=hours(30))
    shelf.backup(at=hours(2))
    before = {name: shelf.keys(name) for name in shelf.specs}
    result = run(asked)
    assert (result["good"], result["changed"], result["problems"]) == (True, False, [])
    assert {(one["repository"], one["state"]) for one in result["findings"]} == {("here", "fresh"), ("offsite", "fresh")}
    assert {name: shelf.keys(name) for name in shelf.specs} == before


def test_each_repository_is_judged_alone(shelf: Shelf, asked: dict[str, Any]) -> None:
    shelf.backup(at=hours(30))
    shelf.backup(at=hours(2), into=("here",))
    (problem,) = problems(asked)
    assert re.fullmatch(r"database/shop in offsite: 30 h old, and at most 26 h was promised", problem)
    found = metrics(asked)
    labels = 'system="shop",kind="database",name="shop"'
    assert found[f'lifeboat_backup_good{{{labels},repository="here"}}'] == 1
    assert found[f'lifeboat_backup_good{{{labels},repository="offsite"}}'] == 0
    assert found[f'lifeboat_backup_snapshot_timestamp_seconds{{{labels},repository="offsite"}}'] == pytest.approx(
        hours(30).timestamp(), abs=900
    )


def test_a_database_that_is_backed_up_no_longer_is_missed_until_it_is_named(shelf: Shelf, asked: dict[str, Any]) -> None:
    shelf.backup(at=hours(2))
    shelf.backup(at=hours(400), name="licences")
    assert len(problems(asked)) == 2
    assert run({**asked, "ignore": ["database/licences"]})["good"]


def test_an_asset_that_was_never_backed_up_is_missed_where_it_is_expected(shelf: Shelf, asked: dict[str, Any]) -> None:
    shelf.backup(at=hours(2))
    asset = {"kind": "base", "name": "main", "max_age": "8d"}
    assert problems({**asked, "assets": [asset]}) == ["base/main in here: there is no backup", "base/main in offsite: there is no backup"]


def test_a_newest_backup_that_is_broken_is_said_though_an_older_one_is_young(shelf: Shelf, asked: dict[str, Any]) -> None:
    shelf.backup(at=hours(3))
    newest = shelf.backup(at=hours(1))
    ref = layout.BackupRef("shop", "database", "shop", newest.backup_id)
    shelf.overwrite("offsite", layout.manifest_key(ref), b"{}")
    (problem,) = problems(asked)
    assert problem.startswith(f"database/shop in offsite: the newest backup, {newest.backup_id}, is not good:")


def test_copies_may_be_as_much_older_as_they_are_rare(shelf: Shelf, asked: dict[str, Any]) -> None:
    shelf.backup(at=hours(24 * 20), into=("offsite",))
    shelf.backup(at=hours(2), into=("here",))
    asked["repositories"]["offsite"] = {**asked["repositories"]["offsite"], "copy_from": "here", "cadence": "monthly"}
    assert run(asked)["good"]
    asked["repositories"]["offsite"]["cadence"] = "weekly"
    (problem,) = problems(asked)
    assert problem.startswith("database/shop in offsite: 20 days old")


def test_a_repository_that_cannot_be_listed_is_a_problem_and_hides_no_other(shelf: Shelf, asked: dict[str, Any], tmp_path: Path) -> None:
    shelf.backup(at=hours(2), into=("here",))
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        (tmp_path / "credentials").write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
        (tmp_path / "credentials").chmod(0o600)
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        asked["repositories"]["offsite"] = {
            "type": "s3", "endpoint": endpoint, "bucket": "shop-backups", "credentials_file": str(tmp_path / "credentials"),
            "connect_timeout": 1,
        }  # fmt: skip
        (problem,) = problems(asked)
        assert problem.startswith("repository 'offsite' cannot be listed:")
        del asked["repositories"]["here"]
        (problem,) = problems(asked)
    found = metrics(asked)
    assert found['lifeboat_repository_reachable{system="shop",repository="offsite"}'] == 0
    assert found['lifeboat_check_good{system="shop"}'] == 0


def test_a_drill_that_failed_or_is_overdue_is_said(shelf: Shelf, asked: dict[str, Any]) -> None:
    taken = shelf.backup(at=hours(2))
    asked["report_repository"] = shelf.specs["reports"]
    assert problems(asked) == ["database/shop: it was never drilled: a backup that was never restored is none"]

    def drilled(at: dt.datetime, **fields: Any) -> None:
        report = a_report(backup_id=taken.backup_id, started_at=at, finished_at=at, **fields)
        key = layout.report_key(layout.BackupRef("shop", "database", "shop", taken.backup_id), at)
        shelf.repositories["reports"].put(key, report.to_bytes())

    drilled(hours(24 * 40))
    (problem,) = problems(asked)
    assert problem.startswith("database/shop: its last good drill is overdue: 40 days old")
    drilled(hours(24))
    assert run(asked)["good"]
    assert metrics(asked)['lifeboat_drill_rto_seconds{system="shop",kind="database",name="shop"}'] == 9.87
    drilled(hours(1), verdict="failed", reason="3 rows are missing")
    assert problems(asked) == ["database/shop: its last drill failed: 3 rows are missing"]


def test_a_promised_log_that_is_not_there_is_missed(shelf: Shelf, asked: dict[str, Any]) -> None:
    shelf.backup(at=hours(2))
    found = problems({**asked, "wal_max_age": "1h"})
    assert found == ["wal in here: no segment is archived", "wal in offsite: no segment is archived"]


def test_metrics_are_replaced_whole_and_hostile_names_stay_labels(shelf: Shelf, asked: dict[str, Any], tmp_path: Path) -> None:
    name = 'evil"} 1\nlifeboat_check_good{system="x\\'
    shelf.backup(at=hours(2), name=name)
    Path(asked["textfile"]).write_text("from before\n")
    run(asked)
    text = Path(asked["textfile"]).read_text()
    assert "from before" not in text
    assert text.count("lifeboat_check_good{") == 1 + 4 * 2  # its own sample, and the name in each of four for two repositories
    assert all(line.startswith(("#", "lifeboat_")) for line in text.splitlines())
    assert [line for line in text.splitlines() if line.startswith("lifeboat_check_good{")] == ['lifeboat_check_good{system="shop"} 1.0']
    assert sorted(path.name for path in tmp_path.iterdir() if "prom" in path.name) == ["lifeboat.prom"]
    assert (tmp_path / "lifeboat.prom").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"repositorys": {}}, r"repositorys.*repositories"),
        ({"repositories": {}}, "repositories is empty"),
        ({"objective": "standart"}, "standart.*standard"),
        ({"assets": [{"kind": "database", "nam": "x", "max_age": "1d"}]}, r"nam.*asset 1.*name"),
        ({"assets": [{"kind": "database", "name": "x", "max_age": "soon"}]}, r"max_age"),
        ({"wal_max_age": 0}, "wal_max_age"),
        ({"textfile": "lifeboat.prom"}, "textfile"),
        ({"textfile": "/nowhere/at/all/lifeboat.prom"}, "metrics cannot be written.*Make its directory"),
    ],
)
def test_wrong_values_are_answered_in_a_sentence(shelf: Shelf, asked: dict[str, Any], wrong: dict[str, Any], words: str) -> None:
    shelf.backup(at=hours(2))
    with pytest.raises(ConfigurationError, match=words):
        run({**asked, **wrong})


@pytest.mark.needs("program:promtool")
def test_the_alerts_go_off_when_they_should(tmp_path: Path) -> None:
    shutil.copy(RULES, tmp_path)
    shutil.copy(Path(__file__).parent / "rules.test.yml", tmp_path)
    done = subprocess.run(["promtool", "test", "rules", "rules.test.yml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.needs("program:promtool")
def test_prometheus_reads_the_metrics(shelf: Shelf, asked: dict[str, Any]) -> None:
    shelf.backup(at=hours(2))
    run(asked)
    text = Path(asked["textfile"]).read_text()
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_of_the_alerts_is_one_that_is_written() -> None:
    asked_for = set(re.findall(r"\blifeboat_[a-z_]+", json.dumps(RULES.read_text())))
    assert asked_for <= set(HELP)

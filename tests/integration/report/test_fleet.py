# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet's report is made of what lies in repositories: it is right, it hides nothing, and it writes only what changed."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.run import run as take_backup
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, ManifestError
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.fleet import System
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.fleet_gather import gather
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.fleet_light import judge
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.fleet_schema import read_system
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.fleet_write import write
from support.clusters import Server
from support.drills import BackedUp, work_dir
from support.fleets import a_system
from support.keys import ssh_pair
from support.logical import new_identity, options, posix
from support.playbooks import play
from support.reports import a_report
from support.shelf import Shelf
from support.store_fixtures import Bucket
from support.vaults import Escrow

__all__ = ["work_dir"]


def hours_ago(number: float) -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc) - dt.timedelta(hours=number)


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    names = ("here", "offsite", "reports")
    for name in names:
        (tmp_path / name).mkdir(mode=0o700)
    found = Shelf({name: {"type": "posix", "path": str(tmp_path / name)} for name in names})
    yield found
    found.close()


@pytest.fixture
def asked(shelf: Shelf) -> dict[str, Any]:
    return {
        "system": "shop",
        "repositories": {name: shelf.specs[name] for name in ("here", "offsite")},
        "report_repository": shelf.specs["reports"],
        "objective": "baseline",
        "audit": False,
        "cache_dir": "",
    }


def drilled(shelf: Shelf, manifest: Manifest, **fields: Any) -> None:
    """A report on a drill of this backup, an hour ago."""
    at = hours_ago(1)
    report = a_report(backup_id=manifest.backup_id, kind=manifest.kind, name=manifest.name, started_at=at, finished_at=at, **fields)
    shelf.repositories["reports"].put(layout.report_key(manifest.ref, at), report.to_bytes())


def look(asked: dict[str, Any]) -> System:
    """What the module would hand over, read as its reader does."""
    return read_system(json.loads(json.dumps(gather(asked)["part"])))


@pytest.mark.needs("program:age", "program:zstd", "program:rclone", "netns", "postgresql:18")
def test_a_real_backup_and_a_real_drill_make_a_system_that_is_proven(
    postgres18: Server, rclone_bucket: Bucket, no_ambient_aws: None, tmp_path: Path, work_dir: Path
) -> None:
    places = {"here": posix(tmp_path / "repository"), "offsite": rclone_bucket.spec()}
    identity, signer = new_identity(tmp_path / "identity"), ssh_pair(tmp_path / "signing_key")
    reports = rclone_bucket.spec(prefix="reports")
    with postgres18.database() as name:
        postgres18.execute("CREATE TABLE invoices (number int PRIMARY KEY); INSERT INTO invoices SELECT generate_series(1, 50)", name)
        checks = [{"gapless": {"table": "invoices", "column": "number"}}]
        given = options(postgres18, name, places, identity, tmp_path / "locks", signing_key=signer.path, checks=checks)
        backed_up = BackedUp(postgres18, name, take_backup(given)["backup_id"], tmp_path / "repository", identity, signer)
        report = backed_up.drill(work_dir, report_repository=reports, objective="baseline", checks=checks)
        assert report["verdict"] == "passed", report["reason"]
    asked = {
        "system": "shop",
        "repositories": places,
        "report_repository": reports,
        "objective": "baseline",
        "verify_keys": [signer.public],
        "cache_dir": str(tmp_path / "cache"),
    }
    system = look(asked)
    found = [(place.name, place.type, place.backups, place.bad) for place in system.places]
    assert found == [("here", "posix", 1, 0), ("offsite", "s3", 1, 0)]
    [asset] = system.assets
    assert (asset.kind, asset.name, asset.newest_id, asset.encryption, asset.signed) == ("database", name, backed_up.backup_id, "age", True)
    [drills] = system.drills
    assert drills.last is not None
    assert drills.last.to_document() == report
    assert drills.history[0].rto_seconds == report["verified_seconds"]
    assert system.unknown == ()
    # rclone's store keeps no versions; that, and nothing else, is said against it.
    assert {(finding.rule, finding.verdict) for finding in system.audit if finding.verdict == "weak"} <= {("versions", "weak")}
    assert judge(dataclasses.replace(system, audit=())).word == "proven"

    result = write({"parts": [gather(asked)["part"]], "dest": str(tmp_path / "fleet.html")})
    page = (tmp_path / "fleet.html").read_text(encoding="utf-8")
    assert result["systems"]["shop"]["rto_seconds"] == report["verified_seconds"]
    assert "gapless invoices.number" in page
    assert backed_up.backup_id in page


def test_each_repository_and_day_is_counted_alone(shelf: Shelf, asked: dict[str, Any]) -> None:
    newest = shelf.backup(at=hours_ago(2))
    second = shelf.backup(at=hours_ago(26))
    only_here = shelf.backup(at=hours_ago(50), into=("here",))
    damaged = shelf.backup(at=hours_ago(74))
    shelf.overwrite("offsite", layout.manifest_key(damaged.ref), b"{}")
    drilled(shelf, newest)
    system = look(asked)
    here, offsite = system.places
    assert (here.backups, here.bad, offsite.backups, offsite.bad) == (4, 0, 3, 1)
    assert sum(day.good for day in here.days) == 4
    assert [(day.date, day.bad) for day in offsite.days if day.bad] == [(f"{damaged.snapshot_at:%Y-%m-%d}", 1)]
    assert here.oldest == damaged.snapshot_at
    held = [one.snapshot_at for one in (damaged, only_here, second, newest)]
    assert [list(asset.points) for asset in system.assets] == [held]
    assert judge(system).word == "proven"


def test_a_store_that_is_away_hides_nothing_of_the_others(shelf: Shelf, asked: dict[str, Any]) -> None:
    drilled(shelf, shelf.backup(at=hours_ago(2)))
    away = {"type": "s3", "endpoint": "http://127.0.0.1:9", "bucket": "b", "connect_timeout": "1s", "credentials_file": "/nonexistent"}
    asked["repositories"]["offsite"] = away
    with pytest.raises(ConfigurationError):  # a file of ours that is not there is a mistake, and no store that is away
        gather(asked)
    shelf.repositories["offsite"].close()
    gone = Path(shelf.specs["offsite"]["path"])
    gone.rename(gone.with_name("gone"))
    gone.write_text("not a directory")
    asked["repositories"]["offsite"] = shelf.specs["offsite"]
    system = look(asked)
    assert system.places[0].backups == 1
    assert system.places[1].problem
    assert system.assets[0].newest_at is not None
    light = judge(system)
    assert light.word == "doubtful"
    assert light.reasons[0][1].startswith("repository offsite cannot be listed")


def test_what_is_late_missing_or_undrilled_is_said(shelf: Shelf, asked: dict[str, Any]) -> None:
    shelf.backup(at=hours_ago(100))
    light = judge(look(asked))
    said = [reason for _verdict, reason in light.reasons]
    assert light.word == "failing"
    assert any("at most 26 h was promised" in reason for reason in said)
    assert any("it was never drilled" in reason for reason in said)
    assert judge(look({**asked, "system": "other"})).reasons[0] == ("failed", "there is no backup")
    del asked["report_repository"]
    assert "no report repository was given, so nothing is known about drills" in look(asked).unknown


def test_a_key_that_the_newest_backup_needs_and_no_vault_holds_is_missed(shelf: Shelf, asked: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "production").mkdir()
    escrow = Escrow(tmp_path / "production")
    escrow.run()
    [shipped] = escrow.manifests()
    backup = shelf.backup(at=hours_ago(2))
    drilled(shelf, backup)
    for place in ("here", "offsite"):
        named = dataclasses.replace(backup, keys={"master-key": shipped.keys["master-key"]})
        shelf.overwrite(place, layout.manifest_key(backup.ref), named.to_bytes())
    asked["key_repositories"] = {"vault": escrow.vault}
    [key] = look(asked).protected_keys
    assert (key.name, key.vault, key.backup_id, key.problem) == ("master-key", "vault", shipped.backup_id, "")
    assert key.fingerprint == key.needed == shipped.keys["master-key"]
    assert judge(look(asked)).word == "proven"

    for place in ("here", "offsite"):
        other = dataclasses.replace(backup, keys={"master-key": "lk1:" + "0" * 32})
        shelf.overwrite(place, layout.manifest_key(backup.ref), other.to_bytes())
    assert judge(look(asked)).reasons[0][1] == (f"key master-key in vault: the newest backups need lk1:{'0' * 32}, which is not here")
    assert [one.vault for one in look({**asked, "key_repositories": {}}).protected_keys] == [""]


def test_a_second_run_with_the_same_facts_writes_nothing_and_a_new_fact_does(shelf: Shelf, asked: dict[str, Any], tmp_path: Path) -> None:
    drilled(shelf, shelf.backup(at=hours_ago(2)))
    dest = tmp_path / "pages" / "fleet.html"
    with pytest.raises(ConfigurationError, match="its directory is not there"):
        write({"parts": [gather(asked)["part"]], "dest": str(dest)})
    dest.parent.mkdir()
    planned = write({"parts": [gather(asked)["part"]], "dest": str(dest)}, check_mode=True)
    assert (planned["changed"], list(dest.parent.iterdir())) == (True, [])
    first = write({"parts": [gather(asked)["part"]], "dest": str(dest)})
    assert first["changed"]
    assert planned["diff"][0]["after"].startswith("# Fleet: 1 proven")
    written = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in dest.parent.iterdir()}
    assert set(written) == {"fleet.html", "fleet.md", "fleet.json"}
    assert {path.stat().st_mode & 0o777 for path in dest.parent.iterdir()} == {0o600}
    again = write({"parts": [gather(asked)["part"]], "dest": str(dest)})
    assert (again["changed"], again["diff"]) == (False, [])
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in dest.parent.iterdir()} == written

    dest.unlink()  # what was lost is made again, of the same facts
    assert write({"parts": [gather(asked)["part"]], "dest": str(dest)})["changed"]
    assert dest.read_bytes() == written["fleet.html"][0]
    assert write({"parts": [gather(asked)["part"]], "dest": str(dest), "mode": "0644"})["changed"]
    assert {path.stat().st_mode & 0o777 for path in dest.parent.iterdir()} == {0o644}

    shelf.backup(at=hours_ago(1))
    changed = write({"parts": [gather(asked)["part"]], "dest": str(dest), "mode": "0644"})
    assert changed["changed"]
    assert changed["diff"][0]["before"] != changed["diff"][0]["after"]
    dest.with_suffix(".json").write_text("{")  # as somebody's editor left it
    assert write({"parts": [gather(asked)["part"]], "dest": str(dest), "mode": "0644"})["changed"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"dest": "page.html"}, "expected an absolute path"),
        ({"dest": "/srv/page.htm"}, "expected a file that ends in .html"),
        ({"mode": "0666"}, "lets others write"),
        ({"mode": "rw"}, "expected an octal mode"),
        ({"mode": "420"}, "lets others write"),
        ({"parts": "x"}, "parts: expected a list"),
        ({"unknown": [{"sytem": "x"}]}, "Did you mean 'system'"),
        ({"part": []}, "Did you mean 'parts'"),
    ],
)
def test_a_wrong_value_is_answered_in_one_sentence(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        write(given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"repositories": {}}, "repositories is empty"),
        ({"repositories": {"here": {"type": "psix"}}}, "psix"),
        ({"report_repository": {"type": "posix"}}, "path is required"),
        ({"key_repositories": {"vault": {"type": "posix", "pth": "/x"}}}, "pth"),
        ({"objective": "standart"}, "standart"),
        ({"assets": [{"kind": "databse", "name": "shop"}]}, "databse"),
        ({"wal_max_age": "soon"}, "wal_max_age"),
        ({"verify_keys": ["nonsense"]}, "key"),
        ({"retention_schedule": "soon"}, "retention_schedule"),
        ({"encryption": "age"}, "encryption: expected a mapping"),
        ({"audit": "perhaps"}, "audit: expected true or false"),
        ({"try_credentials": "perhaps"}, "try_credentials: expected true or false"),
        ({"ignor": []}, "Did you mean 'ignore'"),
    ],
)
def test_a_wrong_option_of_a_look_is_answered_in_one_sentence(asked: dict[str, Any], given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        gather({**asked, **given})


def test_a_part_of_somebody_else_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="part 2"):
        write({"parts": [a_system().to_document(), {"schema": 1}], "dest": str(tmp_path / "fleet.html")})
    assert list(tmp_path.iterdir()) == []


def test_the_playbook_puts_every_system_on_one_page_and_keeps_nothing_else(shelf: Shelf, asked: dict[str, Any], tmp_path: Path) -> None:
    drilled(shelf, shelf.backup(at=hours_ago(2), name="{{ 7 * 7 }} <b>"))
    (tmp_path / "control").mkdir()
    (tmp_path / "pages").mkdir()
    page = tmp_path / "pages" / "index.html"
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "lifeboat_system": "shop",
        "lifeboat_repositories": asked["repositories"],
        "lifeboat_report_repository": asked["report_repository"],
        "lifeboat_objective": "baseline",
        "lifeboat_encryption": {"recipients": ["age1lvyvwawkr0mcnnnncaghunadrqkmuf9e6507x9y920xxpp866cnql7dp2z"]},
        "lifeboat_drill_become_user": "",
        "lifeboat_report_page": str(page),
    }
    hosts: dict[str, Any] = {
        "drill1": {},
        "drill3": {"lifeboat_system": "away", "ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 9},
        "drill2": {"lifeboat_system": "lost", "lifeboat_repositories": {"here": {"type": "psix"}}},
    }
    inventory = {"all": {"vars": variables, "children": {"drill": {"hosts": hosts}}}}
    rehearsal = play("report", inventory, tmp_path / "control", "--check", "--diff")
    assert rehearsal.status == 0, rehearsal.output
    assert list(page.parent.iterdir()) == []
    assert "+# Fleet: 3 doubtful" in rehearsal.output
    first = play("report", inventory, tmp_path / "control")
    assert first.status == 0, first.output
    assert first.recap("drill1")["changed"] == 1
    systems = first.stats["lifeboat_fleet"]["systems"]
    assert {name: facts["light"] for name, facts in systems.items()} == {"shop": "doubtful", "lost": "doubtful", "away": "doubtful"}
    assert "psix" in systems["lost"]["reasons"][0]
    assert "Failed to connect to the host via ssh" in systems["away"]["reasons"][0]
    assert sorted(path.name for path in page.parent.iterdir()) == ["index.html", "index.json", "index.md"]
    assert "database {{ 7 * 7 }} &lt;b&gt;" in page.read_text(encoding="utf-8")  # a name is no template, either
    again = play("report", inventory, tmp_path / "control", "-e", "lifeboat_report_enforce=true")
    assert again.recap("drill1")["changed"] == 0, again.output
    assert again.status != 0
    assert "3 doubtful: away; lost; shop" in again.output

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `wal_archive_info` says of real archives beside the real servers that filled them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.physical_run import run as back_up_base
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, DatabaseError
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest, WalRange
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.info import archive_info
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.job import WalJob
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import DEFAULT_SEGMENT_BYTES, Lsn, WalName, segment_name
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.push import Pusher
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.ship import Shipper, the_only_one
from ansible_collections.lifeboat.postgres.plugins.modules import wal_archive_info
from support.backups import manifest_for, new_ref
from support.bases import produced
from support.leaks import eventually
from support.logical import Identity, new_identity, posix
from support.modules import run_module
from support.s3proxy import S3Proxy
from support.spools import SpoolingServer, fill, spooled, wal_job
from support.store_fixtures import Bucket

CLI = "ansible_collections.lifeboat.postgres.plugins.module_utils.cli"
MIB = 1024 * 1024


class Archive:
    """A server that archives by way of a spool, a repository, and what is asked of both."""

    def __init__(self, server: SpoolingServer, root: Path) -> None:
        self.server = server
        self.identity: Identity = new_identity(root / "identity")
        self.specs = {"here": posix(root / "here")}
        self.job = wal_job(self.specs, self.identity, root / "run")
        self.root = root

    def fill(self, count: int) -> list[str]:
        """Finish so many segments, and wait until the server takes them for archived: they lie in the spool."""
        names = fill(self.server, count)
        spooled(self.server, names)

        def told() -> bool:
            with self.server.connect() as connection:
                return connection.execute("SELECT last_archived_wal FROM pg_stat_archiver").fetchone() == (names[-1],)

        # The archiver says so after it has taken note of the file.
        eventually(told, "the server says so")
        return names

    def ship(self) -> None:
        with Pusher(WalJob.from_options(self.job)) as pusher:
            assert not Shipper(pusher, self.server.spool).ship().faults

    def file(self, name: str) -> Path:
        (found,) = (self.root / "here/shop/wal" / name[:8]).glob(f"{name}-*")
        return found

    def base(self, name: str, system: str = "shop") -> Manifest:
        """The manifest of a base backup whose WAL is this one segment."""
        return put_base(self.specs["here"], name, system)

    def ask(self, login: bool = True, **more: Any) -> dict[str, Any]:
        given = {"system": "shop", "repositories": self.specs, "cache_dir": "", **more}
        if login:
            given |= {"login_unix_socket": str(self.server.socket_dir), "login_port": self.server.port}
        return archive_info(given)


def put_base(spec: Mapping[str, Any], name: str, system: str = "shop", segment_bytes: int = MIB) -> Manifest:
    at = WalName.parse(name).number(segment_bytes) * segment_bytes
    wal = WalRange(int(name[:8], 16), str(Lsn(at + 40)), str(Lsn(at + 400)), name, name, segment_bytes)
    manifest = manifest_for(new_ref(system, kind="base"))([], {"here": ""})
    manifest = dataclasses.replace(manifest, wal=wal)
    with open_repository("here", spec) as repository:
        repository.put(layout.manifest_key(manifest.ref), manifest.to_bytes())
    return manifest


@pytest.fixture(scope="module", params=[15, 18], ids=["pg15", "pg18"])
def server(request: pytest.FixtureRequest) -> Iterator[SpoolingServer]:
    with SpoolingServer(request.param, segment_megabytes=1) as running, the_only_one(running.spool):
        yield running


@pytest.fixture
def archive(server: SpoolingServer, tmp_path: Path) -> Iterator[Archive]:
    """A server whose log begins anew for each test: what was archived for another test is not missing here."""
    for name in os.listdir(server.data / "pg_wal/archive_status"):
        (server.data / "pg_wal/archive_status" / name).unlink(missing_ok=True)
    for path in server.spool.glob("0*"):
        path.unlink(missing_ok=True)
    yield Archive(server, tmp_path)


def test_an_archive_that_is_whole_and_in_step(archive: Archive) -> None:
    names = archive.fill(4)
    archive.ship()
    base = archive.base(names[1])
    before = dt.datetime.now(dt.timezone.utc)
    answer = archive.ask()
    (found,) = answer["archives"].values()
    assert (answer["good"], found["problems"], answer["unreachable"]) == (True, [], {})
    assert (found["segments"], found["files"]) == (4, 4)
    assert found["size_bytes"] == sum(archive.file(name).stat().st_size for name in names)
    assert found["newest"]["name"] in names[-2:], "two are sent at a time"
    assert found["lag"]["last_archived"] == names[-1]
    assert (found["lag"]["segments"], found["lag"]["seconds_are"]) == (0, "exact")
    assert 0 <= found["lag"]["seconds"] < 600
    assert found["cluster"]["segment_bytes"] == MIB
    (window,) = found["windows"]
    assert found["window"] == window
    assert (window["from_backup"], window["last_segment"], window["current"]) == (base.backup_id, names[-1], True)
    assert window["until_at_most"] <= before.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert answer["server"]["archiver"]["last_archived_wal"] == names[-1]
    assert (answer["server"]["waiting"], answer["server"]["oldest_waiting"]) == (0, None)


def test_changes_since_the_last_segment_are_a_lag_that_grows_and_a_server_at_rest_has_none(archive: Archive) -> None:
    archive.fill(2)
    archive.ship()
    archive.server.execute("CHECKPOINT")
    archive.server.execute("SELECT pg_create_restore_point('x')")
    first = archive.ask()["archives"]["here"]["lag"]
    second = archive.ask()["archives"]["here"]["lag"]
    assert 0 < first["seconds"] < second["seconds"]
    assert first["segments"] == 0


def test_what_lies_only_in_the_spool_is_not_archived_whatever_the_server_was_told(archive: Archive) -> None:
    archive.fill(2)
    archive.ship()
    names = archive.fill(3)
    (found,) = archive.ask()["archives"].values()
    assert found["acknowledged_missing"] == names
    assert found["problems"][0].startswith("not here, though the server was told that they are archived: 3 files, ")
    assert found["lag"]["segments"] == 3
    archive.ship()
    (found,) = archive.ask()["archives"].values()
    assert (found["acknowledged_missing"], found["lag"]["segments"]) == ([], 0)


def test_a_segment_that_is_missing_is_named_and_ends_the_window(archive: Archive) -> None:
    names = archive.fill(6)
    archive.ship()
    older, newer = archive.base(names[0]), archive.base(names[4])
    archive.file(names[2]).unlink()
    (found,) = archive.ask(login=False)["archives"].values()
    first, second = found["base_backups"]
    assert (first["backup_id"], first["restorable"], first["missing_segments"]) == (older.backup_id, True, 1)
    assert first["gaps"] == [{"timeline": 1, "first": names[2], "last": names[2], "segments": 1}]
    assert (second["gaps"], second["backup_id"]) == ([], newer.backup_id)
    assert [window["last_segment"] for window in found["windows"]] == [names[1], names[5]]
    assert found["window"]["from_backup"] == newer.backup_id
    archive.file(names[5]).rename(archive.file(names[5]).with_name("notes.txt"))
    archive.file(names[4]).unlink()
    (found,) = archive.ask(login=False)["archives"].values()
    assert found["foreign_count"] == 1
    assert any(f"{newer.backup_id} cannot be restored" in problem and names[4] in problem for problem in found["problems"])


def test_two_contents_of_one_name_and_another_servers_archive_are_said(archive: Archive, server: SpoolingServer) -> None:
    names = archive.fill(2)
    archive.ship()
    file = archive.file(names[0])
    digest = file.name[25 : 25 + 64]
    file.with_name(file.name.replace(digest, "0" * 64)).write_bytes(b"other")
    cluster = archive.root / "here/shop/wal/cluster.json"
    cluster.write_text(cluster.read_text().replace('"system_identifier": "7', '"system_identifier": "6'))
    (found,) = archive.ask()["archives"].values()
    assert (found["conflicts"], found["good"]) == ([names[0]], False)
    assert any("belongs to cluster 6" in problem for problem in found["problems"])
    cluster.unlink()
    (found,) = archive.ask()["archives"].values()
    assert found["cluster"] is None
    assert any("nothing says whose archive this is" in problem for problem in found["problems"])


def test_what_waits_is_seen_with_pg_monitor_and_said_to_be_unseen_without(archive: Archive) -> None:
    archive.fill(1)
    archive.ship()
    server = archive.server
    (server.spool / ".lifeboat-spool").rename(server.spool / "away")
    try:
        names = fill(server, 3)
        eventually(lambda: archive.ask()["server"]["archiver"]["failed_count"] > 0, "a failed attempt")
        answer = archive.ask()
        assert (answer["server"]["waiting"], answer["server"]["oldest_waiting"]["name"]) == (3, names[0])
        assert answer["archives"]["here"]["lag"]["segments"] == 3
        with server.role("onlooker"):
            answer = archive.ask(login_user="onlooker")
            assert (answer["server"]["waiting"], answer["server"]["oldest_waiting"]) == (None, None)
            assert answer["archives"]["here"]["lag"]["seconds_are"] == "at least"
            assert answer["archives"]["here"]["lag"]["segments"] == 3
    finally:
        (server.spool / "away").rename(server.spool / ".lifeboat-spool")
        server.execute("SELECT pg_reload_conf()")
    spooled(server, names)


def test_a_history_is_read_with_the_identity_and_told_from_names_without(archive: Archive) -> None:
    names = archive.fill(3)
    parting = f"0/{int(names[2][16:], 16) * MIB + 500:X}"
    (archive.server.spool / "00000002.history").write_text(f"1\t{parting}\tno reason\n")
    archive.ship()
    file = archive.file(names[2])
    (file.parent.parent / "00000002").mkdir(exist_ok=True)
    for name in (names[2], segment_name(2, WalName.parse(names[2]).number(MIB) + 1, MIB)):
        (file.parent.parent / "00000002" / file.name.replace(names[2], f"00000002{name[8:]}")).write_bytes(file.read_bytes())
    archive.base(names[0])
    for given, known_from in (({}, "names"), ({"identity_file": str(archive.identity.file)}, "history")):
        (found,) = archive.ask(login=False, **given)["archives"].values()
        second = found["timelines"][1]
        assert (second["timeline"], second["parent"], second["known_from"], second["history"]) == (2, 1, known_from, True)
        assert second["begins_at"] == (parting if known_from == "history" else f"0/{int(names[2][16:], 16) * MIB:X}")
        assert (found["window"]["timeline"], found["base_backups"][0]["gap_count"]) == (2, 0)
    stranger = new_identity(archive.root / "stranger")
    (found,) = archive.ask(login=False, identity_file=str(stranger.file))["archives"].values()
    assert any("00000002.history cannot be read" in problem for problem in found["problems"])
    assert found["timelines"][1]["known_from"] == "names"


def test_an_empty_archive_and_one_that_cannot_be_reached_are_not_good(archive: Archive) -> None:
    (found,) = archive.ask()["archives"].values()
    assert (found["problems"], found["window"], found["lag"]["segments"]) == (["the archive is empty"], None, None)
    archive.specs["far"] = {"type": "posix", "path": str(archive.root / "file")}
    (archive.root / "file").write_text("")
    answer = archive.ask()
    assert (answer["good"], list(answer["unreachable"]), list(answer["archives"])) == (False, ["far"], ["here"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"repositories": {}}, "repositories is empty"),
        ({"repositories": {"x": {"type": "posix", "path": "here"}}}, "not absolute"),
        ({"sytem": "shop"}, "unknown key 'sytem'"),
    ],
)
def test_wrong_options_are_answered_before_anything_runs(given: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        archive_info({"system": "shop", "repositories": {"x": {"type": "posix", "path": "/x"}}, **given})


def test_a_server_that_is_asked_for_and_away_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError):
        archive_info({"system": "shop", "repositories": {"here": posix(tmp_path / "here")}, "login_unix_socket": str(tmp_path)})


def test_the_module_and_the_command_say_the_same_and_change_nothing(archive: Archive) -> None:
    names = archive.fill(2)
    archive.ship()
    archive.base(names[0])
    given = {
        "system": "shop", "repositories": archive.specs, "cache_dir": "", "login_unix_socket": str(archive.server.socket_dir),
        "login_port": archive.server.port,
    }  # fmt: skip
    before = sorted((path, path.stat().st_mtime_ns) for path in (archive.root / "here").rglob("*"))
    result = run_module("wal_archive_info", given, archive.root / "home", check=True)
    assert (result["failed"], result["changed"], result["good"]) == (False, False, True)
    documented = yaml.safe_load(wal_archive_info.RETURN)
    # The module says it in another word: Ansible has a meaning of its own for this one.
    assert set(archive.ask()) - {"warnings", "unreachable"} == set(documented) - {"unreachable_repositories"}
    assert set(result["archives"]["here"]) == set(documented["archives"]["contains"])
    assert set(result["archives"]["here"]["lag"]) == set(documented["archives"]["contains"]["lag"]["contains"])
    assert set(result["archives"]["here"]["window"]) == set(documented["archives"]["contains"]["windows"]["contains"])
    assert set(result["server"]) == set(documented["server"]["contains"])
    file = archive.root / "wal.json"
    file.write_text(json.dumps({**archive.job, **given}))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    argv = [sys.executable, "-m", CLI, "wal", "info", "-c", str(file)]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, cwd="/")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"by {names[-1]}" in done.stdout
    archive.file(names[1]).unlink()
    assert subprocess.run([*argv, "--json"], env=environment, capture_output=True, text=True, cwd="/").returncode == 16
    archive.file(names[0]).with_name(f"{names[1]}-{'0' * 64}.zst.age").write_bytes(b"x")
    assert len(before) == len(list((archive.root / "here").rglob("*")))


def test_a_long_archive_costs_one_request_per_page_of_its_listing(rclone_bucket: Bucket, tmp_path: Path, no_ambient_aws: None) -> None:
    segments = 4500
    root = rclone_bucket.store.directory / rclone_bucket.name / "shop/wal/00000001"
    root.mkdir(parents=True)
    for number in range(segments):
        (root / f"{segment_name(1, number, DEFAULT_SEGMENT_BYTES)}-{'0' * 64}.zst.age").touch()
    (root.parent / "cluster.json").write_text(
        json.dumps({"schema": 1, "system_identifier": "7", "server_version_num": 180000, "segment_bytes": DEFAULT_SEGMENT_BYTES})
    )
    put_base(rclone_bucket.spec(), segment_name(1, 10, DEFAULT_SEGMENT_BYTES), segment_bytes=DEFAULT_SEGMENT_BYTES)
    with S3Proxy(rclone_bucket.store.endpoint) as proxy:
        started = now()
        answer = archive_info(
            {"system": "shop", "repositories": {"here": rclone_bucket.spec(endpoint=proxy.endpoint)}, "cache_dir": str(tmp_path / "cache")}
        )
        assert (now() - started).total_seconds() < 300
    found = answer["archives"]["here"]
    assert (found["segments"], found["problems"]) == (segments, [])
    assert found["window"]["last_segment"] == segment_name(1, segments - 1, DEFAULT_SEGMENT_BYTES)
    operations = proxy.operations()
    assert operations.count("ListObjectsV2") == 5 + 1, "five pages of names, and the manifests"
    assert len(operations) <= 6 + 2, f"and the manifest and whose it is: {operations}"


@pytest.mark.parametrize("major", [15, 18])
def test_beside_a_real_base_backup_and_our_own_push(major: int, tmp_path: Path) -> None:
    with produced(major, tmp_path) as production:
        result = back_up_base(production.given())
        names = [production.server.switch() for _time in range(2)]
        production.server.wait_archived(names[-1])
        given = {
            "system": "shop", "repositories": {"here": production.spec}, "cache_dir": "",
            "login_unix_socket": str(production.server.socket_dir), "login_port": production.server.port,
        }  # fmt: skip
        (found,) = archive_info(given)["archives"].values()
        assert (found["problems"], found["conflict_count"], found["foreign_count"]) == ([], 0, 0)
        (base,) = found["base_backups"]
        assert (base["backup_id"], base["restorable"], base["gap_count"]) == (result["backup_id"], True, 0)
        assert (found["window"]["from_backup"], found["window"]["last_segment"]) == (result["backup_id"], names[-1])
        assert (found["lag"]["segments"], found["lag"]["seconds_are"]) == (0, "exact")

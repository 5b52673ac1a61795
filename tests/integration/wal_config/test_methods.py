# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Methods on real servers: what the archiver does with the command, and what `verify` proves or finds missing."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.local import find_server
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ArchiveError, ConfigurationError, MissingTool
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal import launchers
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.spool import MARKER
from support.clusters import Server, identity, private_directory
from support.leaks import eventually
from support.logical import new_identity
from support.parts import find_program
from support.standbys import Standby
from support.stores import BUCKET, rclone_s3
from support.wal import LIBRARY, archive_place, command_line, job_options, write_job
from support.wal_config import Configured

pytestmark = pytest.mark.needs("postgresql:15", "postgresql:18", "program:age", "program:zstd")


def digest(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def next_segment(pg: Configured) -> str:
    """The segment that is being written."""
    with pg.server.connect() as connection:
        row = connection.execute("SELECT pg_walfile_name(pg_current_wal_insert_lsn())").fetchone()
    assert row is not None
    return str(row[0])


def leave_segment(pg: Configured) -> None:
    with pg.server.connect() as connection:
        connection.execute("SELECT pg_create_restore_point('x')")
        connection.execute("SELECT pg_switch_wal()")


def unproven(pg: Configured, **options: Any) -> ArchiveError:
    """What is said of a segment that the archiver has handed over and that is not where it has to be.

    With more time where a busy machine's archiver does not get so far in a second.
    """
    for limit in ("1s", "10s", "100s"):
        with pytest.raises(ArchiveError) as caught:
            pg(**options, verify=True, verify_timeout=limit)
        if "the archiver has not handed it over" not in str(caught.value):
            break
    return caught.value


def in_place(program: str, pg: Configured) -> str:
    """The program where the server's user can run it: a wheel may lie where only its owner looks."""
    found = find_program(program)
    assert found is not None
    if subprocess.run([found, "version"], capture_output=True, cwd="/", **identity()).returncode == 0:
        return found
    copy = pg.server.directory / program
    if not copy.exists():
        shutil.copy(found, copy)
        pg.own(copy).chmod(0o755)
    return str(copy)


# --- directory ---------------------------------------------------------------------------------------------------------


def test_a_directory_gets_the_very_segment_and_belongs_to_one_cluster(archiver: Configured) -> None:
    directory = archiver.directory("archive")
    options: dict[str, Any] = {"method": "directory", "directory": directory, "archive_timeout": "1min"}
    assert archiver(check=True, **options)["changed"] and not os.listdir(directory)
    done = archiver(**options, verify=True)
    proof = done["verification"]
    assert done["changed"] and done["restart_required"] == []
    assert proof["by"] == "sha256" and proof["digest"] == digest(f"{directory}/{proof['segment']}")
    again = archiver(**options, verify=True)
    assert not again["changed"]
    assert again["verification"]["segment"] > proof["segment"]

    with Server(archiver.server.major, initdb=("--wal-segsize=2",)) as other:
        marker = next(name for name in os.listdir(directory) if name.startswith(".lifeboat-wal-"))
        with pytest.raises(ConfigurationError, match=f"is the archive of cluster {marker.rpartition('-')[2]}"):
            Configured(other)(**options)


def test_a_volume_that_is_not_mounted_takes_nothing(archiver: Configured) -> None:
    directory = archiver.directory("mounted")
    archiver(method="directory", directory=directory)
    os.rename(directory, f"{directory}.away")
    archiver.directory("mounted")
    leave_segment(archiver)
    eventually(lambda: "is not the WAL archive of this cluster" in archiver.server.log.read_text(), "the archiver says what is missing")
    assert os.listdir(directory) == []


def test_another_content_of_the_same_name_is_never_overwritten(archiver: Configured) -> None:
    directory = archiver.directory("conflict")
    archiver(method="directory", directory=directory, verify=True)
    name = next_segment(archiver)
    archiver.own(Path(directory, name)).write_bytes(b"another") if Path(directory, name).exists() else Path(directory, name).write_bytes(
        b"x"
    )
    archiver.own(Path(directory, name))
    leave_segment(archiver)
    eventually(lambda: "another content" in archiver.server.log.read_text(), "the archiver has met it")
    with pytest.raises(ArchiveError, match=f"did not arrive within 1 s: .*the oldest is {name}.*another content"):
        archiver(method="directory", directory=directory, verify=True, verify_timeout="1s")
    assert Path(directory, name).read_bytes() == b"x"
    os.unlink(Path(directory, name))
    assert archiver(method="directory", directory=directory, verify=True)["verification"]["segment"] > name
    assert Path(directory, name).stat().st_size == 1024 * 1024


def test_the_restore_command_of_a_directory_knows_absent_from_unreachable(archiver: Configured) -> None:
    directory = archiver.directory("restore")
    done = archiver(method="directory", directory=directory, restore_command="auto", verify=True)
    segment = done["verification"]["segment"]
    with archiver.server.connect() as connection:
        row = connection.execute("SHOW restore_command").fetchone()
    assert row is not None
    work = Path(archiver.directory("recovering"))

    def fetch(name: str) -> int:
        command = row[0].replace("%f", name).replace("%p", "RECOVERYXLOG")
        return subprocess.run(["sh", "-c", command], cwd=work, capture_output=True).returncode

    assert fetch(segment) == 0 and digest(work / "RECOVERYXLOG") == done["verification"]["digest"]
    assert fetch("0000000F00000000000000FF") == 1
    os.rename(directory, directory + ".away")
    assert fetch(segment) == 126
    (work / "standby.signal").touch()
    assert fetch(segment) == 1


# --- what verify says when nothing arrives -------------------------------------------------------------------------------


def failing(pg: Configured, status: int) -> str:
    script = pg.server.directory / "failing"
    script.write_text(f"#!/bin/sh\necho 'the shelf is full' >&2\nexit {status}\n")
    pg.own(script).chmod(0o755)
    return f"{script} %p"


def failures(pg: Configured) -> int:
    """How many the server has counted."""
    with pg.server.connect() as connection:
        row = connection.execute("SELECT failed_count FROM pg_stat_archiver").fetchone()
    assert row is not None
    return int(row[0])


def test_a_command_that_fails_is_found_with_what_the_server_says(archiver: Configured) -> None:
    archiver.server.execute("SELECT pg_stat_reset_shared('archiver')")
    archiver(method="command", command=f"{failing(archiver, 1)} first")
    leave_segment(archiver)
    eventually(lambda: failures(archiver) > 0, "the archiver has failed")
    changed = []
    for limit in ("1s", "10s", "100s"):  # the longer ones where a busy machine has not tried the new command in the shortest
        with pytest.raises(ArchiveError, match=r"counts [1-9]") as caught:
            archiver(method="command", command=failing(archiver, 1), verify=True, verify_timeout=limit)
        changed.append(caught.value.result["changed"])
        found = caught.value.result["verification"]
        assert found["oldest_ready"]["name"] <= found["segment"] and found["oldest_ready"]["waiting"] >= 1
        if any("the shelf is full" in line for line in found["log"]):
            break
    else:
        pytest.fail(f"the server's log does not say why: {found['log']}")
    assert changed[0]


def test_a_command_that_ends_above_125_is_found_though_nothing_is_counted() -> None:
    """In a server of its own: after such an end PostgreSQL starts its archiver again in ten seconds only."""
    with Server(15, {"archive_mode": "on", "logging_collector": "on"}, initdb=("--wal-segsize=1",)) as server:
        pg = Configured(server)
        for limit in ("2s", "20s", "200s"):  # the longer ones where a busy machine has not even tried it in the shortest
            with pytest.raises(ArchiveError, match=r"counts 0 failures.*above 125 is not counted") as caught:
                pg(method="command", command=failing(pg, 127), verify=True, verify_timeout=limit)
            log = caught.value.result["verification"]["log"]
            if any("the shelf is full" in line for line in log):
                return
        pytest.fail(f"not in the collector's file: {log}")


def test_nothing_is_verified_while_a_restart_is_due(pg: Configured) -> None:
    directory = pg.directory("archive")
    with pytest.raises(ArchiveError, match="nothing was verified: archive_mode is not in force yet") as caught:
        pg(method="directory", directory=directory, verify=True)
    assert caught.value.result["restart_required"] == ["archive_mode"]


def test_a_command_of_unknown_make_is_believed_only_as_far_as_it_is_known(archiver: Configured) -> None:
    directory = archiver.directory("script")
    script = archiver.server.directory / "archive-wal"
    script.write_text(f"#!/bin/sh\nexec cp \"$1\" '{directory}/'\n")
    archiver.own(script).chmod(0o755)
    options: dict[str, Any] = {"method": "command", "command": f"{script} %p"}
    done = archiver(**options, verify=True)
    assert done["verification"]["by"] == "pg_stat_archiver" and any("only verify shows" in warning for warning in done["warnings"])
    assert archiver(**options, verify=True, verify_command=["test", "-s", f"{directory}/%f"])["verification"]["by"] == "verify_command"
    assert "verify_command ended with 1" in str(unproven(archiver, **options, verify_command=["test", "-s", f"{directory}/%f.gone"]))


def test_what_could_not_be_verified_is_refused_before_anything_is_changed(archiver: Configured, tmp_path: Path) -> None:
    spool = archiver.directory("nowhere")
    with pytest.raises(ConfigurationError, match="the job file cannot be read"):
        archiver(method="spool", directory=spool, verify=True, job_file=str(tmp_path / "wal.json"))
    (tmp_path / "wal.json").write_text('{"system": "shop"}')
    with pytest.raises(ConfigurationError, match="verify needs system and repositories"):
        archiver(method="spool", directory=spool, verify=True, job_file=str(tmp_path / "wal.json"))
    assert archiver.shown("archive_command") == ""


# --- restart -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def stopped_after(pg: Configured) -> Iterator[Configured]:
    """pg_ctl leaves a server that is no child of ours: it is ended by its pid file, and the tests' own begins again."""
    yield pg
    pg.server.execute("ALTER SYSTEM RESET ALL")
    pid = int((pg.server.data / "postmaster.pid").read_text().splitlines()[0])
    os.kill(pid, signal.SIGQUIT)
    eventually(lambda: not (pg.server.data / "postmaster.pid").exists(), "the server has ended")
    pg.server.start()


def test_asked_to_restart_it_goes_from_nothing_to_proven_in_one_run(stopped_after: Configured) -> None:
    pg = stopped_after
    directory = pg.directory("whole")
    options: dict[str, Any] = {"method": "directory", "directory": directory, "restart": True}
    assert pg(check=True, **options)["restarted"]
    done = pg(**options, verify=True)
    assert done["restarted"] and done["restart_required"] == [] and pg.shown("archive_mode") == "on"
    assert digest(f"{directory}/{done['verification']['segment']}") == done["verification"]["digest"]
    again = pg(**options)
    assert not again["changed"] and not again["restarted"]


def test_a_server_elsewhere_is_restarted_by_a_command_or_not_at_all(pg: Configured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.run.find_server", lambda *_given: None)
    before = pg.auto()
    with pytest.raises(ConfigurationError, match="restart_command"):
        pg(method="receive", wal_level="logical", restart=True)
    assert pg.auto() == before
    with pytest.raises(ConfigurationError, match="method receive or spool"):
        pg(method="native")


# --- native, spool, receive ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("major", [15, 18])
def test_our_own_push_is_set_up_and_proven_in_every_repository(major: int, tmp_path: Path) -> None:
    place, home, keys = archive_place(), private_directory("lb-job"), new_identity(tmp_path / "identity")
    job_file = write_job(home / "wal.json", job_options({"here": place.spec}, keys, home / "run"))
    argv = [sys.executable, "-m", launchers.__name__, str(home), "-c", str(job_file)]
    subprocess.run(argv, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": LIBRARY})
    push, fetch = home / launchers.PUSH, home / launchers.FETCH
    with Server(major, {"archive_mode": "on"}, initdb=("--wal-segsize=1",), reads_all=True) as server:
        pg = Configured(server)
        options: dict[str, Any] = {"method": "native", "launcher": str(push), "job_file": str(job_file)}
        done = pg(**options, restore_command="auto", verify=True)
        assert (pg.shown("archive_command"), pg.shown("restore_command")) == (f"{push} %p", f"{fetch} %f %p")
        proof = done["verification"]
        assert hashlib.sha256(place.opened(proof["segment"], keys)).hexdigest() == proof["digest"] and proof["places"] == ["here"]
        assert not pg(**options, restore_command="auto")["changed"]

        # Another repository that must hold it too, and does not.
        elsewhere = {"here": place.spec, "away": {"type": "posix", "path": str(tmp_path / "away")}}
        assert "away" in str(unproven(pg, **options, system="shop", repositories=elsewhere))
        elsewhere["away"]["optional"] = True
        assert pg(**options, system="shop", repositories=elsewhere, verify=True)["verification"]["places"] == ["here"]


def test_a_launcher_that_the_server_cannot_run_is_refused(archiver: Configured, tmp_path: Path) -> None:
    with pytest.raises(MissingTool, match="does not exist"):
        archiver(method="native", launcher="/opt/nowhere/wal-push")
    script = archiver.server.directory / "wal-push"
    script.write_text("#!/bin/sh\n")
    archiver.own(script).chmod(0o644)
    with pytest.raises(MissingTool, match="may not execute it"):
        archiver(method="native", launcher=str(script))
    if os.geteuid() == 0:
        private = tmp_path / "private"
        private.mkdir(mode=0o700)
        shutil.copy("/bin/true", private / "wal-push")
        with pytest.raises(MissingTool, match="cannot look into its directory"):
            archiver(method="native", launcher=str(private / "wal-push"))
    assert archiver.shown("archive_command") == ""


@contextlib.contextmanager
def beside(*words: str, job_file: Path) -> Iterator[None]:
    """`lifeboat wal …` beside the block; it ends when it is told to."""
    process = subprocess.Popen(command_line(job_file, *words), stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(300)


def test_what_lies_in_a_spool_only_is_not_called_archived(archiver: Configured, tmp_path: Path) -> None:
    spool, place, keys = archiver.directory("spool"), archive_place(), new_identity(tmp_path / "identity")
    job_file = write_job(tmp_path / "wal.json", job_options({"shelf": place.spec}, keys, tmp_path / "run"))
    options: dict[str, Any] = {"method": "spool", "directory": spool, "job_file": str(job_file)}
    archiver.own(Path(shutil.copy(os.devnull, Path(spool, MARKER))))
    fault = unproven(archiver, **options)
    assert "it is not in repository 'shelf'" in str(fault)
    found = fault.result["verification"]
    eventually(lambda: digest(f"{spool}/{found['segment']}") == found["digest"], "the server has put it there all the same")
    assert any("does not count as archived" in warning for warning in fault.result["warnings"])
    with beside("ship", spool, job_file=job_file):
        proof = archiver(**options, verify=True)["verification"]
    assert hashlib.sha256(place.opened(proof["segment"], keys)).hexdigest() == proof["digest"]


def test_what_is_received_is_proven_in_the_repository(pg: Configured, tmp_path: Path) -> None:
    place, keys, spool = archive_place(), new_identity(tmp_path / "identity"), tmp_path / "spool"
    spool.mkdir(mode=0o700)
    login = {"login_unix_socket": str(pg.server.socket_dir), "login_port": pg.server.port}
    receive = {"spool": str(spool), "bin_dir": str(pg.server.bin_dir)}
    job_file = write_job(tmp_path / "wal.json", job_options({"here": place.spec}, keys, tmp_path / "run", **login, receive=receive))
    try:
        pg(method="receive")
        with pytest.raises(ArchiveError, match="nobody receives from lifeboat_receive"):
            pg(method="receive", verify=True, verify_timeout="1s", job_file=str(job_file))
        with beside("receive", job_file=job_file):
            done = pg(method="receive", verify=True, job_file=str(job_file))
        proof = done["verification"]
        assert not done["changed"] and hashlib.sha256(place.opened(proof["segment"], keys)).hexdigest() == proof["digest"]
    finally:
        eventually(lambda: drop_slots(pg), "nobody receives any more")


def drop_slots(pg: Configured) -> bool:
    with pg.server.connect() as connection:
        connection.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active")
        return connection.execute("SELECT count(*) FROM pg_replication_slots").fetchone() == (0,)


def test_slots_are_made_once_and_archive_mode_is_left_alone(pg: Configured) -> None:
    predicted = pg(check=True, method="receive")
    assert predicted["changed"] and predicted["slots"]["made"] == ["lifeboat_receive", "lifeboat_archived"]
    before = pg.auto()
    done = pg(method="receive")
    assert done["slots"]["made"] == predicted["slots"]["made"] and "archive_mode" not in done["settings"] and pg.auto() == before
    try:
        with pg.server.connect() as connection:
            rows = connection.execute("SELECT slot_type, restart_lsn IS NOT NULL FROM pg_replication_slots").fetchall()
        assert rows == [("physical", True), ("physical", True)]
        again = pg(method="receive")
        assert not again["changed"] and again["slots"]["made"] == [] and again["slots"]["retained_bytes"] >= 0
        assert any("nobody receives" in warning for warning in again["warnings"])
        assert any("a full pg_wal stops the server" in warning for warning in again["warnings"])
    finally:
        pg.server.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")


def test_slots_that_find_no_room_wait_for_the_restart(pg: Configured) -> None:
    pg.put("10-mine.conf", "max_replication_slots = 1\n")
    pg.server.halt()
    pg.server.start()
    try:
        done = pg(method="receive")
        assert done["restart_required"] == ["max_replication_slots"] and done["slots"]["made"] == []
        assert any("after the restart" in warning for warning in done["warnings"])
        pg.server.halt()
        pg.server.start()
        assert len(pg(method="receive")["slots"]["made"]) == 2
        pg.server.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
    finally:
        pg.clean()
        pg.server.halt()
        pg.server.start()


def test_a_standby_is_set_up_and_verified_at_its_primary() -> None:
    with Server(18, {"archive_mode": "on"}, initdb=("--wal-segsize=1",)) as primary, Standby(primary) as standby:
        pg = Configured(standby)
        options: dict[str, Any] = {"method": "command", "command": "archive-wal %p", "archive_mode": "always"}
        with pytest.raises(ConfigurationError, match="verify there"):
            pg(**options, restore_command="fetch %f %p", verify=True)
        assert pg.shown("restore_command") == ""
        assert pg(**options, restore_command="fetch %f %p")["changed"] and pg.shown("restore_command") == "fetch %f %p"
        again = pg(**options, restore_command="fetch %f %p")
        assert not again["changed"] and again["restart_required"] == ["archive_mode"]
        assert len(pg(method="receive")["slots"]["made"]) == 2


# --- other tools -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def remote_of(kind: str, pg: Configured, program: str, work: Path) -> Iterator[tuple[str, Path, Path]]:
    """A remote, the directory that it ends up in, and rclone's configuration. Ends with the block."""
    shelf, config = Path(pg.directory("shelf")), pg.server.directory / "rclone.conf"
    text = f"[shelf]\ntype = alias\nremote = {shelf}\n"
    with contextlib.ExitStack() as stack:
        if kind == "crypt":
            secret = subprocess.run([program, "obscure", "x"], capture_output=True, text=True, check=True).stdout.strip()
            text += f"[crypt]\ntype = crypt\nremote = shelf:\nfilename_encryption = off\npassword = {secret}\n"
        elif kind == "s3":
            store = stack.enter_context(rclone_s3(work / "s3"))
            shelf = store.directory
            text = f"[s3]\ntype = s3\nprovider = Rclone\nendpoint = {store.endpoint}\naccess_key_id = {store.access_key}\n"
            text += f"secret_access_key = {store.secret_key}\n"
        config.write_text(text)
        pg.own(config)
        yield {"alias": "shelf:wal", "crypt": "crypt:wal", "s3": f"s3:{BUCKET}/wal"}[kind], shelf, config


@pytest.mark.needs("program:rclone")
@pytest.mark.parametrize("kind", ["alias", "crypt", "s3"])
def test_rclone_keeps_what_is_there_and_tells_absent_from_unreachable(kind: str, tmp_path: Path) -> None:
    with Server(18, {"archive_mode": "on"}, initdb=("--wal-segsize=1",)) as server:
        pg = Configured(server)
        program, work = in_place("rclone", pg), Path(pg.directory("work"))

        def shell(name: str, segment: str) -> int:
            command = pg.shown(name).replace("%f", segment).replace("%p", "segment")
            return subprocess.run(["sh", "-c", command], cwd=work, capture_output=True, check=False, timeout=300).returncode

        with remote_of(kind, pg, program, tmp_path) as (remote, shelf, config):
            options: dict[str, Any] = {"method": "rclone", "program": program, "config_file": str(config), "remote": remote}
            done = pg(**options, restore_command="auto", verify=True)
            segment, proof = done["verification"]["segment"], done["verification"]["digest"]
            assert done["verification"]["by"] == "sha256"
            (stored,) = [path for path in shelf.rglob("*") if path.name.startswith(segment)]
            before = digest(stored)
            assert (before == proof) == (kind != "crypt")

            (work / "segment").write_bytes(os.urandom(1024 * 1024))
            assert shell("archive_command", segment) != 0, "another content of the same size"
            assert digest(stored) == before
            assert shell("restore_command", segment) == 0 and digest(work / "segment") == proof
            assert shell("archive_command", segment) == 0, "the same content again"
            assert shell("restore_command", "0000000F00000000000000FF") == 1
            if kind == "s3":  # gives up a store that is down after 20 seconds, which is too long for a test
                return
            shelf.rename(shelf.with_name("away"))
            assert shell("restore_command", segment) == 126
            (work / "standby.signal").touch()
            assert shell("restore_command", segment) == 1


@pytest.mark.needs("program:pgbackrest", "postgresql:15")
def test_pgbackrest_holds_the_segment_by_its_digest() -> None:
    with Server(15, {"archive_mode": "on"}) as server:
        pg = Configured(server)
        home = Path(pg.directory("pgbackrest"))
        config = home / "pgbackrest.conf"
        config.write_text(
            f"[global]\nrepo1-path={home}/repo\nlog-path={home}\nlock-path={home}/lock\nspool-path={home}/spool\nlog-level-console=warn\n"
            f"[shop]\npg1-path={server.data}\npg1-port={server.port}\npg1-socket-path={server.socket_dir}\n"
        )
        pg.own(config)
        with server.connect() as connection:
            local = find_server(connection, str(server.data))
        assert local is not None
        options: dict[str, Any] = {"method": "pgbackrest", "stanza": "shop", "config_file": str(config)}
        with pytest.raises(ArchiveError, match="pgbackrest"):
            pg(**options, verify=True, verify_timeout="2s")
        made = local.run(["pgbackrest", f"--config={config}", "--stanza=shop", "stanza-create"])
        assert made.returncode == 0, made.stderr
        done = pg(**options, restore_command="auto", verify=True)
        proof = done["verification"]
        assert proof["by"] == "sha1" and proof["places"] == ["shop"]
        assert list((home / "repo" / "archive" / "shop").rglob(f"{proof['segment']}-{proof['digest']}*"))
        assert not pg(**options)["changed"]


@pytest.mark.needs("program:barman-cloud-wal-archive", "program:rclone", "postgresql:15")
def test_barmans_cloud_archiver_brings_the_segment_into_the_bucket_and_gives_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with rclone_s3(tmp_path) as store:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", store.access_key)  # the server's own environment, as a unit file would set it
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", store.secret_key)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        with Server(15, {"archive_mode": "on"}, initdb=("--wal-segsize=1",)) as server:
            pg = Configured(server)
            options: dict[str, Any] = {"method": "barman", "barman_server": "shop", "barman_url": f"s3://{BUCKET}/wal"}
            done = pg(**options, barman_endpoint=store.endpoint, restore_command="auto", verify=True)
            proof = done["verification"]
            assert proof["by"] == "pg_stat_archiver"
            assert any("let the bucket keep versions" in warning for warning in done["warnings"])
            segment = proof["segment"]
            listed = store.client().list_objects_v2(Bucket=BUCKET)["Contents"]
            (key,) = [item["Key"] for item in listed if item["Key"].endswith(f"/{segment}")]
            assert key.startswith("wal/shop/wals/")
            body = store.client().get_object(Bucket=BUCKET, Key=key)["Body"].read()
            assert hashlib.sha256(body).hexdigest() == digest(server.data / "pg_wal" / segment)
            work = Path(pg.directory("work"))
            command = pg.shown("restore_command").replace("%f", segment).replace("%p", "segment")
            assert subprocess.run(["sh", "-c", command], cwd=work, check=False, timeout=300).returncode == 0
            assert (work / "segment").read_bytes() == body


def test_a_program_that_is_missing_is_named(archiver: Configured) -> None:
    missing: list[dict[str, Any]] = [{"method": "wal-g"}, {"method": "barman", "barman_server": "shop", "barman_host": "backup"}]
    for options in missing:
        with pytest.raises(MissingTool, match="cannot be used: it is not in the server's PATH"):
            archiver(**{"program": "no-such-program", **options})

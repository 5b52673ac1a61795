# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A throwaway server, started by root or by anybody: what it is, what it can reach, and how it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill import isolation
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.processes import processes_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.proof import ways_out
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.target import Target
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.teardown import reap
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.visible import program_paths
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.workspace import drills_in
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, DrillRefused
from support import drills
from support.clusters import account, readable_bin_dir
from support.drills import as_ordinary_user, throwaway
from support.leaks import eventually

MAJORS = [pytest.param(major, marks=pytest.mark.needs(f"postgresql:{major}"), id=f"pg{major}") for major in (15, 18)]


@pytest.fixture
def cannot_isolate(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without what isolation needs."""
    monkeypatch.setattr(isolation, "TOOLS", ("unshare", "no-such-tool"))


@pytest.mark.needs("netns")
@pytest.mark.parametrize("major", MAJORS)
def test_the_server_is_private_quiet_and_without_a_way_out(new_target: Callable[..., Target], major: int) -> None:
    target = new_target(major)
    with target.running.connect("postgres", "test") as conn:
        shown = dict(conn.execute("SELECT name, setting FROM pg_settings").fetchall())
        assert ways_out(conn, target.workspace.path / "p") == []
    off = ("archive_mode", "fsync", "full_page_writes", "synchronous_commit", "autovacuum")
    assert {name: shown[name] for name in off} == dict.fromkeys(off, "off")
    empty = ("listen_addresses", "primary_conninfo", "shared_preload_libraries", "restore_command")
    assert {name: shown[name] for name in empty} == dict.fromkeys(empty, "")
    assert (shown["wal_level"], shown["max_wal_senders"], shown["max_logical_replication_workers"]) == ("minimal", "0", "0")
    assert target.isolation.isolated
    assert target.running.major == major


@pytest.mark.needs("netns")
def test_the_server_sees_only_what_it_needs(new_target: Callable[..., Target], tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("in the open")
    tmp_path.chmod(0o755)
    target = new_target(18)
    with target.running.connect("postgres", "test") as conn:

        def listing(path: str) -> set[str] | None:
            row = conn.execute("SELECT array_agg(name) FROM pg_ls_dir(%s, true, false) AS name", [path]).fetchone()
            return set(row[0] or ()) if row else None

        system = {"bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc", "dev", "proc", "tmp", "var"}
        # The programs and the workspace lie where this machine has them; of the directories above only the way there is seen.
        shown = [*program_paths(readable_bin_dir(18)), target.workspace.path, tmp_path]
        for above in {parent for path in shown for parent in path.parents}:
            ways = {path.relative_to(above).parts[0] for path in shown if above in path.parents}
            assert (listing(str(above)) or set()) <= ways | (system if above == Path("/") else set()), above
        assert listing("/etc") <= {"passwd", "group", "ld.so.cache", "localtime", "ssl", "alternatives"}  # type: ignore[operator]
        assert listing(str(tmp_path)) == set()
        assert listing(str(target.workspace.path)) == {"data", "s"}
        numbers = {name for name in listing("/proc") or () if name.isdigit()}
        assert len(numbers) < 30
        environment = conn.execute("SELECT pg_read_binary_file('/proc/self/environ', 0, 65536)").fetchone()
        assert environment is not None
        assert b"PYTHONPATH" not in environment[0]


@pytest.mark.needs("netns", "root")
@pytest.mark.parametrize("major", MAJORS)
def test_the_server_is_never_roots(new_target: Callable[..., Target], major: int) -> None:
    target = new_target(major)
    servers = processes_of(target.workspace.path)
    users = {}
    for pid, name in servers.items():
        with contextlib.suppress(FileNotFoundError):  # one of them may just have ended
            if name.startswith("postgres"):
                users[pid] = os.stat(f"/proc/{pid}").st_uid
    assert users
    assert set(users.values()) == {target.account.uid}
    assert target.account.uid != 0


@pytest.mark.needs("netns")
def test_the_server_dies_with_the_process_that_holds_it(new_target: Callable[..., Target]) -> None:
    target = new_target(18)
    assert target.running.pid is not None
    os.kill(target.running.pid, signal.SIGKILL)
    eventually(lambda: not processes_of(target.workspace.path), "every process of the drill is gone")


def test_a_machine_that_cannot_isolate_refuses(work_dir: Path, cannot_isolate: None) -> None:
    with pytest.raises(DrillRefused, match="way out of this machine"), throwaway(work_dir, 18):
        pass
    assert drills_in(work_dir) == []


@pytest.mark.parametrize("major", MAJORS)
def test_a_waived_isolation_is_said_and_the_server_still_ends(work_dir: Path, major: int, cannot_isolate: None) -> None:
    with throwaway(work_dir, major, waive=frozenset({"isolation"})) as target:
        assert not target.isolation.isolated
        assert "no-such-tool" in target.isolation.detail
        with target.running.connect("postgres", "test") as conn:
            assert "Unix sockets of this host" in str(ways_out(conn, target.workspace.path / "p"))
            with target.running.connect("postgres", "busy", autocommit=True) as busy:
                assert busy.execute("SELECT 1").fetchone() == (1,)
    assert drills_in(work_dir) == []


@pytest.mark.needs("netns")
def test_an_isolation_that_does_not_hold_is_found_by_trying(work_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The namespaces are there, but without the one for the network."""
    whole = isolation.Namespaces.command

    def leaky(self: isolation.Namespaces, *given: object, **more: object) -> list[str]:
        return [word for word in whole(self, *given, **more) if word != "--net"]  # type: ignore[arg-type]

    monkeypatch.setattr(isolation.Namespaces, "command", leaky)
    with pytest.raises(DrillRefused) as refused, throwaway(work_dir, 18):
        pass
    assert "still reaches the loopback addresses of this host" in refused.value.where
    assert drills_in(work_dir) == []


@pytest.mark.needs("root", "postgresql:18")
def test_programs_that_the_drills_user_cannot_reach_are_named(
    work_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cannot_isolate: None
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "pg").symlink_to(readable_bin_dir(18).parent)
    monkeypatch.setattr(drills, "readable_bin_dir", lambda _major: closed / "pg" / "bin")
    waived = frozenset({"isolation"})
    with pytest.raises(ConfigurationError, match=r"programs: .*ermission denied"), throwaway(work_dir, 18, waive=waived):
        pass
    assert drills_in(work_dir) == []


ORDINARY = """
import os, sys
from pathlib import Path
from support.drills import throwaway
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.proof import ways_out
assert os.geteuid() != 0
with throwaway(Path(sys.argv[1]), int(sys.argv[2])) as target, target.running.connect("postgres", "test") as conn:
    print(target.isolation.how, ways_out(conn, target.workspace.path / "p"))
"""


@pytest.mark.needs("userns")
@pytest.mark.parametrize("major", MAJORS)
def test_an_ordinary_user_gets_the_same_isolation(work_dir: Path, major: int) -> None:
    entry = account()
    if entry is not None:
        os.chown(work_dir.parent, entry.pw_uid, entry.pw_gid)
    done = as_ordinary_user(ORDINARY, str(work_dir), str(major))
    assert (done.returncode, done.stdout.strip()) == (0, "namespaces []"), done.stderr
    assert os.listdir(work_dir) == [".lock"]


KILLED = """
import sys, time
from pathlib import Path
from support.drills import throwaway
with throwaway(Path(sys.argv[1]), 18) as target:
    print(target.workspace.drill_id, flush=True)
    time.sleep(600)
"""


@pytest.mark.needs("netns", "postgresql:18")
def test_a_server_dies_with_a_killed_drill_and_its_directory_is_reaped(work_dir: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(work_dir)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    drill_id = process.stdout.readline().strip()
    assert [item.state for item in reap(work_dir)] == ["running"]
    assert processes_of(work_dir / drill_id)
    process.kill()
    process.wait()
    process.stdout.close()
    eventually(lambda: not processes_of(work_dir / drill_id), "the server died with the drill")
    assert [(item.drill_id, item.state) for item in reap(work_dir)] == [(drill_id, "reaped")]
    assert drills_in(work_dir) == []

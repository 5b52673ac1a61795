# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real backup whose programs, or whose whole run, are killed while bytes flow; and a disk that fills up."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import compress
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError
from support.clusters import Server
from support.leaks import children, eventually, program, program_once_there, runs
from support.logical import Identity, manifests_in, new_identity, options, posix

pytestmark = pytest.mark.needs("program:age", "program:zstd")

RUN = """
import json, sys
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.run import run
print(json.dumps(run(json.load(sys.stdin))))
"""


@pytest.fixture(scope="module")
def slow_database(postgres18: Server) -> Iterator[str]:
    """40 MB that do not compress: at level 19 the stream takes seconds, long enough to be killed in the middle."""
    with postgres18.database() as name:
        postgres18.execute(
            "CREATE TABLE big AS SELECT n, string_agg(md5((n * 1000 + m)::text), '') AS t"
            " FROM generate_series(1, 20000) n, generate_series(1, 60) m GROUP BY n",
            name,
        )
        yield name


@pytest.fixture
def places(tmp_path: Path) -> dict[str, dict[str, Any]]:
    return {"here": posix(tmp_path / "here"), "offsite": posix(tmp_path / "offsite")}


@pytest.fixture
def given(postgres18: Server, slow_database: str, places: dict[str, Any], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    identity: Identity = new_identity(tmp_path / "identity.txt")

    def build(**more: Any) -> dict[str, Any]:
        return {**options(postgres18, slow_database, places, identity, tmp_path / "locks", compression_level=19), **more}

    return build


def bytes_written(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar"))


def visible(places: dict[str, Any]) -> list[str]:
    """All that a reader of the repositories can list at all."""
    from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository

    found = []
    for name, spec in places.items():
        with open_repository(name, spec, read_only=True) as repository:
            found += [item.key for item in repository.list()]
    return found


@pytest.mark.parametrize("victim", ["pg_dump", "zstd", "age"])
def test_a_killed_program_is_named_and_nothing_is_committed(
    given: Callable[..., dict[str, Any]], places: dict[str, Any], victim: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if victim == "zstd":  # which compresses where the library is not installed
        monkeypatch.setattr(compress, "library_at_hand", lambda: None)
    caught: list[LifeboatError] = []

    def attempt() -> None:
        try:
            run(given())
        except LifeboatError as error:
            caught.append(error)

    thread = threading.Thread(target=attempt)
    thread.start()
    eventually(lambda: bytes_written(program("pg_dump") or 0) > 2_000_000, "pg_dump is in the middle of its work")
    # It stays there, however long it takes until the signal is sent.
    dump = program_once_there("pg_dump")
    os.kill(dump, signal.SIGSTOP)
    os.kill(program_once_there(victim), signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):  # the victim, or killed by the run already
        os.kill(dump, signal.SIGCONT)
    thread.join(120)
    assert len(caught) == 1
    assert victim in str(caught[0])
    assert "SIGKILL" in str(caught[0])
    assert visible(places) == []
    assert program("pg_dump") is program("zstd") is program("age") is None


def test_a_run_killed_as_a_whole_leaves_nothing_and_the_next_one_works(
    given: Callable[..., dict[str, Any]], places: dict[str, Any], postgres18: Server, slow_database: str
) -> None:
    whole = subprocess.Popen([sys.executable, "-c", RUN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(os.environ))
    assert whole.stdin is not None
    whole.stdin.write(json.dumps(given()).encode())
    whole.stdin.close()
    eventually(lambda: bytes_written(program("pg_dump", whole.pid) or 0) > 2_000_000, "pg_dump is in the middle of its work")
    offspring = children(whole.pid)
    whole.kill()
    whole.wait()

    eventually(lambda: not any(map(runs, offspring)), "all programs of the killed run have ended")
    with postgres18.connect(slow_database) as connection:
        question = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'lifeboat%%'"
        eventually(lambda: connection.execute(question).fetchone() == (0,), "no session of the killed run is left")
    assert visible(places) == []
    assert manifests_in(places["here"]) == []
    assert run(given(compression_level=1))["changed"] is True
    assert len(manifests_in(places["here"])) == len(manifests_in(places["offsite"])) == 1


@pytest.mark.needs("program:setpriv")
def test_a_program_that_is_silent_ends_with_the_run_that_is_killed(given: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    """As pg_dump does while it waits, or while it writes a directory: it would notice nothing for hours."""
    real, silent, pid = Path(given()["bin_dir"]) / "pg_dump", tmp_path / "bin" / "pg_dump", tmp_path / "pid"
    silent.parent.mkdir()
    silent.write_text(
        f"#!/bin/sh\ncase $1 in --version | --help) exec '{real}' \"$@\" ;; esac\necho $$ > '{pid}.new'; mv '{pid}.new' '{pid}'\n"
        "exec sleep 300\n"
    )
    silent.chmod(0o755)
    whole = subprocess.Popen([sys.executable, "-c", RUN], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=dict(os.environ))
    assert whole.stdin is not None
    whole.stdin.write(json.dumps(given(bin_dir=str(silent.parent), format="custom", globals="false")).encode())
    whole.stdin.close()
    eventually(pid.exists, "the program waits in silence")
    child = int(pid.read_text())
    os.kill(child, 0)
    whole.kill()
    whole.wait(120)
    eventually(lambda: not runs(child), "it has ended")


@pytest.mark.usefixtures("usual_signals")
def test_a_run_that_is_asked_to_stop_leaves_nothing(given: Callable[..., dict[str, Any]], places: dict[str, Any]) -> None:
    whole = subprocess.Popen([sys.executable, "-c", RUN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert whole.stdin is not None
    whole.stdin.write(json.dumps(given()).encode())
    whole.stdin.close()
    eventually(lambda: bytes_written(program("pg_dump", whole.pid) or 0) > 2_000_000, "pg_dump is in the middle of its work")
    whole.send_signal(signal.SIGINT)
    whole.wait(120)
    assert whole.returncode != 0
    assert visible(places) == []
    leftovers = [path for spec in places.values() for path in Path(spec["path"]).rglob("*") if path.is_file()]
    assert leftovers == []


@pytest.mark.needs("root")
def test_a_full_disk_drops_that_repository_and_is_said(
    given: Callable[..., dict[str, Any]], places: dict[str, Any], tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", str(small)], check=True)
    try:
        spec = {"type": "posix", "path": str(small)}
        with pytest.raises(LifeboatError) as caught:
            run(given(compression_level=1, repositories={"here": places["here"], "small": spec}))
        assert "small" in str(caught.value)
        assert "No space left" in str(caught.value) or "full" in str(caught.value)
        assert caught.value.result["repositories"]["here"]["complete"] is True
        assert caught.value.result["repositories"]["small"]["complete"] is False
        assert len(manifests_in(places["here"])) == 1
        assert manifests_in(spec) == []
        assert [path for path in small.rglob("*") if path.is_file()] == []
    finally:
        subprocess.run(["umount", str(small)], check=True)

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`lifeboat run` as cron runs it: what it remembers, logs and tells, and that it never runs twice at once."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.lock import host_lock
from ansible_collections.lifeboat.postgres.plugins.module_utils.jobs import log as job_log
from support.clusters import Server
from support.jobs import Jobs
from support.leaks import eventually
from support.logical import Identity, new_identity, options, posix


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(tmp_path)


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return new_identity(tmp_path / "identity")


@pytest.fixture
def shop(postgres18: Server) -> Iterator[str]:
    with postgres18.database() as name:
        postgres18.execute("CREATE TABLE orders (id int); INSERT INTO orders SELECT generate_series(1, 100)", name)
        yield name


def backup_of(server: Server, name: str, jobs: Jobs, identity: Identity, **more: Any) -> dict[str, Any]:
    return options(server, name, {"here": posix(jobs.home / "here")}, identity, jobs.home / "locks", **more)


def test_a_backup_is_taken_remembered_and_logged_and_status_says_so(jobs: Jobs, postgres18: Server, shop: str, identity: Identity) -> None:
    jobs.write("databases", "logical", backup_of(postgres18, shop, jobs, identity), schedule="17 3 * * *")
    done = jobs.run("shop/databases")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(list((jobs.home / "here").rglob("manifests/database/*/*.json"))) == 1
    state = jobs.state("databases")
    assert (state["last_status"], state["changed"], state["consecutive_failures"]) == (0, True, 0)
    assert state["last_success"] == state["last_finished"] >= state["last_started"]
    events = jobs.events("databases")
    assert [event["event"] for event in events if event["event"] not in ("progress", "warning")] == ["started", "finished"]
    assert [json.loads(line)["event"] for line in done.stdout.splitlines()] == [event["event"] for event in events]
    status = jobs.lifeboat("status")
    assert status.returncode == 0, status.stdout
    assert "shop/databases" in status.stdout
    assert all(len(line) <= 80 for line in status.stdout.splitlines())


def test_a_second_start_says_who_runs_and_leaves_the_first_ones_state_alone(jobs: Jobs, identity: Identity) -> None:
    jobs.write("verify", "verify", {"system": "shop", "repositories": {"here": posix(jobs.home / "here")}})
    with host_lock("shop", "job", "verify", jobs.home / "run", "the job"):
        second = jobs.run("verify")
        assert jobs.status()["verify"]["running"] is True
    assert second.returncode == 10
    (event,) = jobs.events("verify")
    assert (event["event"], event["status"]) == ("overlap", 10)
    assert f"the job shop/job/verify is running already: process {os.getpid()} on " in event["message"]
    assert not (jobs.home / "state").exists()


@pytest.fixture
def stuck(jobs: Jobs, postgres18: Server, shop: str, identity: Identity) -> Iterator[dict[str, Any]]:
    """Options of a backup that waits for a table for as long as the test lasts."""
    with postgres18.connect(shop) as holder, holder.transaction():
        holder.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        yield backup_of(postgres18, shop, jobs, identity, lock_timeout="1h")


def test_a_table_that_somebody_holds_is_waited_for_as_long_as_was_said(jobs: Jobs, stuck: dict[str, Any]) -> None:
    jobs.write("databases", "logical", {**stuck, "lock_timeout": "1s"})
    done = jobs.run("databases")
    assert done.returncode == 4
    assert "lock" in jobs.state("databases")["detail"]


def test_a_job_that_takes_too_long_is_stopped_and_has_failed(jobs: Jobs, stuck: dict[str, Any]) -> None:
    jobs.write("databases", "logical", stuck, timeout="3s")
    done = jobs.run("databases")
    assert done.returncode == 18
    assert "it had not ended after 3 s" in jobs.state("databases")["detail"]
    assert not list((jobs.home / "here").rglob("*.age"))


def test_a_killed_job_is_seen_and_keeps_nobody_from_the_next_run(jobs: Jobs, postgres18: Server, shop: str, identity: Identity) -> None:
    given = backup_of(postgres18, shop, jobs, identity, lock_timeout="1h")
    jobs.write("databases", "logical", given)
    with postgres18.connect(shop) as holder, holder.transaction():
        holder.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        with jobs.start("run", "databases") as process:
            eventually(lambda: (jobs.home / "state" / "shop" / "databases.json").exists(), "the job has begun")
            process.send_signal(signal.SIGKILL)
        assert "never said how it ended" in jobs.status()["databases"]["problem"]
        assert jobs.lifeboat("status").returncode == 1
    postgres18.execute("SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE application_name LIKE 'lifeboat%'", shop)
    done = jobs.run("databases")
    assert done.returncode == 0, done.stdout
    assert jobs.status()["databases"]["problem"] == ""


def test_a_job_that_is_told_to_end_says_so(jobs: Jobs, postgres18: Server, stuck: dict[str, Any]) -> None:
    jobs.write("databases", "logical", stuck)
    with jobs.start("run", "databases") as process:
        eventually(lambda: _waits(postgres18, stuck["login_db"]), "it waits for the table")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=300)
    assert process.returncode == 128 + signal.SIGTERM
    assert jobs.state("databases")["last_status"] == 128 + signal.SIGTERM


def _waits(server: Server, dbname: str) -> bool:
    with server.connect() as connection:
        waiting = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
        return connection.execute(waiting, (dbname,)).fetchone() == (True,)


class Listener(BaseHTTPRequestHandler):
    """Takes what is posted or asked for; says 500 to what goes to /broken, and sends away from /moved."""

    got: list[tuple[str, dict[str, Any]]]

    def do_GET(self) -> None:
        self.got.append((self.path, {}))
        self.send_response(500 if self.path.startswith("/broken") else 302 if self.path.startswith("/moved") else 200)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def do_POST(self) -> None:
        self.got.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
        self.send_response(500 if self.path.startswith("/broken") else 204)
        self.end_headers()

    def log_message(self, *_words: Any) -> None:
        pass


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[tuple[str, dict[str, Any]]]]]:
    got: list[tuple[str, dict[str, Any]]] = []
    server = HTTPServer(("127.0.0.1", 0), type("Own", (Listener,), {"got": got}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", got
    server.shutdown()
    server.server_close()


def program(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def secret(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def test_a_failure_is_told_to_each_hook_and_the_status_stays_the_jobs_own(
    jobs: Jobs, tmp_path: Path, webhook: tuple[str, list[tuple[str, dict[str, Any]]]]
) -> None:
    url, got = webhook
    (tmp_path / "bin").mkdir()
    program(tmp_path / "bin" / "sendmail", f'echo "$@" >{tmp_path}/arguments; cat >{tmp_path}/mail')
    hooks = {
        "command": [program(tmp_path / "notify", f"cat >{tmp_path}/told; exit 7")],
        "mail_to": ["ops@example.net"],
        "webhook_url_file": secret(tmp_path / "url", f"{url}/hook?token=s3cret\n"),
    }
    nothing = {"system": "shop", "repositories": {"here": posix(tmp_path / "here")}}
    jobs.write("verify", "verify", nothing, on_failure=hooks)
    done = jobs.run("verify", PATH=f"{tmp_path}/bin:{os.environ['PATH']}")
    assert done.returncode == 8
    told = json.loads((tmp_path / "told").read_text())
    assert (told["status"], told["job"], told["error"]["kind"], told["consecutive_failures"]) == (8, "verify", "IntegrityError", 1)
    assert got == [("/hook?token=s3cret", told | {"finished_at": got[0][1]["finished_at"]})]
    assert "Subject: lifeboat: shop/verify failed on " in (tmp_path / "mail").read_text()
    assert (tmp_path / "arguments").read_text() == "-i -- ops@example.net\n"
    said = {event["hook"]: (event["good"], event["message"]) for event in jobs.events("verify") if event["event"] == "hook"}
    assert said["mail"][0]
    assert said["webhook"][0]
    assert said["command"][0] is False
    assert "ended with 7" in said["command"][1]
    everything = done.stdout + done.stderr + (jobs.home / "log" / "shop" / "verify.jsonl").read_text()
    assert "s3cret" not in everything


def test_hooks_wait_for_as_many_failures_in_a_row_as_they_were_told(
    jobs: Jobs, tmp_path: Path, webhook: tuple[str, list[tuple[str, dict[str, Any]]]]
) -> None:
    url, got = webhook
    hooks = {"webhook_url_file": secret(tmp_path / "url", f"{url}/broken\n"), "after": 2}
    jobs.write("verify", "verify", {"system": "shop", "repositories": {"here": posix(tmp_path / "here")}}, on_failure=hooks)
    assert [jobs.run("verify").returncode for _ in range(2)] == [8, 8]
    assert [report["consecutive_failures"] for _path, report in got] == [2]
    (hook,) = [event for event in jobs.events("verify") if event["event"] == "hook"]
    assert hook["message"] == "webhook was not told: the server answered 500"


def test_the_dead_mans_switch_hears_of_each_end_and_its_url_is_never_shown(
    jobs: Jobs, tmp_path: Path, webhook: tuple[str, list[tuple[str, dict[str, Any]]]]
) -> None:
    url, got = webhook
    jobs.write(
        "freshness",
        "freshness",
        {"system": "shop", "repositories": {"here": posix(tmp_path / "here")}, "cache_dir": ""},
        dead_man_url_file=secret(tmp_path / "url", f"{url}/s3cret\n"),
    )
    assert jobs.run("freshness").returncode == 0
    jobs.write(
        "freshness",
        "freshness",
        {"system": "shop", "repositories": {"here": posix(tmp_path / "here")}, "cache_dir": "", "wal_max_age": "1h"},
        dead_man_url_file=str(tmp_path / "url"),
    )
    assert jobs.run("freshness").returncode == 19
    assert [path for path, _none in got] == ["/s3cret", "/s3cret/fail"]
    for path, tries in (("moved", 1), ("broken", 3)):
        del got[:]
        secret(tmp_path / "url", f"{url}/{path}/s3cret\n")
        assert jobs.run("freshness").returncode == 19, "the switch changes nothing about the job's own status"
        assert [asked for asked, _none in got] == [f"/{path}/s3cret/fail"] * tries
    said = [event["message"] for event in jobs.events("freshness") if event["event"] == "hook"]
    assert said == [f"the dead man's switch was not told: the server answered {status}" for status in (302, 500)]
    assert "s3cret" not in (jobs.home / "log" / "shop" / "freshness.jsonl").read_text()


def test_the_log_stays_small(jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_log, "FILE_BYTES", 2000)
    log = job_log.JobLog(
        "shop", "verify", tmp_path / "log" / "verify.jsonl", stream=(tmp_path / "out").open("w"), environment={"JOURNAL_STREAM": "1:1"}
    )
    for number in range(200):
        log.say("progress", f"line {number}")
    log.close()
    files = sorted((tmp_path / "log").iterdir())
    assert len(files) == job_log.FILES + 1
    assert all(file.stat().st_size <= 2000 for file in files)
    assert '"line 199"' in (tmp_path / "log" / "verify.jsonl").read_text()


def test_a_log_that_cannot_be_written_keeps_no_job_from_running(jobs: Jobs, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file, where a directory should be")
    jobs.write("verify", "verify", {"system": "shop", "repositories": {"here": posix(tmp_path / "here")}})
    done = jobs.run("verify")
    assert done.returncode == 8
    assert "the log is not whole" in done.stdout
    assert jobs.state("verify")["last_status"] == 8


def test_the_password_comes_from_a_file_that_only_its_owner_reads(jobs: Jobs, shop: str, identity: Identity) -> None:
    with Server(18, tcp=True) as server:
        place = {"login_host": "127.0.0.1", "login_port": server.port, "login_unix_socket": "", "login_db": "postgres"}
        file = secret(jobs.home / "password", f"{server.password}\n")
        jobs.write("databases", "logical", backup_of(server, "postgres", jobs, identity, **place, login_password_file=file))
        good = jobs.run("databases")
        assert good.returncode == 0, good.stdout
        os.chmod(file, 0o644)
        bad = jobs.run("databases")
        assert (bad.returncode, "others can read it (mode 0644)" in bad.stdout) == (6, True)
        assert server.password not in good.stdout + bad.stdout

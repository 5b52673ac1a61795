# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of the operator beside the restored database: what they can see, what counts as an answer, and how they end."""

from __future__ import annotations

import datetime as dt
import functools
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import CheckResult
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.factory import parse
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.runner import run_checks
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.errands import Errands
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.logical import session
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.processes import processes_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.target import Target
from support.drills import throwaway
from support.leaks import eventually

pytestmark = pytest.mark.needs("netns", "postgresql:18")

# An application of the smallest kind: it answers over its socket from what the database says.
APPLICATION = """\
import http.server, json, os, socketserver, subprocess, sys

class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        said = subprocess.run([sys.argv[2], "-XAtc", "SELECT count(*) FROM orders"], capture_output=True, text=True).stdout
        body = json.dumps({"orders": int(said), "host": self.headers["Host"]}).encode()
        self.send_response(200 if self.path == "/health?deep=1" else 503)
        self.end_headers()
        self.wfile.write(body)
    def address_string(self):
        return "somebody"

class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

Server(sys.argv[1], Answers).serve_forever()
"""

SILENT = "import socket, sys, time; s = socket.socket(1); s.bind(sys.argv[1]); s.listen(); s.accept(); time.sleep(600)"

_PYTHON = "/usr/bin/python3"


class Drill:
    """A throwaway server with a table in it, and one way to ask checks."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.psql = str(target.programs.directory / "psql")
        with target.running.connect("postgres", "test") as connection:
            connection.execute("CREATE TABLE public.orders AS SELECT generate_series(1, 3) AS id")

    def ask(self, *checks: dict[str, Any]) -> list[CheckResult]:
        connect = functools.partial(session, self.target, "postgres", "test")
        answers = run_checks(parse(checks), connect, {}, dt.datetime.now(dt.timezone.utc), Errands(self.target, "postgres"))
        # What was started has ended, or does so in a moment since it was killed: all that is left of the drill is its server.
        eventually(lambda: not self.others(), "all that was started has ended")
        return answers

    def others(self) -> set[str]:
        """Names of the drill's processes that are not its server."""
        return set(processes_of(self.target.workspace.path).values()) - {"postgres", "unshare", "setpriv", ""}

    def command(self, *argv: str, **more: Any) -> CheckResult:
        [answer] = self.ask({"command": {"argv": list(argv), **more}})
        return answer

    def http(self, *start: str, **more: Any) -> CheckResult:
        [answer] = self.ask({"http": {"start": list(start), "url": "http://localhost/health?deep=1", **more}})
        return answer


@pytest.fixture(scope="module")
def drill() -> Iterator[Drill]:
    with tempfile.TemporaryDirectory(prefix="lb-", dir="/tmp") as parent:
        Path(parent).chmod(0o755)
        with throwaway(Path(parent) / "drills", 18) as target:
            yield Drill(target)


@pytest.fixture
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the drill's user may read it."""
    with tempfile.TemporaryDirectory(prefix="lb-app-", dir="/tmp") as directory:
        path = Path(directory) / "app.py"
        path.write_text(APPLICATION)
        Path(directory).chmod(0o755)
        path.chmod(0o644)
        yield path


class TestCommand:
    def test_its_exit_status_is_the_answer(self, drill: Drill) -> None:
        assert drill.command("true").verdict == "passed"
        answer = drill.command("sh", "-c", "echo the ledger is off by 3 >&2; exit 1")
        assert (answer.verdict, answer.found, answer.detail) == ("failed", "exit status 1", "the ledger is off by 3")
        assert drill.command("sh", "-c", "exit 3", status=3).verdict == "passed"
        assert drill.command("true", status=3).verdict == "failed"

    def test_it_finds_the_restored_database_in_its_environment(self, drill: Drill) -> None:
        answer = drill.command(drill.psql, "-XAtc", "SELECT count(*) FROM orders", matches="^3$")
        assert (answer.verdict, answer.found) == ("passed", "3"), answer

    def test_what_it_prints_can_be_judged(self, drill: Drill) -> None:
        assert (
            drill.command("echo", '{"balance": 0, "entries": [1]}', jmespath="balance == `0` && length(entries) == `1`").verdict == "passed"
        )
        answer = drill.command("echo", '{"balance": 7}', jmespath="balance == `0`")
        assert (answer.verdict, answer.found) == ("failed", '{"balance": 7}')
        assert drill.command("echo", "off", matches="^balanced").verdict == "failed"

    @pytest.mark.parametrize(
        ("argv", "more", "said"),
        [
            (["/usr/bin/no-such-program"], {}, "could not be started"),
            (["/etc/hostname"], {}, "could not be started"),
            (["echo", "no json"], {"jmespath": "a"}, "this is not JSON: no json"),
            (["echo", "{}"], {"jmespath": "a"}, "neither true nor false"),
            (["sh", "-c", "sh -c 'kill -9 $$'"], {}, "killed"),
            (["sleep", "600"], {"timeout": "0.5s"}, "no end within 0.5"),
            (["head", "-c", "3000000", "/dev/zero"], {"matches": "x"}, "more than 1 MiB"),
        ],
    )
    def test_what_gives_no_answer_proves_nothing(self, drill: Drill, argv: list[str], more: dict[str, Any], said: str) -> None:
        answer = drill.command(*argv, **more)
        assert answer.verdict == "unverified", answer
        assert said in f"{answer.found} {answer.detail}"

    def test_it_is_as_isolated_as_the_server(self, drill: Drill, tmp_path: Path) -> None:
        assert drill.command("sh", "-c", "id -u; test $(id -u) -ne 0").verdict == "passed"
        assert drill.command("sh", "-c", "cat /proc/net/dev", matches="eth").verdict == "failed"
        for path in ("/root", "/home", "/etc/shadow", str(tmp_path), "/var/tmp", "/run"):
            assert drill.command("test", "-e", path).verdict == "failed", path
        assert drill.command("sh", "-c", "echo x > /usr/x").verdict != "passed"
        # Only what was named, and only to be read.
        with tempfile.TemporaryDirectory(prefix="lb-x-", dir="/tmp") as directory:
            Path(directory).chmod(0o777)
            (Path(directory) / "rules").write_text("yes")
            (Path(directory) / "rules").chmod(0o644)
            assert drill.command("cat", f"{directory}/rules").verdict == "failed"
            assert drill.command("cat", f"{directory}/rules", readable=[directory], matches="^yes$").verdict == "passed"
            assert drill.command("touch", f"{directory}/mine", readable=[directory]).verdict == "failed"

    @pytest.mark.parametrize("name", ["real", "link"])
    def test_a_socket_is_not_shown_with_its_directory(self, drill: Drill, name: str) -> None:
        with tempfile.TemporaryDirectory(prefix="lb-x-", dir="/tmp") as parent, socket.socket(socket.AF_UNIX) as listener:
            real, link = Path(parent) / "real", Path(parent) / "link"
            real.mkdir()
            link.symlink_to(real)
            (real / "rules").write_text("yes")
            listener.bind(str(real / "way.out"))
            listener.listen()
            for path in (Path(parent), real, real / "way.out", real / "rules"):
                path.chmod(0o777)
            shown = Path(parent) / name
            assert drill.command("cat", str(shown / "rules"), readable=[str(shown)], matches="^yes$").verdict == "passed"
            assert drill.command("test", "-S", str(shown / "way.out"), readable=[str(shown)]).verdict == "failed"
            answer = drill.command("true", readable=[str(real / "way.out")])
            assert (answer.verdict, "a socket is a way out" in answer.detail) == ("unverified", True)

    def test_nothing_of_our_environment_is_in_it(self, drill: Drill, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "ours")
        answer = drill.command("env", matches="(?m)^PGDATABASE=postgres$")
        assert answer.verdict == "passed"
        assert drill.command("env", matches="AWS_|PASSWORD").verdict == "failed"

    def test_what_it_leaves_running_ends_with_it(self, drill: Drill) -> None:
        assert drill.command("sh", "-c", "sleep 601 & echo done", timeout="120s").found == "exit status 0"

    def test_its_arguments_are_no_shell_text(self, drill: Drill) -> None:
        answer = drill.command("echo", "$(id); `id` $HOME 'x' \"y\"", matches=r"^\$\(id\); `id` \$HOME 'x' \"y\"$")
        assert answer.verdict == "passed", answer


class TestHttp:
    def test_an_application_answers_from_the_restored_database(self, drill: Drill, application: Path) -> None:
        answer = drill.http(_PYTHON, str(application), "{socket}", drill.psql, readable=[str(application)], jmespath="orders == `3`")
        assert (answer.verdict, answer.found) == ("passed", 'status 200: {"orders": 3, "host": "localhost"}'), answer

    def test_the_socket_is_also_in_the_environment(self, drill: Drill, application: Path) -> None:
        start = ("sh", "-c", f'exec {_PYTHON} {application} "$LIFEBOAT_SOCKET" {drill.psql}')
        assert drill.http(*start, readable=[str(application)]).verdict == "passed"

    def test_another_status_or_another_body_fails(self, drill: Drill, application: Path) -> None:
        start = (_PYTHON, str(application), "{socket}", drill.psql)
        answer = drill.http(*start, readable=[str(application)], url="http://localhost/health")
        assert (answer.verdict, answer.found) == ("failed", "status 503")
        assert drill.http(*start, readable=[str(application)], jmespath="orders > `3`").verdict == "failed"

    @pytest.mark.parametrize(
        ("start", "said"),
        [
            (["sh", "-c", "echo no licence >&2; exit 1"], "it ended before it answered no licence"),
            (["/usr/bin/no-such-program"], "could not be started"),
            (["sleep", "600"], "it never listened within"),
            (["sh", "-c", 'ln -s /run/docker.sock "$LIFEBOAT_SOCKET"; sleep 600'], "not a socket"),
            ([_PYTHON, "-c", SILENT, "{socket}"], "it never answered"),
        ],
    )
    def test_no_answer_proves_nothing(self, drill: Drill, start: list[str], said: str) -> None:
        for seconds in (0.5, 5, 60):  # the longer ones where a busy machine has not even started it in the shortest
            answer = drill.http(*start, timeout=f"{seconds}s")
            assert answer.verdict == "unverified", answer
            if said in f"{answer.found} {answer.detail}":
                return
        pytest.fail(str(answer))


def test_programs_are_asked_last_and_answered_in_their_place(drill: Drill) -> None:
    answers = drill.ask(
        {"command": {"argv": [drill.psql, "-XAtc", "DELETE FROM orders"]}},
        {"not_empty": {"tables": ["orders"]}},
    )
    assert [answer.verdict for answer in answers] == ["passed", "passed"]
    assert [answer.name.split()[0] for answer in answers] == ["command", "not_empty"]
    with drill.target.running.connect("postgres", "test") as connection:
        connection.execute("INSERT INTO public.orders SELECT generate_series(1, 3)")

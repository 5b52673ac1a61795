# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Being a module, seen from Ansible: results, errors as sentences, secrets in the wrong place, another Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import runtime
from support.parts import find_program

pytestmark = pytest.mark.needs("program:ansible")

COLLECTIONS = Path(runtime.__file__).parents[5]

PROBE = """
import os, signal, sys
from ansible_collections.lifeboat.postgres.plugins.module_utils import _ansible
from ansible_collections.lifeboat.postgres.plugins.module_utils._argspec import LOGIN_SPEC
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import RepositoryError

def work(params, check_mode):
    what = params["what"]
    if what == "expected":
        error = RepositoryError("the bucket is full", "repository 'offsite'", "Make room")
        error.result = {"backup_id": "20261121T031500Z-1a2b3c4d", "msg": "never this one"}
        raise error
    if what == "unexpected":
        raise ValueError("odd\\nthing")
    if what == "stop":
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            open(params["note"], "w").write("cleaned up")
    return {"check_mode": check_mode, "python": sys.executable, "warnings": ["only one recipient"], "given": params,
            "unreachable": {"offsite": "no answer"}}

def main():
    _ansible.INTERPRETERS = ("/nowhere/python", "@PYTHON@")
    more = {"what": "str", "note": "path", "repositories": "dict", "encryption": "dict", "jobs": "raw"}
    _ansible.run_module({**LOGIN_SPEC, **{name: {"type": kind} for name, kind in more.items()}}, work)

if __name__ == "__main__":
    main()
"""

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    library = tmp_path / "library"
    library.mkdir()
    (library / "probe.py").write_text("#!/usr/bin/python\n" + PROBE.replace("@PYTHON@", sys.executable))

    def call(*more: str, python: str = sys.executable, **options: Any) -> dict[str, Any]:
        """The module's result; `output` holds everything that Ansible printed."""
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            "ANSIBLE_LIBRARY": str(library),
            "ANSIBLE_LOCAL_TEMP": str(tmp_path / "local"),
            "ANSIBLE_REMOTE_TMP": str(tmp_path / "remote"),
            "ANSIBLE_HOME": str(tmp_path / "home"),
            "ANSIBLE_LOAD_CALLBACK_PLUGINS": "true",
            "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.minimal",
            "ANSIBLE_NOCOLOR": "1",
        }
        argv = [find_program("ansible") or "", "localhost", "-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={python}"]
        argv += ["-m", "probe", "-a", json.dumps({"login_db": "shop", **options}), *more]
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, cwd=tmp_path, timeout=600)
        result = json.JSONDecoder().raw_decode(done.stdout[done.stdout.index("{", done.stdout.index("localhost |")) :])[0]
        return {**result, "output": done.stdout + done.stderr}

    return call


def test_a_result_goes_out_as_it_is_with_its_warnings(run: Run) -> None:
    result = run(login_password="hunter2-of-the-database")
    assert result["changed"] is False
    assert result["check_mode"] is False
    assert "[WARNING]: only one recipient" in result["output"]
    assert "deprecated" not in result["output"]
    assert "hunter2" not in result["output"]
    assert run("--check")["check_mode"] is True


def test_a_repository_that_is_unreachable_is_no_host_that_is(run: Run) -> None:
    result = run()
    assert result["unreachable_repositories"] == {"offsite": "no answer"}
    assert "UNREACHABLE" not in result["output"]
    assert "converted to bool" not in result["output"]


def test_an_expected_fault_is_a_sentence_and_its_parts_and_what_is_known(run: Run) -> None:
    result = run(what="expected")
    assert result["msg"] == "the bucket is full (repository 'offsite'). Make room"
    assert result["error"] == {
        "kind": "RepositoryError",
        "what": "the bucket is full",
        "where": "repository 'offsite'",
        "next_step": "Make room",
    }
    assert result["backup_id"] == "20261121T031500Z-1a2b3c4d"
    assert "Traceback" not in result["output"]


def test_an_unexpected_fault_says_so_and_keeps_its_traceback_for_those_who_ask(run: Run) -> None:
    result = run(what="unexpected")
    assert result["msg"].startswith("unexpected ValueError: odd; thing. This is a fault of lifeboat.postgres")
    assert "error" not in result


def test_a_termination_cleans_up_and_says_so(run: Run, tmp_path: Path) -> None:
    result = run(what="stop", note=str(tmp_path / "note"))
    assert result["msg"].startswith("stopped by signal 15 (SIGTERM)")
    assert (tmp_path / "note").read_text() == "cleaned up"


def test_secrets_in_the_wrong_place_are_not_shown_either(run: Run) -> None:
    result = run(
        encryption={"recipients": ["age1public", "AGE-SECRET-KEY-1QQQQQQQQQQQQ"]},
        repositories={"offsite": {"type": "posix", "path": "/srv/backups", "secret_key": "hunter2-of-the-bucket"}},
        jobs=[
            {"options": {"login_password": "hunter2-of-the-job", "passphrase_files": ["/etc/phrase"], "checks": [{"password": "column"}]}}
        ],
    )
    assert result["given"]["jobs"][0]["options"]["passphrase_files"] == ["/etc/phrase"]
    assert result["given"]["jobs"][0]["options"]["checks"] == [{"password": "column"}]
    assert result["given"]["repositories"]["offsite"]["path"] == "/srv/backups"
    assert result["given"]["encryption"]["recipients"][0] == "age1public"
    assert "hunter2" not in str(result["given"])
    assert "AGE-SECRET-KEY" not in str(result["given"])


@pytest.mark.needs("library:psycopg")
def test_a_python_without_the_libraries_hands_over_to_one_that_has_them(run: Run, tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    bare = tmp_path / "bare" / "bin" / "python"
    assert run(python=str(bare))["python"] == sys.executable

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What could not run is counted, by reason, in the last line; with CI=true it is a failure. So are many second attempts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]

SAMPLE = """
import pytest
from support.parts import require

def test_runs():
    pass

@pytest.mark.needs("program:no-such-program")
def test_needs_a_program():
    raise AssertionError

def test_finds_out_later():
    require("program:no-such-program")
    raise AssertionError

def test_skips_itself():
    pytest.skip("no reason")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(TESTS / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")
    (tmp_path / "test_sample.py").write_text(SAMPLE)
    return tmp_path


def run_pytest(folder: Path, *arguments: str, ci: str = "") -> subprocess.CompletedProcess[str]:
    own = {"CI": ci, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    env = {**os.environ, **own}
    return subprocess.run([sys.executable, "-m", "pytest", "-q", *arguments], cwd=folder, env=env, capture_output=True, text=True)


def test_the_last_line_counts_by_reason(folder: Path) -> None:
    done = run_pytest(folder)
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == "1 passed, 0 failed; 3 could not run: no reason (1); the program no-such-program is missing (2)."


@pytest.mark.parametrize("workers", [(), ("-p", "xdist", "-n", "2")], ids=["alone", "with workers"])
def test_with_ci_nothing_may_be_left_out(folder: Path, workers: tuple[str, ...]) -> None:
    done = run_pytest(folder, *workers, ci="true")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith("1 passed, 0 failed; 3 could not run: ")
    assert done.stdout.count("with CI=true nothing may be left out") >= 3


def test_with_ci_a_file_that_skips_itself_is_a_failure_too(folder: Path) -> None:
    (folder / "test_sample.py").write_text("import pytest\npytest.importorskip('no_such_library')\n")
    assert run_pytest(folder, ci="true").returncode != 0


def test_when_everything_ran_the_last_line_says_so(folder: Path) -> None:
    done = run_pytest(folder, "-k", "test_runs", ci="true")
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "1 passed, 0 failed; nothing was left out."


def test_a_need_that_nobody_knows_is_refused(folder: Path) -> None:
    (folder / "test_sample.py").write_text("import pytest\n@pytest.mark.needs('progam:age')\ndef test_typo():\n    pass\n")
    done = run_pytest(folder)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "unknown need 'progam:age'" in done.stderr


AGAIN = """
import pathlib
import pytest

@pytest.mark.parametrize("number", range({tests}))
def test_holds_the_second_time(number):
    seen = pathlib.Path(f"seen-{{number}}")
    before = seen.exists()
    seen.touch()
    assert before, "not the first time"

def test_never_holds():
    assert {holds}
"""


@pytest.mark.parametrize("workers", [(), ("-p", "xdist", "-n", "2")], ids=["alone", "with workers"])
@pytest.mark.parametrize(
    ("tests", "holds", "status", "line"),
    [
        (1, True, 0, "2 passed, 0 failed; 1 at the second attempt only (test_sample.py::test_holds_the_second_time[0]); "),
        (1, False, 1, "1 passed, 1 failed; 1 at the second attempt only (test_sample.py::test_holds_the_second_time[0]); "),
        (4, True, 1, "; more than 3 are a failure; "),
    ],
)
def test_who_holds_at_the_second_attempt_only_is_named_and_shown(
    folder: Path, workers: tuple[str, ...], tests: int, holds: bool, status: int, line: str
) -> None:
    (folder / "test_sample.py").write_text(AGAIN.format(tests=tests, holds=holds))
    done = run_pytest(folder, "-p", "pytest_rerunfailures", *workers)
    assert done.stdout.splitlines()[-1].endswith(line + "nothing was left out."), done.stdout
    assert done.returncode == status
    assert done.stdout.count("AssertionError: not the first time") >= tests


def test_the_library_alone_has_no_second_attempt(folder: Path) -> None:
    (folder / "tests" / "unit").mkdir(parents=True)
    (folder / "tests" / "unit" / "test_pure.py").write_text(AGAIN.format(tests=1, holds=True))
    done = run_pytest(folder, "-p", "pytest_rerunfailures", "tests/unit")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "1 passed, 1 failed; nothing was left out."

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""bin/_env.sh takes the newest Python that runs and can make virtual environments, or says in one sentence why not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]


class Machine:
    """A machine with made-up Pythons: scripts that answer as bin/_env.sh asks them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = [self.folder("path")]

    def folder(self, name: str) -> Path:
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def has(self, version: str, *, venv: bool = True, name: str = "", where: str = "path") -> Path:
        program = self.folder(where) / (name or f"python{version}")
        return self.script(program, f"echo '{version.partition('.')[2]} {'yes' if venv else 'no'} {program}'")

    def has_broken(self, name: str, where: str = "path") -> Path:
        return self.script(self.folder(where) / name, f"echo 'pyenv: {name}: command not found' >&2; exit 127")

    @staticmethod
    def script(program: Path, body: str) -> Path:
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
        return program

    def choose(self, **variables: str) -> subprocess.CompletedProcess[str]:
        # The rest of PATH is what the script itself needs, without any Python.
        tools = self.folder("tools")
        for tool in ("basename", "dirname", "ls"):
            if not (tools / tool).exists():
                (tools / tool).symlink_to(f"/usr/bin/{tool}" if Path(f"/usr/bin/{tool}").exists() else f"/bin/{tool}")
        env = {"PATH": ":".join(map(str, [*self.path, tools])), **variables}
        script = f". '{CHECKOUT}/bin/_env.sh'; choose_python"
        return subprocess.run(["/bin/bash", "-euo", "pipefail", "-c", script, "bin/test"], env=env, capture_output=True, text=True)

    def chosen(self, **variables: str) -> Path:
        done = self.choose(**variables)
        assert done.returncode == 0, done.stderr
        return Path(done.stdout.strip())

    def sentence(self, **variables: str) -> str:
        done = self.choose(**variables)
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        return done.stderr


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_newest_wins(machine: Machine) -> None:
    machine.has("3.11")
    newest = machine.has("3.13")
    machine.has("3.12")
    assert machine.chosen() == newest


def test_a_shim_that_exists_but_fails_is_passed_over(machine: Machine) -> None:
    machine.has_broken("python3.14")
    machine.has_broken("python3.13")
    good = machine.has("3.12")
    assert machine.chosen() == good


def test_a_good_one_behind_a_failing_shim_of_the_same_name_is_found(machine: Machine) -> None:
    machine.has_broken("python3.13", where="shims")
    machine.path.insert(0, machine.folder("shims"))
    good = machine.has("3.13")
    assert machine.chosen() == good


def test_versions_that_pyenv_keeps_are_found_though_they_are_not_on_path(machine: Machine) -> None:
    machine.has("3.11")
    kept = machine.has("3.13", where="home/.pyenv/versions/3.13.5/bin")
    assert machine.chosen(HOME=str(machine.root / "home")) == kept


def test_plain_python3_will_do_when_it_is_new_enough(machine: Machine) -> None:
    plain = machine.has("3.12", name="python3")
    assert machine.chosen() == plain


def test_one_that_can_make_environments_is_taken_before_a_newer_one_that_cannot(machine: Machine) -> None:
    machine.has("3.13", venv=False)
    able = machine.has("3.11")
    assert machine.chosen() == able


def test_without_any_the_sentence_says_what_to_install(machine: Machine) -> None:
    machine.has_broken("python3.13")
    sentence = machine.sentence()
    assert "3.11, 3.12, 3.13 or 3.14 is needed and none was found" in sentence
    assert "apt install python3 python3-venv" in sentence


def test_without_venv_the_sentence_names_the_package(machine: Machine) -> None:
    machine.has("3.11", venv=False)
    assert "apt install python3.11-venv" in machine.sentence()


def test_a_python_that_is_named_is_the_only_one_tried(machine: Machine) -> None:
    machine.has("3.14")
    named = machine.has("3.11", where="elsewhere")
    assert machine.chosen(LIFEBOAT_PYTHON=str(named)) == named


def test_a_named_python_that_does_not_run_is_said(machine: Machine) -> None:
    machine.has("3.14")
    broken = machine.has_broken("python3.13", where="elsewhere")
    assert f"LIFEBOAT_PYTHON={broken} is not a Python from 3.11 to 3.14 that runs" in machine.sentence(LIFEBOAT_PYTHON=str(broken))


def test_a_real_python_answers_the_question_that_is_asked(machine: Machine) -> None:
    """The made-up Pythons above answer anything; this one is asked for real."""
    done = subprocess.run(
        ["/bin/bash", "-euo", "pipefail", "-c", f". '{CHECKOUT}/bin/_env.sh'; choose_python", "bin/test"], capture_output=True, text=True
    )
    version = subprocess.run(
        [done.stdout.strip(), "-c", "import sys, venv, ensurepip; print(*sys.version_info[:2])"], capture_output=True, text=True
    )
    assert version.stdout.split()[0] == "3"
    assert 11 <= int(version.stdout.split()[1]) <= 14

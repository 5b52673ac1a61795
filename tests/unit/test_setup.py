# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""bin/_setup.py makes a thing once, also when many start at once, and never takes a half-made one for made."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]


def load_setup(cache: Path) -> Any:
    spec = importlib.util.spec_from_file_location("lifeboat_setup", CHECKOUT / "bin" / "_setup.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    sys.modules["lifeboat_setup"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    module.CACHE = cache
    return module


@pytest.fixture
def setup(tmp_path: Path) -> ModuleType:
    module: ModuleType = load_setup(tmp_path / "cache")
    return module


def slot(setup: Any, made_from: str = "one", family: str = "things/thing") -> Any:
    return setup.Slot(family=family, made_from=(made_from,), proof="proof", label="making a thing")


def make(path: Path) -> None:
    path.mkdir()
    (path / "proof").touch()


def never(_path: Path) -> None:
    raise AssertionError("made a second time")


def _hold_and_let_go(cache: Path, log: Path) -> None:
    def make_and_say_so(path: Path) -> None:
        with log.open("a") as line:
            line.write("made\n")
        make(path)

    slot(load_setup(cache)).hold(make_and_say_so)


def start_elsewhere(folder: Path, then: str = "") -> subprocess.Popen[bytes]:
    """A process of its own that holds the slot, does `then`, and lets go when it ends."""
    program = (
        "import os, sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import test_setup\n"
        f"test_setup._hold_and_let_go(Path(sys.argv[2]) / 'cache', Path(sys.argv[2]) / 'log')\n{then}"
    )
    argv = [sys.executable, "-c", program, str(Path(__file__).parent), str(folder)]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_what_is_made_is_not_made_again(setup: Any) -> None:
    made = slot(setup).hold(make)
    assert slot(setup).hold(never) == made


def test_what_is_made_from_something_else_is_made_beside_it(setup: Any) -> None:
    assert slot(setup, "one").hold(make) != slot(setup, "two").hold(make)


def test_a_half_made_one_is_made_anew(setup: Any) -> None:
    def stops_half_way(path: Path) -> None:
        make(path)
        (path / "remains").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        slot(setup).hold(stops_half_way)
    made = slot(setup).hold(make)
    assert sorted(os.listdir(made)) == [".made", "proof"]


def test_one_whose_python_went_away_is_made_anew(setup: Any, tmp_path: Path) -> None:
    assert start_elsewhere(tmp_path).wait(300) == 0
    made = slot(setup).path
    (made / "proof").unlink()
    (made / "proof").symlink_to("/nonexistent/python3")
    slot(setup).hold(make)
    assert not (made / "proof").is_symlink()


def test_of_many_that_start_at_once_one_makes_it(tmp_path: Path) -> None:
    starters = [start_elsewhere(tmp_path) for _ in range(6)]
    assert [starter.wait(300) for starter in starters] == [0] * 6
    assert (tmp_path / "log").read_text() == "made\n"


def test_an_old_one_goes_when_nobody_uses_it_and_stays_while_somebody_does(setup: Any, tmp_path: Path) -> None:
    used = slot(setup, "used").hold(make)  # this process holds it
    assert start_elsewhere(tmp_path).wait(300) == 0
    unused = slot(setup, "one").path
    assert unused.exists()
    newest = slot(setup, "two").hold(make)
    assert used.exists()
    assert newest.exists()
    assert not unused.exists()
    assert not unused.with_name(unused.name + ".lock").exists()


def test_the_lock_lasts_as_long_as_the_command_that_the_set_up_becomes(setup: Any, tmp_path: Path) -> None:
    with start_elsewhere(tmp_path, then="os.execvp('sh', ['sh', '-c', 'echo ready; read line'])") as command:
        assert command.stdout is not None
        assert command.stdout.readline() == b"ready\n"
        held = slot(setup).path
        slot(setup, "newer").hold(make)
        assert held.exists()
        command.communicate(b"\n")
    slot(setup, "newest").hold(make)
    assert not held.exists()


def test_a_failing_step_is_told_with_the_end_of_what_it_said(setup: Any, tmp_path: Path) -> None:
    with pytest.raises(setup.SetupError, match=r"exit status 3:\nno such package"):
        setup.run(["sh", "-c", "echo no such package >&2; exit 3"], tmp_path / "slot")


def test_the_list_of_what_stays_out_of_the_tarball_is_read_as_yaml_reads_it(setup: Any) -> None:
    galaxy = yaml.safe_load((CHECKOUT / "galaxy.yml").read_text(encoding="utf-8"))
    assert setup.build_ignore() == galaxy["build_ignore"]


def test_what_counts_as_source_is_what_the_tarball_holds(setup: Any) -> None:
    installed = Path(os.environ["ANSIBLE_COLLECTIONS_PATH"]) / "ansible_collections" / "lifeboat" / "postgres"
    if (installed / "galaxy.yml").exists():
        return  # run from a checkout that lies under ansible_collections, where nothing was built
    held = {path.relative_to(installed).as_posix() for path in installed.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert held - {"MANIFEST.json", "FILES.json"} == set(setup.source_files())


def test_a_locale_that_ansible_refuses_is_replaced(setup: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "xx_XX.ISO-8859-1")
    assert setup.utf8_locale()["LC_ALL"].endswith("UTF-8")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    assert setup.utf8_locale() == {}

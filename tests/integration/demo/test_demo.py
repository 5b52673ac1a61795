# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo, end to end: with nothing but wheels, as root and as an ordinary user at the same time, and interrupted."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[3]
SYSTEM_DIRECTORIES = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
HIDDEN = ("age", "zstd", "gpg", "pg_", "psql", "postgres", "initdb", "rclone", "unzstd", "zstdmt")
NOBODY = 65534
CASES = {
    "healthy backup": "passed",
    "untouched copy": "passed",
    "truncated artifact": "failed",
    "flipped bit": "failed",
    "missing volume": "failed",
    "wrong identity": "unverified",
    "one table's rows lost": "failed",
    "wrong master key": "failed",
    "invoice gap": "failed",
    "float money column": "failed",
    "to before the drop": "passed",
    "missing segment": "failed",
    "damaged segment": "failed",
}


@dataclass
class Demo:
    """A demo that runs or ran: its process, the directory it was started in, and what it printed."""

    process: subprocess.Popen[str]
    folder: Path
    output: str = ""

    def read_until(self, text: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if text in line:
                return
        raise AssertionError(f"the demo ended without saying {text!r}: {self.output}")

    def wait(self) -> Demo:
        self.output += self.process.communicate(timeout=1800)[0]
        return self

    def report(self) -> dict[str, Any]:
        return json.loads((self.folder / ".demo" / "report.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Stage:
    """Copies of Python, the collection and the demo that every user can read, and a PATH without backup tools."""

    python: Path
    environment: dict[str, str]
    demo: Path

    def start(self, folder: Path, user: int | None = None, mode: int = 0o755, before: Sequence[str] = ()) -> Demo:
        folder = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))  # a second attempt needs another one
        folder.chmod(mode)
        become: dict[str, Any] = {}
        if user is not None:
            os.chown(folder, user, user)
            become = {"user": user, "group": user, "extra_groups": []}
        process = subprocess.Popen(
            [*before, str(self.python), "-u", str(self.demo / "run.py")],
            cwd=folder,
            env={**self.environment, "HOME": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **become,
        )
        return Demo(process, folder)


@pytest.fixture(scope="module")
def temporary() -> Iterator[Path]:
    """The demos' TMPDIR: its path is short enough for their sockets, and no demo of anybody else lies in it."""
    folder = Path(tempfile.mkdtemp(prefix="demo-", dir="/tmp"))
    folder.chmod(0o1777)
    try:
        yield folder
    finally:
        with contextlib.suppress(AssertionError):
            _eventually(lambda: not _remains(folder), 60)
        remains = _remains(folder)
        shutil.rmtree(folder)
    assert not remains, "a demo left something behind"


@pytest.fixture(scope="module")
def stage(temporary: Path) -> Iterator[Stage]:
    """A stage that every user can read."""
    with _stage(temporary, 0o755) as made:
        yield made


@pytest.fixture(scope="module")
def private_stage(temporary: Path) -> Iterator[Stage]:
    """A stage that only we can read, as a checkout below /root is."""
    with _stage(temporary, 0o700) as made:
        yield made


@contextlib.contextmanager
def _stage(temporary: Path, mode: int) -> Iterator[Stage]:
    root = Path(tempfile.mkdtemp(prefix="demo-stage-", dir="/tmp"))
    root.chmod(mode)
    try:
        python = _readable_python(root)
        collection = root / "collections" / "ansible_collections" / "lifeboat" / "postgres"
        for part in ("plugins", "meta", "galaxy.yml"):
            _copy(CHECKOUT / part, collection / part)
        _copy(CHECKOUT / "demo", root / "demo")
        environment = {
            "PATH": f"{python.parent}:{_path_without_backup_tools(root)}",
            "PYTHONPATH": str(root / "collections"),
            "ANSIBLE_COLLECTIONS_PATH": str(root / "collections"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "LANG": "C.UTF-8",
            "TMPDIR": str(temporary),
        }
        if (root / "base").exists():
            environment["LD_LIBRARY_PATH"] = str(root / "base" / "lib")  # the copied Python's own library
        yield Stage(python, environment, root / "demo")
    finally:
        shutil.rmtree(root)


@pytest.fixture(scope="module")
def work() -> Iterator[Path]:
    """Where demos are started; not pytest's directory, which other users cannot enter."""
    folder = Path(tempfile.mkdtemp(prefix="demo-work-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def demos(stage: Stage, private_stage: Stage, work: Path) -> dict[str, Demo]:
    """One demo as ourselves and, when we are root, one as an ordinary user beside it."""
    started = {"ourselves": private_stage.start(work / "ourselves")}
    if os.geteuid() == 0:
        started["ordinary user"] = stage.start(work / "ordinary", NOBODY)
    return {name: demo.wait() for name, demo in started.items()}


@pytest.mark.parametrize("who", ["ourselves", pytest.param("ordinary user", marks=pytest.mark.needs("root"))])
class TestDemo:
    def test_every_expectation_holds(self, demos: dict[str, Demo], who: str) -> None:
        demo = demos[who]
        assert demo.process.returncode == 0, demo.output
        assert {case["name"]: case["verdict"] for case in demo.report()["cases"]} == CASES

    def test_every_case_says_why_and_how_long(self, demos: dict[str, Demo], who: str) -> None:
        for case in demos[who].report()["cases"]:
            assert {"name", "expected", "verdict", "reason", "seconds"} <= set(case)
            assert case["expected"] == case["verdict"]
            assert case["reason"]
            assert case["seconds"] > 0

    def test_the_healthy_drill_is_measured(self, demos: dict[str, Demo], who: str) -> None:
        drill = demos[who].report()["drill"]
        assert drill["verdict"] == "passed"
        assert drill["objective"]["met"] is True
        assert 0 < drill["service_ready_seconds"] <= drill["verified_seconds"] < 3600
        assert 0 < drill["rpo_seconds"] < 3600
        assert drill["teardown"]["complete"] is True
        assert drill["isolation"]["isolated"] is True or "isolation" in drill["waived"]

    def test_the_moment_before_the_mistake_is_back(self, demos: dict[str, Demo], who: str) -> None:
        recovery = demos[who].report()["recovery"]
        assert recovery["verdict"] == "passed"
        assert recovery["recovery"]["target"].startswith("time ")
        assert recovery["recovery"]["segments"] >= 3
        asked = [check for check in recovery["checks"] if check["name"].startswith("must")]
        assert [check["verdict"] for check in asked] == ["passed"] * 3
        said = {case["name"]: case["reason"] for case in demos[who].report()["cases"]}
        assert "is missing between" in said["missing segment"]

    def test_the_shop_has_all_that_makes_a_restore_hard(self, demos: dict[str, Demo], who: str) -> None:
        found = {check["name"]: check["found"] for check in demos[who].report()["drill"]["checks"]}
        assert "vector" in found["extensions"]
        assert found["large objects"].startswith("1 object")
        assert int(found["row counts"].split()[0]) > 300_000

    def test_pages_for_people_are_written(self, demos: dict[str, Demo], who: str) -> None:
        folder = demos[who].folder / ".demo"
        assert {path.name for path in folder.iterdir()} == {"report.json", "report.html", "report.md", "recovery.html"}
        assert "<html" in (folder / "report.html").read_text(encoding="utf-8")
        assert "RTO" in (folder / "report.md").read_text(encoding="utf-8")

    def test_the_output_fits_a_terminal_and_has_no_colours_in_a_pipe(self, demos: dict[str, Demo], who: str) -> None:
        lines = demos[who].output.splitlines()
        assert max(map(len, lines)) <= 100
        assert "\033" not in demos[who].output
        assert all(any(line.startswith(name) for line in lines) for name in CASES)

    def test_no_key_is_printed_or_kept(self, demos: dict[str, Demo], who: str) -> None:
        kept = "".join(path.read_text(encoding="utf-8") for path in (demos[who].folder / ".demo").iterdir())
        for secret in ("AGE-SECRET-KEY", "PRIVATE KEY", "tax id"):
            assert secret not in demos[who].output + kept


@pytest.mark.usefixtures("usual_signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_tidies_up(stage: Stage, temporary: Path, work: Path, number: signal.Signals) -> None:
    demo = stage.start(work / number.name)
    demo.read_until("healthy backup")  # the bad backups are being taken now
    demo.process.send_signal(number)
    assert demo.wait().process.returncode == 130, demo.output
    assert "Interrupted" in demo.output
    assert not (demo.folder / ".demo").exists()
    _eventually(lambda: not _remains(temporary))


@pytest.mark.needs("root", "userns")
@pytest.mark.usefixtures("usual_signals")
def test_where_nothing_can_be_isolated_that_is_waived_and_said(stage: Stage, work: Path) -> None:
    no_more_namespaces = "echo 1 > /proc/sys/user/max_user_namespaces"  # but the one that maps the user back
    back = f"unshare --user --map-user={NOBODY} --map-group={NOBODY}"
    prefix = ("unshare", "--user", "--map-root-user", "sh", "-c", f'{no_more_namespaces} && exec {back} "$@"', "sh")
    demo = stage.start(work / "bare", NOBODY, before=prefix)
    demo.read_until("the shop, while it sells")
    demo.process.send_signal(signal.SIGINT)
    demo.wait()
    assert "waived by name (isolation)" in " ".join(demo.output.split())


def test_without_a_place_for_its_reports_it_says_so_at_once(stage: Stage, work: Path) -> None:
    folder = work / "unwritable"
    demo = stage.start(folder, NOBODY if os.geteuid() == 0 else None, mode=0o555)
    assert demo.wait().process.returncode == 2
    assert "cannot be written" in demo.output
    assert "production" not in demo.output


def test_killed_its_servers_end_and_the_next_one_removes_its_directory(stage: Stage, temporary: Path, work: Path) -> None:
    demo = stage.start(work / "killed")
    demo.read_until("rows")  # production runs
    demo.process.kill()
    demo.process.wait()
    _eventually(lambda: not _orphans(temporary))
    _eventually(lambda: len(_remains(temporary)) == 1)
    code = "import places; places.sweep(places.short_directory())"
    subprocess.run([str(stage.python), "-c", code], cwd=stage.demo, env=stage.environment, check=True)
    _eventually(lambda: not _remains(temporary))


def _remains(temporary: Path) -> set[str]:
    """The demos' directories, and processes that lost their parent and became ours."""
    return {path.name for path in temporary.iterdir()} | {f"process {pid}" for pid in _orphans(temporary)}


def _orphans(temporary: Path) -> set[int]:
    """Living processes that a demo started and that have its directory in their command line."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if state != "Z" and os.fsencode(f"{temporary}/lifeboat-demo-") in command:
                found.add(int(entry.name))
    return found


def _eventually(condition: Any, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)


def _readable_python(root: Path) -> Path:
    """This Python with its packages, copied below `root` where another user could not read it in its own place."""
    _copy(Path(sys.prefix), root / "venv")
    base = Path(sys.base_prefix)
    if sys.prefix == sys.base_prefix or _readable(base):
        return root / "venv" / "bin" / Path(sys.executable).name
    _copy(base, root / "base")
    program = root / "base" / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    python = root / "venv" / "bin" / "python"
    python.unlink()
    python.symlink_to(program)
    configuration = root / "venv" / "pyvenv.cfg"
    configuration.unlink()  # it is a hard link, and the file behind it is the real environment's
    configuration.write_text(f"home = {program.parent}\ninclude-system-site-packages = false\n")
    return python


def _readable(folder: Path) -> bool:
    """Whether everybody can pass through all folders above."""
    return all(parent.stat().st_mode & 0o005 == 0o005 for parent in (folder, *folder.parents))


def _copy(source: Path, target: Path) -> None:
    """A copy by hard links where that is possible, without what the demo does not need."""
    if source.is_file():
        shutil.copy(source, target)
        return
    ignored = shutil.ignore_patterns("__pycache__", "ansible_collections", "sphinx", "mypy", "*.a")
    shutil.copytree(source, target, symlinks=True, ignore=ignored, copy_function=_link_or_copy)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def _path_without_backup_tools(root: Path) -> Path:
    """One directory of links to the system's programs, but for those that the wheels have to replace."""
    folder = root / "bin"
    folder.mkdir()
    for directory in map(Path, SYSTEM_DIRECTORIES):
        for program in directory.iterdir() if directory.is_dir() else ():
            link = folder / program.name
            if not program.name.startswith(HIDDEN) and not link.is_symlink():
                link.symlink_to(program)
    return folder

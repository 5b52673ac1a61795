# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The law of delivering: 0 for the file as it was archived, 1 for what is certainly not there, and never 1 for anything else."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import cli
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal import push
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.archive import LARGEST_BYTES
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.fetch import fetch_for_server
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.push import push_file
from support.logical import Identity, new_identity, posix
from support.wal import Place, RealWal, archive_place, job_options, run_wal, write_job

pytestmark = pytest.mark.usefixtures("no_ambient_aws")


class Recovering:
    """A server's directory that recovers, as the command sees it; `said` is what the server's log would hold."""

    def __init__(self, wal: RealWal, repositories: Mapping[str, Any], keys: Identity, work: Path, **more: Any) -> None:
        self.data = work / "recovering"
        (self.data / "pg_wal").mkdir(parents=True)
        shutil.copytree(wal.data / "global", self.data / "global")
        shutil.copy(wal.data / "PG_VERSION", self.data)
        self.job = wal.job(repositories, keys, work / "run", **{"data_dir": str(self.data), **more})
        self.said: list[str] = []

    def fetch(self, name: str, in_standby: bool = False) -> int:
        self.said.clear()
        return fetch_for_server(name, str(self.target), lambda: self.job, self.said.append, in_standby)

    @property
    def target(self) -> Path:
        return self.data / "pg_wal" / "RECOVERYXLOG"

    @property
    def words(self) -> str:
        return "\n".join(self.said)

    def refuses(self, name: str, words: str) -> None:
        """Trouble, said in these words, and nothing is there that the server could take for the file."""
        assert self.fetch(name) == 126
        assert words in self.words
        assert os.listdir(self.target.parent) == []
        # A standby goes on asking.
        assert self.fetch(name, in_standby=True) == 1
        assert words in self.words
        assert os.listdir(self.target.parent) == []


@pytest.fixture
def archived(wal18: RealWal, place: Place, keys: Identity, tmp_path: Path) -> Place:
    """A repository that holds everything but the last segment."""
    job = wal18.job({"here": place.spec}, keys, tmp_path / "run")
    for name in wal18.everything:
        if name != wal18.segments[-1]:
            push_file(wal18.path(name), job)
    return place


@pytest.fixture
def recovering(wal18: RealWal, archived: Place, keys: Identity, tmp_path: Path) -> Recovering:
    return Recovering(wal18, {"here": archived.spec}, keys, tmp_path)


def stored(place: Place, name: str) -> Path:
    (path,) = place.files()[name]
    return path


def test_the_status_tells_delivered_from_missing(wal18: RealWal, recovering: Recovering) -> None:
    name = wal18.segments[1]
    assert recovering.fetch(name) == 0
    assert recovering.target.read_bytes() == wal18.read(name)
    recovering.target.unlink()
    for missing in (wal18.segments[-1], "00000007.history"):
        assert recovering.fetch(missing) == 1
        assert recovering.said == [f"{missing} is not in the archive"]
    assert os.listdir(recovering.target.parent) == []


class TestTrouble:
    """None of it may be read as the end of the log."""

    def test_one_flipped_bit(self, wal18: RealWal, archived: Place, recovering: Recovering) -> None:
        path = stored(archived, wal18.segments[1])
        data = bytearray(path.read_bytes())
        for offset in (len(data) // 2, len(data) - 3):
            data[offset] ^= 4
            path.write_bytes(data)
            recovering.refuses(wal18.segments[1], "is damaged")

    def test_a_cut_copy(self, wal18: RealWal, archived: Place, recovering: Recovering) -> None:
        path = stored(archived, wal18.segments[1])
        for size in (path.stat().st_size - 1, path.stat().st_size // 2, 10, 0):
            os.truncate(path, size)
            recovering.refuses(wal18.segments[1], "was not delivered")

    def test_another_segments_copy_under_this_name(self, wal18: RealWal, archived: Place, recovering: Recovering) -> None:
        shutil.copy(stored(archived, wal18.segments[2]), stored(archived, wal18.segments[1]))
        recovering.refuses(wal18.segments[1], "its content has another digest")

    def test_another_segments_copy_with_its_digest(self, wal18: RealWal, archived: Place, recovering: Recovering) -> None:
        """Whoever can write there can make the digest right; the header still says which segment it is."""
        name, other = wal18.segments[1], stored(archived, wal18.segments[2])
        stored(archived, name).unlink()
        other.rename(other.with_name(other.name.replace(wal18.segments[2], name)))
        recovering.refuses(name, "holds another segment's content")

    def test_two_contents_of_one_name(self, wal18: RealWal, archived: Place, recovering: Recovering) -> None:
        path = stored(archived, wal18.segments[1])
        shutil.copy(path, path.with_name(f"{wal18.segments[1]}-{'0' * 64}.zst.age"))
        recovering.refuses(wal18.segments[1], "CONFLICT")

    def test_something_that_swells_beyond_every_segment(
        self, wal18: RealWal, archived: Place, recovering: Recovering, keys: Identity
    ) -> None:
        packed = subprocess.run(
            f"head -c {LARGEST_BYTES + 1} /dev/zero | zstd -1 -q | age -r {keys.recipient}", shell=True, capture_output=True, check=True
        ).stdout
        stored(archived, wal18.segments[1]).write_bytes(packed)
        recovering.refuses(wal18.segments[1], "holds more than")

    def test_a_wrong_identity_and_none(self, wal18: RealWal, archived: Place, keys: Identity, tmp_path: Path) -> None:
        stranger = new_identity(tmp_path / "stranger")
        wrong = Recovering(wal18, {"here": archived.spec}, keys, tmp_path / "wrong", identity_file=str(stranger.file))
        wrong.refuses(wal18.segments[1], "does not open")
        none = Recovering(wal18, {"here": archived.spec}, keys, tmp_path / "none", identity_file="")
        none.refuses(wal18.segments[1], "needs the identity")
        gone = Recovering(wal18, {"here": archived.spec}, keys, tmp_path / "gone", identity_file=str(tmp_path / "nowhere"))
        gone.refuses(wal18.segments[1], "nowhere")

    def test_a_repository_that_is_away(self, wal18: RealWal, archived: Place, recovering: Recovering) -> None:
        archived.root.rename(archived.root.with_name(f"{archived.root.name}-away"))
        try:
            recovering.refuses(wal18.segments[1], "does not exist")
            # Also for what was never archived: nobody could look.
            recovering.refuses(wal18.segments[-1], "does not exist")
        finally:
            archived.root.with_name(f"{archived.root.name}-away").rename(archived.root)

    def test_an_empty_archive_is_a_wrong_one(self, wal18: RealWal, keys: Identity, tmp_path: Path) -> None:
        Recovering(wal18, {"here": archive_place().spec}, keys, tmp_path).refuses(wal18.segments[1], "no WAL archive of system 'shop'")

    def test_another_clusters_archive(self, wal15: RealWal, wal18: RealWal, keys: Identity, tmp_path: Path) -> None:
        place = archive_place()
        push_file(wal15.path(wal15.segments[1]), wal15.job({"here": place.spec}, keys, tmp_path / "run"))
        recovering = Recovering(wal18, {"here": place.spec}, keys, tmp_path)
        recovering.refuses(wal15.segments[1], f"is that of cluster {wal15.system_identifier}")
        recovering.refuses("0000000100000000000000AA", f"is that of cluster {wal15.system_identifier}")

    def test_a_place_that_cannot_be_written(self, wal18: RealWal, recovering: Recovering) -> None:
        recovering.target.parent.rmdir()
        assert recovering.fetch(wal18.segments[1]) == 126
        assert "cannot be written" in recovering.words

    @pytest.mark.parametrize("name", ["", "nonsense", "../../etc/passwd", "0000000100000000000000a1", "000000010000000000000001.gz"])
    def test_a_name_that_is_none(self, recovering: Recovering, name: str) -> None:
        recovering.refuses(name, "is not the name of a WAL file")

    def test_whatever_was_not_thought_of(self, wal18: RealWal, recovering: Recovering, monkeypatch: pytest.MonkeyPatch) -> None:
        def surprise(*_arguments: Any) -> Any:
            raise ZeroDivisionError("by the test")

        monkeypatch.setattr(hashlib, "sha256", surprise)
        recovering.refuses(wal18.segments[1], "ZeroDivisionError")


class TestSeveral:
    def test_a_damaged_copy_is_passed_by(self, wal18: RealWal, keys: Identity, tmp_path: Path) -> None:
        bad, good = archive_place(), archive_place()
        both = {"bad": bad.spec, "good": good.spec}
        push_file(wal18.path(wal18.segments[1]), wal18.job(both, keys, tmp_path / "run"))
        os.truncate(stored(bad, wal18.segments[1]), 1000)
        recovering = Recovering(wal18, both, keys, tmp_path)
        assert recovering.fetch(wal18.segments[1]) == 0
        assert recovering.target.read_bytes() == wal18.read(wal18.segments[1])
        assert "came from repository 'good', after" in recovering.words
        # That one of them is damaged is no reason to believe the other that a file never existed ...
        shutil.rmtree(bad.root)
        recovering.target.unlink()
        recovering.refuses("0000000100000000000000AA", "does not exist")
        # ... and an optional one is not needed for it.
        ours = {"bad": {**bad.spec, "optional": True}, "good": good.spec}
        assert Recovering(wal18, ours, keys, tmp_path / "optional").fetch("0000000100000000000000AA") == 1

    def test_what_only_an_optional_one_has_is_delivered(
        self, wal18: RealWal, keys: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(push, "OPTIONAL_GRACE_SECONDS", 300.0)  # on a busy machine one that is not down may be slow
        here, attic = archive_place(), archive_place()
        both = {"attic": {**attic.spec, "optional": True}, "here": here.spec}
        push_file(wal18.path(wal18.segments[1]), wal18.job(both, keys, tmp_path / "run"))
        stored(here, wal18.segments[1]).unlink()
        assert Recovering(wal18, both, keys, tmp_path).fetch(wal18.segments[1]) == 0


class TestCommand:
    """As PostgreSQL calls it."""

    def job_file(self, archived: Place, keys: Identity, work: Path, **more: Any) -> Path:
        return write_job(work / "wal.json", job_options({"here": archived.spec}, keys, work / "run", identity_file=str(keys.file), **more))

    def test_it_answers_with_the_status_and_says_why(self, wal18: RealWal, archived: Place, keys: Identity, tmp_path: Path) -> None:
        file = self.job_file(archived, keys, tmp_path)
        (tmp_path / "pg_wal").mkdir()
        done = run_wal(file, "fetch", wal18.segments[1], "pg_wal/RECOVERYXLOG", cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert (tmp_path / "pg_wal" / "RECOVERYXLOG").read_bytes() == wal18.read(wal18.segments[1])
        done = run_wal(file, "fetch", wal18.segments[-1], "pg_wal/RECOVERYXLOG", cwd=tmp_path)
        assert (done.returncode, "is not in the archive" in done.stderr) == (1, True)

    def test_no_mistake_in_the_job_or_in_the_words_is_the_end_of_the_log(
        self, wal18: RealWal, archived: Place, keys: Identity, tmp_path: Path
    ) -> None:
        name = wal18.segments[1]
        wrong: list[tuple[Path, tuple[str, ...]]] = [
            (tmp_path / "nowhere.json", ("fetch", name, "x")),
            (self.job_file(archived, keys, tmp_path), ("fetch", name)),
            (self.job_file(archived, keys, tmp_path), ("fetch", name, "x", "y")),
        ]
        for file, words in wrong:
            done = run_wal(file, *words, cwd=tmp_path)
            assert (done.returncode, "Traceback" in done.stderr) == (126, False), done.stderr
        done = run_wal(self.job_file(archived, keys, tmp_path, sytem="shop"), "fetch", name, "x", cwd=tmp_path)
        assert (done.returncode, "Did you mean 'system'" in done.stderr) == (126, True)
        (tmp_path / "standby.signal").touch()
        assert run_wal(self.job_file(archived, keys, tmp_path, sytem="shop"), "fetch", name, "x", cwd=tmp_path).returncode == 1

    def test_no_library_that_is_broken_is_the_end_of_the_log(self, tmp_path: Path) -> None:
        program = f"""
import sys
sys.modules["ansible_collections.lifeboat.postgres.plugins.module_utils.wal.job"] = None
from {cli.__name__} import main
sys.exit(main(["wal", "-c", "x", "fetch", "000000010000000000000001", "y"]))
"""
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        )
        assert (done.returncode, "ModuleNotFoundError" in done.stderr, "Traceback" in done.stderr) == (126, True, False)


def test_a_sealed_copy_by_another_method_is_found_by_its_name(wal18: RealWal, keys: Identity, tmp_path: Path) -> None:
    """The method was changed: what was archived before is still the same content."""
    posix(tmp_path / "here")
    repositories = {"here": {"type": "posix", "path": str(tmp_path / "here")}}
    plain = wal18.job(repositories, keys, tmp_path / "run", encryption={"method": "none"})
    sealed = wal18.job(repositories, keys, tmp_path / "run")
    assert push_file(wal18.path(wal18.segments[0]), plain).stored == {"here": True}
    assert push_file(wal18.path(wal18.segments[0]), sealed).stored == {"here": False}
    assert push_file(wal18.path(wal18.segments[1]), sealed).stored == {"here": True}
    recovering = Recovering(wal18, repositories, keys, tmp_path)
    for name in wal18.segments[:2]:
        assert recovering.fetch(name) == 0
        assert recovering.target.read_bytes() == wal18.read(name)

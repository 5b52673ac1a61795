# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The law of archiving: a push succeeds if and only if every required repository holds the file durably."""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import subprocess
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ArchiveError, LifeboatError, RepositoryError, WalConflict
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal import push, sealed
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.archive import StoredWal, WalArchive
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.catch_up import catch_up
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.fetch import fetch_file
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.push import Pusher, push_file
from support.leaks import eventually, leaves_nothing
from support.logical import Identity, posix
from support.wal import Place, RealWal, command_line, job_options, run_wal, write_job

pytestmark = pytest.mark.usefixtures("no_ambient_aws")


def stored_in(spec: Mapping[str, Any]) -> dict[str, list[StoredWal]]:
    """What a repository lists, by name."""
    found: dict[str, list[StoredWal]] = {}
    with open_repository("reader", spec, read_only=True) as repository:
        for stored in WalArchive(repository, "shop").names():
            found.setdefault(stored.name.text, []).append(stored)
    return found


def everything_in(spec: Mapping[str, Any]) -> dict[str, tuple[int, Any]]:
    """Every object with what tells one from another, to see that nothing was touched."""
    with open_repository("reader", spec, read_only=True) as repository:
        return {found.key: (found.size_bytes, found.mark) for found in repository.list()}


def test_every_kind_of_file_lies_there_under_the_digest_of_its_content_and_comes_back(
    wal18: RealWal, spec: dict[str, Any], keys: Identity, tmp_path: Path
) -> None:
    job = wal18.job({"here": spec}, keys, tmp_path / "run")
    with leaves_nothing(), Pusher(job) as pusher:
        for name in wal18.everything:
            result = pusher.push(wal18.path(name))
            assert result.stored == {"here": True}
    found = stored_in(spec)
    assert set(found) == set(wal18.everything)
    for name in wal18.everything:
        (stored,) = found[name]
        assert stored.sha256 == hashlib.sha256(wal18.read(name)).hexdigest()
        assert fetch_file(name, tmp_path / "back", job)
        assert (tmp_path / "back").read_bytes() == wal18.read(name)
    with open_repository("reader", spec) as repository:
        identity = WalArchive(repository, "shop").identity()
        raw = repository.read(found[wal18.segments[0]][0].key)
    assert identity is not None
    assert (identity.system_identifier, identity.server_version_num, identity.segment_bytes) == (wal18.system_identifier, 180000, 2**20)
    assert raw.startswith(b"age-encryption.org/v1")


def test_what_both_majors_wrote_is_opened_by_standard_programs(wal: RealWal, place: Place, keys: Identity, tmp_path: Path) -> None:
    job = wal.job({"here": place.spec}, keys, tmp_path / "run")
    for name in wal.everything:
        push_file(wal.path(name), job)
        assert place.opened(name, keys) == wal.read(name)
    assert place.remains() == []


def test_what_is_there_already_is_success_and_nothing_is_sent_again(
    wal18: RealWal, spec: dict[str, Any], keys: Identity, tmp_path: Path
) -> None:
    job = wal18.job({"here": spec}, keys, tmp_path / "run")
    with Pusher(job) as pusher:
        for name in wal18.everything:
            pusher.push(wal18.path(name))
    before = everything_in(spec)
    with Pusher(job) as pusher:
        for name in wal18.everything:
            assert pusher.push(wal18.path(name)).stored == {"here": False}
    assert everything_in(spec) == before


def test_another_content_under_the_same_name_is_refused_loudly_and_changes_nothing(
    wal18: RealWal, spec: dict[str, Any], keys: Identity, tmp_path: Path
) -> None:
    names = (wal18.segments[1], wal18.history, wal18.partial, wal18.backup)
    with Pusher(wal18.job({"here": spec}, keys, tmp_path / "run")) as pusher:
        for name in names:
            pusher.push(wal18.path(name))
    before = everything_in(spec)
    other = wal18.copy(tmp_path / "other")
    with Pusher(other.job({"here": spec}, keys, tmp_path / "run")) as pusher:
        for name in names:
            data = other.read(name)
            other.path(name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
            with pytest.raises(WalConflict, match=f"CONFLICT: the archive holds {name} with another content .*stop one of them"):
                pusher.push(other.path(name))
    assert everything_in(spec) == before


def test_an_archive_belongs_to_one_cluster(wal15: RealWal, wal18: RealWal, spec: dict[str, Any], keys: Identity, tmp_path: Path) -> None:
    push_file(wal18.path(wal18.segments[0]), wal18.job({"here": spec}, keys, tmp_path / "run"))
    before = everything_in(spec)
    with Pusher(wal15.job({"here": spec}, keys, tmp_path / "run")) as pusher:
        for name in (wal15.segments[-1], wal15.history, wal15.partial, wal15.backup):
            with pytest.raises(WalConflict) as caught:
                pusher.push(wal15.path(name))
            assert f"belongs to cluster {wal18.system_identifier}" in str(caught.value)
            assert f"this is {wal15.system_identifier}" in str(caught.value)
            assert "a system of its own" in str(caught.value)
    assert everything_in(spec) == before


def test_the_same_cluster_in_another_major_version_is_another_one(wal18: RealWal, place: Place, keys: Identity, tmp_path: Path) -> None:
    push_file(wal18.path(wal18.segments[0]), wal18.job({"here": place.spec}, keys, tmp_path / "run"))
    other = wal18.copy(tmp_path / "other")
    path = other.path(other.segments[1])
    path.write_bytes(struct.pack("<H", 0xD116) + path.read_bytes()[2:])
    with pytest.raises(WalConflict, match=r"\(PostgreSQL 18\), this is .*\(PostgreSQL 17\)"):
        push_file(path, other.job({"here": place.spec}, keys, tmp_path / "run"))


def damage_cut(wal: RealWal, name: str) -> None:
    os.truncate(wal.path(name), wal.path(name).stat().st_size // 40)


def damage_zeros(wal: RealWal, name: str) -> None:
    wal.path(name).write_bytes(bytes(2**20))


def damage_swapped(wal: RealWal, name: str) -> None:
    shutil.copy(wal.path(wal.segments[0]), wal.path(name))


def damage_directory(wal: RealWal, name: str) -> None:
    wal.path(name).unlink()
    wal.path(name).mkdir()


@pytest.mark.parametrize("kind", ["segment", "partial", "history", "backup"])
@pytest.mark.parametrize("damage", [damage_cut, damage_zeros, damage_swapped, damage_directory])
def test_a_content_that_is_not_its_names_is_never_archived(
    wal18: RealWal, place: Place, keys: Identity, tmp_path: Path, damage: Any, kind: str
) -> None:
    other = wal18.copy(tmp_path / "other")
    name = other.segments[2] if kind == "segment" else getattr(other, kind)
    damage(other, name)
    with pytest.raises(ArchiveError):
        push_file(other.path(name), other.job({"here": place.spec}, keys, tmp_path / "run"))
    assert list(place.root.iterdir()) == []


def test_a_history_alone_says_nothing_of_its_cluster(wal18: RealWal, place: Place, keys: Identity, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    shutil.copy(wal18.path(wal18.history), spool)
    job = wal18.job({"here": place.spec}, keys, tmp_path / "run")
    with pytest.raises(ArchiveError, match="Push a segment first"):
        push_file(spool / wal18.history, job)
    push_file(wal18.path(wal18.segments[0]), job)
    assert push_file(spool / wal18.history, job).stored == {"here": True}


def test_one_that_holds_it_keeps_it_while_another_is_down_and_the_retry_sends_only_what_lacks(
    wal18: RealWal, place: Place, keys: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = tmp_path / "away"
    job = wal18.job({"here": place.spec, "offsite": {"type": "posix", "path": str(away)}}, keys, tmp_path / "run")
    path = wal18.path(wal18.segments[1])
    with Pusher(job) as pusher:
        for _attempt in range(2):
            with pytest.raises(RepositoryError, match="does not exist") as caught:
                pusher.push(path)
            assert caught.value.result["stored"] == ["here"]
            assert list(caught.value.result["failed"]) == ["offsite"]
        assert place.names() == [path.name]
        posix(away)
        assert pusher.push(path).stored == {"here": False, "offsite": True}
        # Everybody has it: nothing needs to be sealed any more to find that out.
        monkeypatch.setattr(pusher, "_sealer", None)
        assert pusher.push(path).stored == {"here": False, "offsite": False}


def test_a_conflict_in_one_repository_is_told_before_the_fault_of_another(
    wal18: RealWal, place: Place, keys: Identity, tmp_path: Path
) -> None:
    other = wal18.copy(tmp_path / "other")
    data = other.read(other.segments[1])
    other.path(other.segments[1]).write_bytes(data[:-1] + b"x")
    push_file(wal18.path(wal18.segments[1]), wal18.job({"here": place.spec}, keys, tmp_path / "run"))
    both = {"away": {"type": "posix", "path": str(tmp_path / "away")}, "here": place.spec}
    with pytest.raises(WalConflict, match=r"CONFLICT.*away: the repository's directory does not exist"):
        push_file(other.path(other.segments[1]), other.job(both, keys, tmp_path / "run"))


class TestOptional:
    """A repository that nobody waits for is noted, and caught up from the others."""

    @pytest.fixture(autouse=True)
    def _busy_machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nobody waits for one that is down; one that is only slow gets here what time it needs."""
        monkeypatch.setattr(push, "OPTIONAL_GRACE_SECONDS", 300.0)
        monkeypatch.setattr(push, "CLOSING_SECONDS", 300.0)

    @pytest.fixture
    def attic(self, tmp_path: Path) -> dict[str, Any]:
        return {"type": "posix", "path": str(tmp_path / "attic"), "optional": True}

    @pytest.mark.parametrize("everything", [False, True], ids=["by its notes", "by comparing"])
    def test_it_gets_what_it_missed(
        self, wal18: RealWal, place: Place, attic: dict[str, Any], keys: Identity, tmp_path: Path, everything: bool
    ) -> None:
        job = wal18.job({"attic": attic, "here": place.spec}, keys, tmp_path / "run")
        for name in wal18.everything:
            result = push_file(wal18.path(name), job)
            assert result.stored == {"here": True}
            assert list(result.behind) == ["attic"]
        assert catch_up(job)["attic"].status == RepositoryError.exit_code
        posix(tmp_path / "attic")
        if everything:
            shutil.rmtree(tmp_path / "run")
        answer = catch_up(job, everything=everything)["attic"]
        assert (answer.copied, answer.missing, answer.reason) == (len(wal18.everything), 0, "")
        assert everything_in(attic).keys() == everything_in(place.spec).keys()
        for name in wal18.everything:
            assert Place(tmp_path / "attic").opened(name, keys) == wal18.read(name)
        assert catch_up(job, everything=True)["attic"].copied == 0
        assert push_file(wal18.path(wal18.segments[0]), job).stored == {"here": False, "attic": False}

    def test_it_gets_what_it_missed_while_the_next_files_are_archived(
        self, wal18: RealWal, place: Place, attic: dict[str, Any], keys: Identity, tmp_path: Path
    ) -> None:
        job = wal18.job({"attic": attic, "here": place.spec}, keys, tmp_path / "run")
        *missed, second_last, last = wal18.segments
        with Pusher(job) as pusher:
            for name in missed:
                assert pusher.push(wal18.path(name)).behind
            posix(tmp_path / "attic")
            pusher.behind.is_up("attic")  # as after a minute
            assert pusher.push(wal18.path(second_last)).stored == {"here": True, "attic": True}
            eventually(lambda: not pusher.behind.names("attic"), "it has caught up")
        assert everything_in(attic).keys() == everything_in(place.spec).keys()
        # One process per file: it sends one more, and does not hold the archiver up with all of them.
        for name in missed[:3]:
            pusher.behind.note("attic", name)
            Place(tmp_path / "attic").files()[name][0].unlink()
        with Pusher(job) as once:
            once._closing.set()  # as it is a moment later: else it is for the threads to say whether one was sent by then, or two
            assert once.push(wal18.path(last)).stored == {"here": True, "attic": True}
        assert pusher.behind.names("attic") == missed[1:3]

    def test_one_alone_is_no_archive(self, wal18: RealWal, attic: dict[str, Any], keys: Identity, tmp_path: Path) -> None:
        with pytest.raises(LifeboatError, match="every repository is optional"):
            wal18.job({"attic": attic}, keys, tmp_path / "run")

    def test_it_does_not_make_up_for_a_required_one(self, wal18: RealWal, attic: dict[str, Any], keys: Identity, tmp_path: Path) -> None:
        posix(tmp_path / "attic")
        job = wal18.job({"attic": attic, "here": {"type": "posix", "path": str(tmp_path / "gone")}}, keys, tmp_path / "run")
        with pytest.raises(RepositoryError, match="does not exist"):
            push_file(wal18.path(wal18.segments[0]), job)


def test_a_segment_larger_than_memory_is_streamed_and_is_the_same(
    wal18: RealWal, spec: dict[str, Any], keys: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealed, "IN_MEMORY_BYTES", 64 * 1024)
    job = wal18.job({"here": spec}, keys, tmp_path / "run")
    name = wal18.segments[-1]
    assert push_file(wal18.path(name), job).stored == {"here": True}
    assert push_file(wal18.path(name), job).stored == {"here": False}
    (stored,) = stored_in(spec)[name]
    assert stored.sha256 == hashlib.sha256(wal18.read(name)).hexdigest()
    assert fetch_file(name, tmp_path / "back", job)
    assert (tmp_path / "back").read_bytes() == wal18.read(name)


def test_a_file_that_changes_while_it_is_streamed_is_not_archived(
    wal18: RealWal, place: Place, keys: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealed, "IN_MEMORY_BYTES", 64 * 1024)
    other = wal18.copy(tmp_path / "other")
    path = other.path(other.segments[0])

    def change() -> None:
        data = path.read_bytes()
        path.write_bytes(data[:-1] + b"x")

    with Pusher(other.job({"here": place.spec}, keys, tmp_path / "run")) as pusher, pytest.raises(LifeboatError, match="changed while"):
        pusher.push(path, after_reading=change)
    assert place.names() == []


def test_of_two_who_push_different_contents_at_the_same_moment_at_most_one_succeeds(
    wal18: RealWal, spec: dict[str, Any], keys: Identity, tmp_path: Path
) -> None:
    other = wal18.copy(tmp_path / "other")
    for name in other.segments:
        data = other.read(name)
        other.path(name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with Pusher(wal18.job({"here": spec}, keys, tmp_path / "run")) as one, Pusher(other.job({"here": spec}, keys, tmp_path / "run")) as two:
        for name in wal18.segments:
            told = at_once(partial(one.push, wal18.path(name)), partial(two.push, other.path(name)))
            assert sum(fault is None for fault in told) <= 1, told
            assert all(fault is None or isinstance(fault, WalConflict) for fault in told), told


def test_of_two_who_push_the_same_file_at_the_same_moment_one_succeeds_and_asked_again_both_do(
    wal18: RealWal, spec: dict[str, Any], keys: Identity, tmp_path: Path
) -> None:
    job = wal18.job({"here": spec}, keys, tmp_path / "run")
    with Pusher(job) as one, Pusher(job) as two:
        for name in wal18.everything:
            # A store that overwrites shows one of them the other's sealing, which is not what it sent: that one is told so.
            assert None in at_once(partial(one.push, wal18.path(name)), partial(two.push, wal18.path(name)))
            assert one.push(wal18.path(name)).stored == two.push(wal18.path(name)).stored == {"here": False}
    assert {name: len(found) for name, found in stored_in(spec).items()} == dict.fromkeys(wal18.everything, 1)


def test_the_hosts_credential_may_not_destroy_and_is_enough(wal18: RealWal, versity_bucket: Any, keys: Identity, tmp_path: Path) -> None:
    user = versity_bucket.store.add_user(f"writer-{os.urandom(3).hex()}")
    rules = ("s3:PutObject", "s3:GetObject", "s3:ListBucket", "s3:ListBucketMultipartUploads", "s3:AbortMultipartUpload")
    reader = versity_bucket.store.add_user(f"reader-{os.urandom(3).hex()}")
    versity_bucket.store.allow(versity_bucket.name, {user[0]: rules, reader[0]: ("s3:GetObject", "s3:ListBucket")})
    job = wal18.job({"here": versity_bucket.spec(user=user)}, keys, tmp_path / "run")
    for name in wal18.everything:
        push_file(wal18.path(name), job)
    reading = wal18.job({"here": versity_bucket.spec(user=reader)}, keys, tmp_path / "run")
    assert fetch_file(wal18.history, tmp_path / "back", reading)
    assert (tmp_path / "back").read_bytes() == wal18.read(wal18.history)


def test_an_empty_copy_is_not_taken_for_an_archived_one(wal18: RealWal, place: Place, keys: Identity, tmp_path: Path) -> None:
    """As a program that copies into place leaves it on a full disk."""
    job = wal18.job({"here": place.spec}, keys, tmp_path / "run")
    name = wal18.segments[0]
    key = layout.wal_key("shop", name, hashlib.sha256(wal18.read(name)).hexdigest(), ".zst.age")
    (place.root / key).parent.mkdir(parents=True)
    (place.root / key).touch()
    with pytest.raises(RepositoryError, match="is empty"):
        push_file(wal18.path(name), job)


def at_once(*actions: Any) -> list[BaseException | None]:
    """Call them at the same moment; the fault of each, or None."""
    barrier, faults = threading.Barrier(len(actions)), [None] * len(actions)

    def run(number: int) -> None:
        barrier.wait(300)
        try:
            actions[number]()
        except BaseException as error:
            faults[number] = error  # type: ignore[call-overload]

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(actions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
        assert not thread.is_alive(), "it never came to an end"
    return list(faults)


class TestCommand:
    """As the archiver calls it: it reads nothing but the status."""

    @pytest.fixture
    def job_file(self, place: Place, keys: Identity, tmp_path: Path) -> Path:
        return write_job(tmp_path / "wal.json", job_options({"here": place.spec}, keys, tmp_path / "run"))

    def test_it_says_by_its_status_whether_the_file_is_archived(self, wal18: RealWal, place: Place, job_file: Path, tmp_path: Path) -> None:
        path = f"pg_wal/{wal18.segments[0]}"
        for _again in range(2):
            done = run_wal(job_file, "push", path, cwd=wal18.data)
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert place.names() == [wal18.segments[0]]
        other = wal18.copy(tmp_path / "other")
        other.path(wal18.segments[0]).write_bytes(wal18.read(wal18.segments[0])[:-1] + b"x")
        done = run_wal(job_file, "push", path, cwd=other.data)
        assert (done.returncode, "CONFLICT" in done.stderr, "Traceback" in done.stderr) == (16, True, False)

    @pytest.mark.parametrize("words", [("push",), ("push", "pg_wal/nonsense"), ("push", "pg_wal/0000000100000000000000FE"), ("pish", "x")])
    def test_no_mistake_has_a_status_that_the_archiver_does_not_count(self, wal18: RealWal, job_file: Path, words: tuple[str, ...]) -> None:
        done = run_wal(job_file, *words, cwd=wal18.data)
        assert 0 < done.returncode <= 125
        assert "Traceback" not in done.stderr

    def test_a_log_that_nobody_reads_any_more_changes_nothing(self, wal18: RealWal, place: Place, job_file: Path) -> None:
        """The server's log collector is gone: the status is that of the file all the same."""
        asked = (
            (command_line(job_file, "push", f"pg_wal/{wal18.segments[0]}"), 0),
            (command_line(job_file, "push", "pg_wal/nonsense"), 5),
            # Every status below 126 would be the end of the log for a recovery.
            (command_line(job_file.with_name("gone.json"), "fetch", wal18.segments[0], "RECOVERYXLOG"), 126),
        )
        for command, status in asked:
            reader, writer = os.pipe()
            os.close(reader)
            done = subprocess.run(command, cwd=wal18.data, stderr=writer)
            os.close(writer)
            assert done.returncode == status, command

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remotes of the real rclone: what is promised beyond the contract of every kind, and what the remotes' bad days look like."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import (
    AccessDenied,
    ConfigurationError,
    MissingTool,
    ObjectExists,
    RepositoryError,
    RepositoryStalled,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.place import overlap, place_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.posix_upload import TEMPORARY_PREFIX
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.rclone import RcloneRepository
from support.leaks import children, eventually, leaves_nothing, programs, runs
from support.remotes import Remotes, make_remotes
from support.store_fixtures import Bucket

MIB = 1024 * 1024
KEY = "shop/database/shop/20261121T031500Z-1a2b3c4d/database.dump.zst.age"


@pytest.fixture
def remotes(tmp_path: Path) -> Remotes:
    return make_remotes(tmp_path)


@contextlib.contextmanager
def opened(spec: dict[str, Any]) -> Iterator[RcloneRepository]:
    with open_repository("offsite", spec) as found:
        assert isinstance(found, RcloneRepository)
        yield found


def files(place: Path) -> list[str]:
    return sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())


def test_says_that_it_cannot_keep_a_name_from_being_replaced_and_how_it_compares(remotes: Remotes) -> None:
    with opened(remotes.spec()) as repository:
        found = repository.capabilities("shop/probe/")
        assert (found.no_clobber, found.read_only) == (False, False)
        assert "a look before and after only" in dict(found.detail)["no_clobber"]
        assert dict(found.detail)["confirmed"] == "by the remote's own sha256"
        assert list(repository.list()) == []
    with opened(remotes.spec("crypt")) as repository:
        assert "by reading back" in dict(repository.capabilities("shop/probe/").detail)["confirmed"]
    assert files(remotes.directory) == []


@pytest.mark.parametrize("remote", ["disk", "crypt"])
def test_bytes_that_were_changed_on_the_way_are_no_object(remotes: Remotes, remote: str) -> None:
    with opened(remotes.spec(remote)) as repository:
        upload = repository.start_upload(KEY)
        upload.write(b"a" * MIB)
        upload._digest.update(b"of which nobody knows")
        with pytest.raises(RepositoryError, match="other bytes are there than were written"):
            upload.confirm()
        with pytest.raises(RepositoryError):
            upload.publish()
        upload.abort()
        assert list(repository.list()) == []
    assert files(remotes.directory) == []


def test_a_name_that_somebody_else_takes_meanwhile_is_seen_afterwards(remotes: Remotes, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(remotes.spec()) as repository:
        upload = repository.start_upload("shop/x")
        upload.write(b"ours!")
        upload.confirm()
        call = repository.daemon.call

        def meanwhile(path: str, *arguments: Any, **parameters: Any) -> Any:
            answer = call(path, *arguments, **parameters)
            if path == "/operations/movefile":
                (remotes.directory / "shop/x").write_bytes(b"other")
            return answer

        monkeypatch.setattr(repository.daemon, "call", meanwhile)
        with pytest.raises(RepositoryError, match="somebody else wrote it at the same moment"):
            upload.publish()
        monkeypatch.undo()
        with pytest.raises(ObjectExists):
            repository.put("shop/x", b"third")
        assert repository.read("shop/x") == b"other"


def test_one_rclone_serves_many_requests_and_is_nobody_elses(remotes: Remotes) -> None:
    with leaves_nothing(), opened(remotes.spec()) as repository:
        before = programs("rclone")
        repository.put(KEY, b"x" * MIB)
        started = programs("rclone") - before
        assert len(started) == 1
        for _time in range(5):
            assert repository.read(KEY) == b"x" * MIB
        assert programs("rclone") - before == started
        folder = Path(repository.daemon._directory)
        assert folder.stat().st_mode & 0o077 == 0
        argv = b"".join(Path(f"/proc/{pid}/cmdline").read_bytes() for pid in started)
        password = next(line for line in remotes.config.read_text().splitlines() if line.startswith("password"))
        assert password.split()[-1].encode() not in argv
    assert not folder.exists()


def test_rclone_ends_when_this_process_is_killed(remotes: Remotes) -> None:
    program = (
        "import json, sys, time; from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository;"
        "repository = open_repository('offsite', json.loads(sys.argv[1])); upload = repository.start_upload('shop/x');"
        "upload.write(b'x' * 5_000_000); print(repository.daemon._directory, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program, json.dumps(remotes.spec())], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        started = children(process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait()
    eventually(lambda: not folder.exists(), "the directory of the socket is removed")
    eventually(lambda: not any(map(runs, started)), "rclone has ended")
    with opened(remotes.spec()) as repository:
        assert list(repository.list()) == []
        for left in repository.leftovers("shop/"):
            repository.discard(left)
    assert files(remotes.directory) == []


def test_rclone_that_dies_in_an_upload_is_started_again(remotes: Remotes) -> None:
    others = programs("rclone")  # the stores of other tests
    with opened(remotes.spec()) as repository:
        upload = repository.start_upload(KEY)
        for pid in programs("rclone") - others:
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(RepositoryError):
            for _time in range(100):
                upload.write(bytes(MIB))
            upload.confirm()
        upload.abort()
        assert list(repository.list()) == []
        assert repository.put("shop/y", b"whole").size_bytes == 5
        assert repository.read("shop/y") == b"whole"


def test_a_reader_is_found_out_by_trying(remotes: Remotes, versity_bucket: Bucket) -> None:
    store = versity_bucket.store
    open_repository("offsite", versity_bucket.spec()).put(KEY, b"whole")
    name, secret = store.add_user(f"rclone-reader-{versity_bucket.name}")
    store.allow(versity_bucket.name, {name: ("s3:GetObject", "s3:ListBucket")})
    remotes.add("reader", type="s3", provider="Other", endpoint=store.endpoint, access_key_id=name, secret_access_key=secret,
                force_path_style="true", no_check_bucket="true")  # fmt: skip
    with opened(remotes.spec() | {"remote": f"reader:{versity_bucket.name}"}) as repository:
        assert repository.can_write("shop/probe") is False
        assert repository.capabilities("shop/probe").read_only is True
        assert repository.read(KEY) == b"whole"
        with pytest.raises(AccessDenied, match="the credential may not do that"):
            repository.put("shop/other", b"x")
    assert versity_bucket.keys() == [KEY]


def test_a_bucket_behind_rclone(remotes: Remotes, versity_bucket: Bucket) -> None:
    store = versity_bucket.store
    remotes.add("store", type="s3", provider="Other", endpoint=store.endpoint, access_key_id=store.access_key,
                secret_access_key=store.secret_key, force_path_style="true", chunk_size="5Mi")  # fmt: skip
    spec = remotes.spec(remote="store") | {"remote": f"store:{versity_bucket.name}/some"}
    data = os.urandom(12 * MIB)
    with opened(spec) as repository:
        upload = repository.start_upload(KEY)
        for start in range(0, len(data), MIB):
            upload.write(data[start : start + MIB])
        upload.publish()
        assert repository.read(KEY) == data
        assert [found.key for found in repository.list()] == [KEY]
        with pytest.raises(ObjectExists):
            repository.put(KEY, b"second")
        aborted = repository.start_upload("shop/aborted")
        aborted.write(data)
        aborted.abort()
        assert repository.can_write("shop/probe") is True
    assert versity_bucket.keys() == [f"some/{KEY}"]
    one, other = place_of("offsite", spec), place_of("keys", versity_bucket.spec(prefix="keys"))
    assert "in the bucket" in (overlap(one, other) or "")


def test_a_bucket_that_does_not_exist_is_not_made(remotes: Remotes, versity_bucket: Bucket) -> None:
    store = versity_bucket.store
    remotes.add("store", type="s3", provider="Other", endpoint=store.endpoint, access_key_id=store.access_key,
                secret_access_key=store.secret_key, force_path_style="true")  # fmt: skip
    with opened(remotes.spec() | {"remote": "store:not-there"}) as repository:
        with pytest.raises(RepositoryError, match="the repository's directory or bucket does not exist"):
            repository.put(KEY, b"x")
    assert "not-there" not in [entry["Name"] for entry in store.client().list_buckets()["Buckets"]]


def test_a_wrong_credential_of_the_remote_is_named(remotes: Remotes, versity_bucket: Bucket) -> None:
    store = versity_bucket.store
    remotes.add("store", type="s3", provider="Other", endpoint=store.endpoint, access_key_id=store.access_key,
                secret_access_key="not the one", force_path_style="true")  # fmt: skip
    with opened(remotes.spec() | {"remote": f"store:{versity_bucket.name}"}) as repository:
        with pytest.raises(AccessDenied, match="does not accept the credential") as caught:
            repository.can_write("shop/probe")
        assert "not the one" not in str(caught.value)


@pytest.mark.parametrize("use", ["put", "list", "stat", "can_write"])
def test_a_directory_that_is_not_there_is_never_made(remotes: Remotes, use: str) -> None:
    uses: dict[str, Callable[[RcloneRepository], object]] = {
        "put": lambda repository: repository.put(KEY, b"x"),
        "list": lambda repository: list(repository.list()),
        "stat": lambda repository: repository.stat(KEY),
        "can_write": lambda repository: repository.can_write("shop/probe"),
    }
    with opened(remotes.spec() | {"remote": f"disk:{remotes.directory}/not-mounted"}) as repository:
        with pytest.raises(RepositoryError, match=r"the repository's directory or bucket does not exist .* It is never created silently"):
            uses[use](repository)
    assert not (remotes.directory / "not-mounted").exists()


def test_says_in_one_sentence_what_is_wrong(remotes: Remotes, tmp_path: Path) -> None:
    def refused(kind: type[Exception], said: str, **overrides: Any) -> None:
        with opened({**remotes.spec(), **overrides}) as repository, pytest.raises(kind) as caught:
            repository.stat(KEY)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)

    old = tmp_path / "old-rclone"
    old.write_text("#!/bin/sh\necho rclone v1.60.1-DEV\n")
    old.chmod(0o755)
    refused(RepositoryError, "config_file has no remote of that name", remote="dsk:x")
    refused(ConfigurationError, "no such file", config_file="/nonexistent/rclone.conf")
    refused(MissingTool, "the program rclone is not installed", program="/nonexistent/rclone")
    refused(MissingTool, "rclone is 1.60.1, needed is 1.65 or newer", program=str(old))
    encrypted = tmp_path / "encrypted.conf"
    encrypted.touch(mode=0o600)
    encrypted.write_text("# Encrypted rclone configuration File\n\nRCLONE_ENCRYPT_V0:\nabc\n")
    refused(ConfigurationError, "is encrypted", config_file=str(encrypted))
    remotes.config.chmod(0o644)
    refused(ConfigurationError, "is open to every user")


def test_a_silent_place_behind_the_remote_is_given_up(remotes: Remotes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody_answers:
        endpoint = f"http://127.0.0.1:{nobody_answers.getsockname()[1]}"
        remotes.add("silent", type="s3", provider="Other", endpoint=endpoint, access_key_id="x", secret_access_key="y",
                    force_path_style="true")  # fmt: skip
        spec = remotes.spec(connect_timeout="1s", read_timeout="2s") | {"remote": "silent:bucket"}
        with leaves_nothing(), opened(spec) as repository, pytest.raises((RepositoryStalled, RepositoryError), match="did not answer"):
            repository.stat(KEY)


def test_lists_a_large_directory_entry_by_entry(remotes: Remotes) -> None:
    folder = remotes.directory / "shop" / "ünder"
    folder.mkdir(parents=True)
    expected = [f"shop/ünder/öbject-{number}.json" for number in range(3000)]
    for key in expected:
        (remotes.directory / key).write_bytes(b"x")
    (folder / f"{TEMPORARY_PREFIX}x").write_bytes(b"x")
    with opened(remotes.spec()) as repository:
        assert [found.key for found in repository.list()] == sorted(expected, key=str.encode)
        assert [found.key for found in repository.list("shop/ünder/öbject-299")] == sorted(
            (key for key in expected if key.startswith("shop/ünder/öbject-299")), key=str.encode
        )
        (left,) = repository.leftovers("")
        repository.discard(left)
        assert len(list(folder.iterdir())) == 3000


def test_an_object_that_is_cut_while_it_is_read_is_an_error(remotes: Remotes) -> None:
    with opened(remotes.spec()) as repository:
        repository.put("shop/x", os.urandom(24 * MIB))
        with repository.open("shop/x") as stream:
            stream.read(10)
            os.truncate(remotes.directory / "shop/x", 20 * MIB)
            with pytest.raises(RepositoryError, match=r"ended early again and again|became another one|opening an object failed"):
                while stream.read(MIB):
                    pass

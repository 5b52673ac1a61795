# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One backup's objects, put the way a writer does, in a process that dies where a test wants it to.

Every artifact is confirmed, then published, and the manifest last; what a reader may see at any moment of that is decided
by `assert_nothing_half_made`. This file is also the program of those processes (`Runner` starts it): a small server with
one thread that forks a child for each run, so that a kill costs milliseconds and no fork happens beside other threads.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import posix_place, posix_upload
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from support.beside import Beside

__all__ = ["PLACES", "Runner", "assert_nothing_half_made", "objects_of", "put_backup"]

PIECE = 64 * 1024
STEPS = ("open", "mkdir", "fchmod", "write", "fsync", "fstat", "link", "unlink", "rename", "rmdir", "close")
"""The calls to the operating system that a directory repository makes."""

PLACES: dict[str, Callable[[int, str, str], str]] = {
    "link": posix_place._by_link,
    "renameat2": posix_place._by_rename,
    "lock": posix_place._under_lock,
}
"""The ways of giving a file its name, each as on a file system that has no other."""


def objects_of(label: str, large_bytes: int) -> dict[str, bytes]:
    """Keys and contents of the backup `label`; the manifest is the last. The contents can be told from any other backup's."""
    seed = hashlib.sha256(label.encode()).digest()
    large = (seed * (large_bytes // len(seed) + 1))[:large_bytes]
    folder = f"shop/database/shop/{label}/"
    return {
        folder + "database.dump.zst.age": large,
        folder + "evidence.json.zst.age": seed * 10,
        folder + "RESTORE.md": b"# how\n" + seed,
        f"shop/manifests/database/shop/{label}.json": b"manifest of " + label.encode(),
    }


def put_backup(repository: Repository, label: str, large_bytes: int) -> None:
    *artifacts, (manifest_key, manifest) = objects_of(label, large_bytes).items()
    uploads = []
    for key, data in artifacts:
        upload = repository.start_upload(key)
        uploads.append(upload)
        for start in range(0, len(data), PIECE):
            upload.write(data[start : start + PIECE])
        upload.confirm()
    for upload in uploads:
        upload.publish()
    repository.put(manifest_key, manifest)


def assert_nothing_half_made(reader: Repository, backups: Mapping[str, int]) -> set[str]:
    """Every object that is listed is whole, and a manifest is listed only with all its artifacts; the backups that exist."""
    expected: dict[str, bytes] = {}
    for label, large_bytes in backups.items():
        expected.update(objects_of(label, large_bytes))
    listed = {found.key: found.size_bytes for found in reader.list()}
    for key, size in listed.items():
        assert key in expected, key
        assert size == len(expected[key]), key
        assert reader.read(key) == expected[key], key
    complete = set()
    for label, large_bytes in backups.items():
        keys = list(objects_of(label, large_bytes))
        if keys[-1] in listed:
            assert set(keys) <= set(listed), f"{label} has a manifest, and not all that it speaks of"
            complete.add(label)
    return complete


class Runner(Beside):
    """Runs `put_backup` in children of a process of its own, one at a time. Use as a context manager."""

    def __init__(self) -> None:
        super().__init__(__file__)

    def __enter__(self) -> Runner:
        super().__enter__()
        return self

    def start(self, spec: Mapping[str, Any], label: str, large_bytes: int, *, step: int | None = None, way: str | None = None) -> int:
        """Begin a run; the child's process id. With `step` it kills itself there, `way` is one of `PLACES`."""
        self.tell({"spec": dict(spec), "label": label, "large_bytes": large_bytes, "step": step, "way": way})
        return self.answer()

    def wait(self) -> int:
        """How the run ended: its exit status, or minus the signal that killed it."""
        return self.answer()


def die_at(step: int) -> None:
    """Let this process kill itself at its `step`-th moment: before a call, after it, or, for a write, in its middle."""
    moments = itertools.count()

    def moment() -> bool:
        return next(moments) == step

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def wrap(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if moment():
                die()
            if name == "write" and moment():
                real(arguments[0], arguments[1][: len(arguments[1]) // 2])
                die()
            result = real(*arguments, **named)
            if moment():
                die()
            return result

        return call

    for name in STEPS:
        setattr(os, name, wrap(name, getattr(os, name)))


def serve() -> None:
    for line in sys.stdin:
        command = json.loads(line)
        child = os.fork()
        if child == 0:
            code = 99
            try:
                if command["way"] is not None:
                    posix_upload.place = PLACES[command["way"]]  # type: ignore[attr-defined,assignment]
                if command["step"] is not None:
                    die_at(command["step"])
                put_backup(open_repository("here", command["spec"]), command["label"], command["large_bytes"])
                code = 0
            finally:
                os._exit(code)
        print(child, flush=True)
        _pid, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    import botocore.session  # once, before the forks, instead of in each child

    botocore.session.Session()
    serve()

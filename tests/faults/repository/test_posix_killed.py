# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Law 1 in a directory: killed (SIGKILL) at every single step, a run leaves nothing that looks like a backup.

Not one sleep, but a sweep: the run counts its calls to the operating system and kills itself before or after the N-th, or,
for a write, in its middle; N grows until it gets through.
"""

from __future__ import annotations

import itertools
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import posix_upload
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from support.kill_backups import PLACES, Runner, assert_nothing_half_made, put_backup

LARGE = 150_000


@pytest.fixture
def directory() -> Iterator[Path]:
    """In memory where that can be, since a sweep syncs some thousand times."""
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as path:
        yield Path(path)


@pytest.mark.parametrize("way", list(PLACES))
def test_killed_at_every_step_nothing_half_made_is_seen(directory: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posix_upload, "place", PLACES[way])
    seen = set()
    with Runner() as runner:
        for step in itertools.count():
            root = directory / str(step)
            root.mkdir()
            spec = {"type": "posix", "path": str(root)}
            runner.start(spec, "first", LARGE, step=step, way=way)
            status = runner.wait()
            assert status in (0, -signal.SIGKILL)
            reader = open_repository("here", spec, read_only=True)
            complete = assert_nothing_half_made(reader, {"first": LARGE})
            seen.add((status, bool(complete)))
            if status == 0:
                assert complete == {"first"}
                break
            # The next run works beside what was left, and is all that is added.
            put_backup(open_repository("here", spec), "second", 1000)
            assert "second" in assert_nothing_half_made(reader, {"first": LARGE, "second": 1000})
    assert step > 100, "the sweep went through every step"
    # Killed before the manifest has its name there is no backup; killed after that there is one, whole.
    assert seen == {(-signal.SIGKILL, False), (-signal.SIGKILL, True), (0, True)}


def test_content_then_name_then_directory_are_made_durable(tmp_path: Path) -> None:
    """The order of calls, since a kill cannot show what a power cut would do."""
    trace: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        note_calls(patch, tmp_path, trace)
        open_repository("here", {"type": "posix", "path": str(tmp_path)}).put("shop/database/x", b"content")
    assert trace == [
        "mkdir shop", "fsync .",
        "mkdir database", "fsync shop",
        "write", "fsync file",
        "link x", "unlink", "fsync database",
    ]  # fmt: skip


def note_calls(patch: pytest.MonkeyPatch, root: Path, trace: list[str]) -> None:
    def note(name: str, shown: Callable[..., str]) -> None:
        real = getattr(os, name)

        def call(*arguments: Any, **named: Any) -> Any:
            trace.append(f"{name} {shown(*arguments)}".strip())
            return real(*arguments, **named)

        patch.setattr(os, name, call)

    def name_of(descriptor: int) -> str:
        path = os.path.relpath(os.readlink(f"/proc/self/fd/{descriptor}"), root)
        return "file" if "unfinished" in path else os.path.basename(path)

    note("fsync", name_of)
    note("mkdir", lambda name, *_: name)
    note("link", lambda _source, name: name)
    note("write", lambda *_: "")
    note("unlink", lambda *_: "")

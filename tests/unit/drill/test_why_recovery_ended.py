# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL's last words as a cause: what production's log needs and this host lacks is no verdict on the backup."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.chain import Chain
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.feeder import Fed
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.moment import RecoveryTarget
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.recovery import Recovery
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, DatabaseError, LifeboatError, RestoreError
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import Lsn
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.ranges import Range

LINE = "2026-11-21 12:00:00.000 UTC [77] {}:  {}\n"


class Ended:
    """A server that has written these words and ended."""

    status = ""

    def __init__(self, log: Path, words: str) -> None:
        self.log, self._words = log, words

    def launch(self) -> None:
        self.log.write_text(self._words)

    def check_running(self, _what: str) -> None:
        raise DatabaseError("it ended")


def why(tmp_path: Path, *lines: tuple[str, str]) -> LifeboatError:
    server: Any = Ended(tmp_path / "log", "".join(LINE.format(*line) for line in lines))
    chain = Chain(1, Lsn(0x2000028), (Range(1, 2, 3),), 16 * 1024 * 1024)
    with pytest.raises(LifeboatError) as caught:
        Recovery(server, RecoveryTarget(), chain, Fed(), Lsn(0x2000100)).run()
    return caught.value


def test_records_that_only_an_extension_can_replay_ask_for_its_library(tmp_path: Path) -> None:
    error = why(
        tmp_path,
        ("FATAL", "resource manager with ID 138 not registered"),
        ("HINT", 'Include the extension module that implements this resource manager in "shared_preload_libraries".'),
    )
    assert isinstance(error, ConfigurationError)
    assert "records of resource manager 138, which is an extension's own" in error.what
    assert "Name it in preload_libraries" in error.next_step


def test_any_other_end_is_the_backups(tmp_path: Path) -> None:
    error = why(tmp_path, ("PANIC", "WAL contains references to invalid pages"))
    assert isinstance(error, RestoreError)
    assert "WAL contains references to invalid pages" in error.what

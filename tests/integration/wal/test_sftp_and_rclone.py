# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The archive behind SFTP and on a remote of rclone: what `lifeboat wal push` puts there, `lifeboat wal fetch` brings back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from support.leaks import leaves_nothing
from support.logical import Identity
from support.remotes import make_remotes
from support.sshd import SftpServer, sftp_place, sftp_server
from support.wal import RealWal, job_options, run_wal, write_job

__all__ = ["sftp_place", "sftp_server"]


@pytest.fixture(params=["sftp", "crypt"])
def far_away(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    if request.param == "crypt":
        return make_remotes(tmp_path).spec("crypt")
    server: SftpServer = request.getfixturevalue("sftp_server")
    return server.spec(request.getfixturevalue("sftp_place"))


def test_a_segment_goes_there_and_comes_back_and_is_not_sent_twice(
    wal18: RealWal, far_away: dict[str, Any], keys: Identity, tmp_path: Path
) -> None:
    name = wal18.segments[0]
    push = write_job(tmp_path / "push.json", job_options({"away": far_away}, keys, tmp_path / "run"))
    fetch = write_job(tmp_path / "fetch.json", job_options({"away": far_away}, keys, tmp_path / "run", identity_file=str(keys.file)))
    with leaves_nothing():
        for _time in range(2):
            done = run_wal(push, "push", str(wal18.path(name)))
            assert done.returncode == 0, done.stderr
        done = run_wal(fetch, "fetch", name, str(tmp_path / "back"))
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "back").read_bytes() == wal18.read(name)


def test_a_segment_counts_as_archived_only_when_it_is_there(
    wal18: RealWal, sftp_server: SftpServer, sftp_place: Path, keys: Identity, tmp_path: Path
) -> None:
    """The account may read only: the server keeps the file and tries again."""
    job = write_job(tmp_path / "job.json", job_options({"away": sftp_server.spec(sftp_place, key="reader")}, keys, tmp_path / "run"))
    done = run_wal(job, "push", str(wal18.path(wal18.segments[0])))
    assert done.returncode != 0
    assert "the account may not do that" in done.stderr
    assert os.listdir(sftp_place) == []

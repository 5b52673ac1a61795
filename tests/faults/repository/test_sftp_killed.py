# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Law 1 behind SFTP: killed before any of its requests, a run leaves nothing that looks like a backup.

A sweep: the run dies before its N-th request to the server, which has done all that came before it; N grows until it gets through.
"""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_session import Session
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_upload import SftpUpload
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_wire import Kind, text
from support.kill_backups import assert_nothing_half_made, put_backup
from support.sshd import SftpServer

LARGE = 150_000
GREETING = 3
"""Requests that only ask where one is."""


class Killed(BaseException):
    """The end of the run: nothing catches it, and nothing is sent after it."""


class Death:
    """Lets so many requests through, waits until the server has done them, and then none any more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, requests: int) -> None:
        self.left, self.came = requests, False
        send, send_data = Session.send, Session.send_data

        def die(session: Session) -> None:
            if not self.came:
                self.came = True
                number = send(session, Kind.REALPATH, text(b"/"))
                session.answer(number)
            session.kill()
            raise Killed

        def counted(session: Session, kind: int, *parts: bytes) -> int:
            if self.left == 0:
                die(session)
            self.left -= 1
            return send(session, kind, *parts)

        def counted_data(session: Session, head: bytes, data: memoryview) -> int:
            if self.left == 0:
                die(session)
            self.left -= 1
            return send_data(session, head, data)

        monkeypatch.setattr(Session, "send", counted)
        monkeypatch.setattr(Session, "send_data", counted_data)
        # Who is killed cleans nothing up.
        monkeypatch.setattr(SftpUpload, "abort", lambda upload: None)


def test_killed_before_a_request_nothing_half_made_is_seen(sftp_server: SftpServer, sftp_place: Path, full: bool) -> None:
    """Before every one with `--full`, else before every third."""
    outcomes = set()
    spec = sftp_server.spec(sftp_place)
    with open_repository("vault", spec) as reader:
        for step in itertools.count(GREETING, 1 if full else 3):
            with pytest.MonkeyPatch.context() as monkeypatch, open_repository("vault", spec) as writer:
                death = Death(monkeypatch, step)
                with contextlib.suppress(Killed):
                    put_backup(writer, "first", LARGE)
            complete = assert_nothing_half_made(reader, {"first": LARGE})
            outcomes.add((death.came, bool(complete)))
            if not death.came:
                assert complete == {"first"}
                break
            for left in reader.leftovers(""):
                reader.discard(left)
            assert not list(sftp_place.rglob(".lifeboat-unfinished-*"))
            for found in list(reader.list()):
                reader.delete(found.key)
    assert step > 40, "the sweep went through every step"
    # Killed before the manifest has its name there is no backup; killed after that there is one, whole.
    assert outcomes == {(True, False), (True, True), (False, True)}

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading many directories of an SFTP server in few round trips: their requests travel together."""

from __future__ import annotations

import stat
from collections.abc import Sequence

from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_faults import Refused
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_session import Session
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_wire import Fields, Kind, Status, text
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.walk import FILE, FOLDER, LINK, OTHER, packed

__all__ = ["read_directories"]

_FIRST_READS, _MOST_READS = 2, 16
"""Requests for names that travel at once per directory; one brings a hundred names from OpenSSH."""


def read_directories(session: Session, paths: Sequence[bytes], hidden: str = "") -> list[list[bytes]]:
    """What lies in each of the directories, in the order of the keys below it (a directory sorts as `name/`).

    A missing one is empty, as it may be removed meanwhile. What can be no part of a key is left out, but for names that begin
    with `hidden`. Raises `Refused`.
    """
    handles: list[bytes | None] = []
    for number in [session.send(Kind.OPENDIR, text(path)) for path in paths]:
        try:
            handles.append(session.answer(number)[1].text())
        except Refused as refused:
            if refused.code != Status.NO_SUCH_FILE:
                for handle in filter(None, handles):
                    session.forget(session.send(Kind.CLOSE, text(handle)))
                raise
            handles.append(None)
    found: list[list[bytes]] = [[] for _path in paths]
    opened = {index: handle for index, handle in enumerate(handles) if handle is not None}
    reads = _FIRST_READS
    while opened:
        asked = [(index, session.send(Kind.READDIR, text(handle))) for index, handle in opened.items() for _time in range(reads)]
        for index, number in asked:
            try:
                _read_names(session.answer(number)[1], found[index], hidden)
            except Refused as refused:
                if refused.code != Status.EOF:
                    raise
                if index in opened:
                    session.forget(session.send(Kind.CLOSE, text(opened.pop(index))))
        reads = min(reads * 2, _MOST_READS)
    for entries in found:
        entries.sort()
    return found


def _read_names(fields: Fields, into: list[bytes], hidden: str) -> None:
    for _entry in range(fields.number32()):
        raw, line = fields.text(), fields.text()
        facts = fields.attributes()
        try:
            name = raw.decode()
        except UnicodeDecodeError:
            continue
        entry = packed(name, _sort(facts.permissions, line), facts.size_bytes or 0, facts.modified or 0, hidden)
        if entry is not None:
            into.append(entry)


def _sort(permissions: int | None, line: bytes) -> int:
    """From the mode, or, where a server gives none, from the line that it would show a person (`drwx…`)."""
    if permissions is None:
        return {b"-": FILE, b"d": FOLDER, b"l": LINK}.get(line[:1], OTHER)
    return FILE if stat.S_ISREG(permissions) else FOLDER if stat.S_ISDIR(permissions) else LINK if stat.S_ISLNK(permissions) else OTHER

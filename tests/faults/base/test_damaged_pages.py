# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server whose data files are damaged: its checksums say so while they are copied, and no backup is made of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.physical_run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import DatabaseError
from support.bases import base_manifests, base_options
from support.clusters import Server
from support.logical import new_identity, posix


@pytest.mark.needs("program:age", "program:zstd", "postgresql:18")
def test_no_backup_is_kept_of_damaged_pages(tmp_path: Path) -> None:
    place = posix(tmp_path / "here")
    # Nobody else may touch the pages: one that autovacuum has read and marked is written anew, and whole again.
    with Server(18, {"autovacuum": "off"}, initdb=("--data-checksums",)) as server:
        given = base_options(server, {"here": place}, new_identity(tmp_path / "identity.txt"), tmp_path, wal="included")
        server.execute("CREATE TABLE orders AS SELECT generate_series(1, 10000) AS id")
        server.execute("CHECKPOINT")
        with server.connect() as session:
            row = session.execute("SELECT pg_relation_filepath('orders')").fetchone()
        assert row is not None
        with open(server.data / row[0], "r+b") as file:
            file.seek(8192 * 3 + 5000)
            byte = file.read(1)
            file.seek(-1, 1)
            file.write(bytes([byte[0] ^ 1]))
        with pytest.raises(DatabaseError, match="damaged pages: their checksums do not hold"):
            run(given)
    assert base_manifests(place) == []
    assert not list((tmp_path / "here").rglob("*.age"))

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real backup that lies behind SFTP and on a remote of rclone alone, and a drill of it with a credential that only reads (law 3)."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.run import run as take_backup
from support.clusters import Server
from support.drills import BackedUp, work_dir
from support.keys import ssh_pair
from support.logical import new_identity, options
from support.remotes import make_remotes
from support.sshd import SftpServer

__all__ = ["work_dir"]


@pytest.mark.needs("postgresql:18", "program:sshd", "program:rclone")
def test_a_backup_far_away_is_drilled_by_a_reader_and_by_nobody_who_may_write(
    sftp_server: SftpServer, sftp_place: Path, tmp_path: Path, work_dir: Path
) -> None:
    remotes = make_remotes(tmp_path)
    away = {"vault": sftp_server.spec(sftp_place), "box": remotes.spec("crypt")}
    with Server(18) as server, server.database("shop"):
        server.execute("CREATE TABLE orders (id int PRIMARY KEY); INSERT INTO orders SELECT generate_series(1, 1000)", "shop")
        identity, signer = new_identity(tmp_path / "identity.txt"), ssh_pair(tmp_path / "signing_key")
        taken = take_backup({**options(server, "shop", away, identity, tmp_path / "locks"), "signing_key": signer.path})
        assert sorted(taken["repositories"]) == ["box", "vault"]
        shop = BackedUp(server, "shop", taken["backup_id"], tmp_path, identity, signer)
        reader = {"vault": sftp_server.spec(sftp_place, key="reader")}
        report = shop.drill(work_dir, repositories=reader)
        assert report["verdict"] == "passed", (report["reason"], report["checks"], report["phases"])
        assert report["repository"] == "vault"
        for writer in ({"box": away["box"]}, {"vault": away["vault"]}):
            refused = shop.drill(work_dir, repositories=writer)
            assert refused["verdict"] == "unverified"
            assert "can write where backups rest" in refused["reason"]
            assert "restore" not in [phase["name"] for phase in refused["phases"]]
        report = shop.drill(work_dir, repositories={"box": away["box"]}, waive=["same_host", "writable_credential"])
        assert "writable_credential" in str(report)
        assert {check["verdict"] for check in report["checks"]} == {"passed"}

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server inside an image that knows nothing of this collection: its configuration and its spool are mounted from the host."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.spool import MARKER
from support.containers import CONTAINERS_CONF, podman_container
from support.logical import new_identity
from support.wal import archive_place, command_line, job_options, write_job

pytestmark = pytest.mark.needs("root", "postgresql:15", "program:podman", "program:runc", "program:age", "program:zstd")

SERVERS_USER = 70


def test_from_a_mounted_file_to_a_segment_that_is_proven_in_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTAINERS_CONF", str(CONTAINERS_CONF))
    conf_d, sockets, spool = tmp_path / "conf.d", tmp_path / "s", tmp_path / "spool"
    for folder in (conf_d, sockets, spool):
        folder.mkdir()
        os.chown(folder, SERVERS_USER, SERVERS_USER)
    (spool / MARKER).touch()
    place, keys = archive_place(), new_identity(tmp_path / "identity")
    job_file = write_job(tmp_path / "wal.json", job_options({"here": place.spec}, keys, tmp_path / "run"))
    volumes = (f"{conf_d}:/conf.d", f"{sockets}:/var/run/postgresql", f"{spool}:/spool")
    with podman_container(*(word for volume in volumes for word in ("--volume", volume))) as container:
        name = str(container.exec["container"])
        asked: dict[str, Any] = {
            "login_unix_socket": str(sockets),
            "method": "spool",
            "directory": "/spool",
            "place": "file",
            "path": str(conf_d / "lifeboat.conf"),
            "server_path": "/conf.d/lifeboat.conf",
            "job_file": str(job_file),
        }
        with pytest.raises(ConfigurationError, match="include_dir"):
            run(asked, False)
        container.run("sh", "-c", "echo \"include_dir = '/conf.d'\" >>/var/lib/pg/postgresql.conf")
        with pytest.raises(ConfigurationError, match=r"runs in a container.*restart_command"):
            run({**asked, "restart": True}, False)
        assert not (conf_d / "lifeboat.conf").exists()

        restart = {"restart": True, "restart_command": ["podman", "restart", "--time", "5", name]}
        shipper = subprocess.Popen(command_line(job_file, "ship", str(spool)), stdout=subprocess.DEVNULL)
        try:
            done = run({**asked, **restart, "verify": True, "verify_timeout": "10m"}, False)
        finally:
            shipper.terminate()
            shipper.wait(300)
        assert done["restarted"] and container.psql("SHOW archive_mode") == "on"
        proof = done["verification"]
        assert hashlib.sha256(place.opened(proof["segment"], keys)).hexdigest() == proof["digest"]
        again = run({**asked, **restart}, False)
        assert not again["changed"] and not again["restarted"]

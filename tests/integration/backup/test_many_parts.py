# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""S3 takes 10,000 parts of one object: a larger backup goes into volumes, and comes back whole.

With parts of 1 KiB, which no store of the world takes but rclone's does, that is a matter of megabytes.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.run import run as take_backup
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.run import run as run_drill
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import s3_options
from support.clusters import Server
from support.drills import work_dir
from support.logical import manifest_of, new_identity, options
from support.store_fixtures import Bucket, no_ambient_aws, rclone_bucket, rclone_server

__all__ = ["no_ambient_aws", "rclone_bucket", "rclone_server", "work_dir"]

pytestmark = [pytest.mark.needs("program:age", "program:zstd", "program:rclone"), pytest.mark.usefixtures("no_ambient_aws")]

PART_BYTES = 1024
ROWS, ROW_BYTES = 130, 80_000


def test_a_backup_of_more_than_10_000_parts_is_several_volumes_and_is_restored(
    postgres18: Server, rclone_bucket: Bucket, work_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_options, "_MIN_PART_BYTES", PART_BYTES)
    spec = rclone_bucket.spec(part_size=PART_BYTES, max_threads=4)
    identity = new_identity(tmp_path / "identity")
    with postgres18.database("parts") as name:
        with postgres18.connect(name) as connection:
            connection.execute("CREATE TABLE noise (id int PRIMARY KEY, bytes bytea NOT NULL)")
            with connection.cursor().copy("COPY noise FROM STDIN") as copy:
                for number in range(ROWS):
                    copy.write_row((number, os.urandom(ROW_BYTES)))
        result = take_backup(options(postgres18, name, {"s3": spec}, identity, tmp_path / "locks"))
        dump = manifest_of(spec, result["backup_id"], name).artifact("dump")
    assert dump.size_bytes > 10_000 * PART_BYTES
    assert [volume.size_bytes for volume in dump.volumes[:-1]] == [10_000 * PART_BYTES] * (len(dump.volumes) - 1)
    assert [volume.name for volume in dump.volumes] == ["database.dump.zst.age", "database.dump.zst.age.001"]
    report = run_drill({
        "system": "shop", "name": "parts", "repositories": {"s3": spec}, "identity_file": str(identity.file),
        "bin_dir": str(postgres18.bin_dir), "work_dir": str(work_dir), "waive": ["same_host", "signature", "writable_credential"],
        "checks": [{"sql": {"query": "SELECT sum(length(bytes)) FROM public.noise", "expect": ROWS * ROW_BYTES}}],
    })["report"]  # fmt: skip
    assert report["verdict"] == "passed"

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""bin/bench catalogue: a list of ten thousand backups from an S3 server on loopback (rclone serve s3), first and again."""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import hashlib
import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "demo"))

from _measure import Bar, Figures, alternate, report, run
from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Artifact, Manifest, Volume
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.signature import sign
from places import temporary_place
from servers import ObjectStore

BUCKET = "bench"
LIST = """
import json, sys
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup_list import list_backups
given = json.load(open(sys.argv[1]))
assert len(list_backups(given)["backups"]) == int(sys.argv[2])
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="bin/bench catalogue", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--runs", type=int, default=5, help="counted runs of the warm list (default 5)")
    parser.add_argument("--count", type=int, default=10_000, help="backups (default 10000)")
    options = parser.parse_args()
    with temporary_place(None, keep=False) as place:
        store = ObjectStore(place.directory("store"), place.root / "store.credentials")
        signer = fill(store.folder / BUCKET, options.count, place.root / "signing_key")
        store.start()
        try:
            spec = {"type": "s3", "endpoint": store.endpoint, "bucket": BUCKET, "credentials_file": str(store.credentials_file)}
            directory, job = place.directory("run"), place.root / "job.json"
            job.write_text(json.dumps({"system": "bench", "repositories": {"offsite": spec}, "cache_dir": str(place.root / "cache")}))

            signed = place.root / "signed.json"
            signed.write_text(json.dumps({**json.loads(job.read_text()), "verify_keys": [signer]}))

            def once(of: Path) -> Figures:
                return run([sys.executable, "-c", LIST, str(of), str(options.count)], directory)

            cold = once(job)
            ways = {"warm": lambda: once(job), "warm, every signature held against the key": lambda: once(signed)}
            medians = alternate(ways, options.runs, lambda text: print("  " + text, flush=True))
            warm = medians["warm"]
        finally:
            store.stop()
    bars = [Bar("warm: CPU seconds / 2", warm.cpu_seconds / 2, 1.0), Bar("warm: memory / 200 MB", warm.memory_bytes / 200e6, 1.0)]
    return report("catalogue", options.runs, {f"{options.count} backups": {"cold": cold, **medians}}, bars, options.json)


def fill(root: Path, count: int, key: Path) -> str:
    """Real manifests, signed as a writer leaves them; the public half of the key they are signed with."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    newest = dt.datetime(2026, 11, 21, tzinfo=dt.timezone.utc)
    for number in range(count):
        moment = newest - dt.timedelta(hours=number)
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        names = {"dump": "database.dump.zst.age", "evidence": "evidence.json.zst.age", "instructions": "RESTORE.md"}
        artifacts = tuple(Artifact(name, role, 1000, digest, (Volume(name, 1000, digest),)) for role, name in names.items())
        manifest = Manifest(
            "bench", "database", "shop", layout.new_backup_id(moment), moment, moment, moment, "0.1.0", "db1", "0123456789abcdef", "18.6",
            180006, "18.6", "7000000000000000000", 10**9, 10**8, "zstd", "age", ("age1bench",), artifacts, {"offsite": ""},
        )  # fmt: skip
        path = root / layout.manifest_key(manifest.ref)
        path.parent.mkdir(parents=True, exist_ok=True)
        manifest = dataclasses.replace(manifest, signature=sign(manifest.signed_bytes(), str(key)))
        path.write_bytes(manifest.to_bytes())
    return key.with_suffix(".pub").read_text()


if __name__ == "__main__":
    sys.exit(main())

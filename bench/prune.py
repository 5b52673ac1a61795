# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""bin/bench prune: what would go of ten thousand backups and a million files of WAL in S3, with what was read before.

As in wal_names, S3 is played by a server that makes each page up as it is asked for; what is measured is our side of it.
"""

from __future__ import annotations

import argparse
import bisect
import datetime as dt
import email.utils
import hashlib
import http.server
import json
import multiprocessing
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "demo"))

from _measure import Bar, Figures, alternate, report, run
from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Artifact, Manifest, Volume, WalRange
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import DEFAULT_SEGMENT_BYTES, segment_name
from places import temporary_place

PAGE = 1000
SYSTEM = "bench"
DIGEST = "0123456789abcdef" * 4
FILES = {"dump": "database.dump.zst.age", "evidence": "evidence.json.zst.age", "instructions": "RESTORE.md"}
SIZE = 1000
NOW = dt.datetime.now(dt.timezone.utc).replace(microsecond=0)
PRUNE = """
import json, sys
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.run import run
answer = run(json.load(open(sys.argv[1])), check_mode=True)
assert len(answer["removed"]) == int(sys.argv[2]), (len(answer["removed"]), answer["doubts"])
assert answer["repositories"]["offsite"]["wal"]["files"] == int(sys.argv[3]), answer["repositories"]
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="bin/bench prune", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--runs", type=int, default=3, help="counted runs (default 3)")
    parser.add_argument("--count", type=int, default=10_000, help="backups (default 10000)")
    parser.add_argument("--wal", type=int, default=1_000_000, help="names of WAL (default 1000000)")
    options = parser.parse_args()
    objects = made_up_objects(options.count, options.wal)
    with temporary_place(None, keep=False) as place, made_up_store(objects, options.wal) as (endpoint, requests):
        credentials = place.root / "credentials"
        credentials.write_text("[default]\naws_access_key_id = bench\naws_secret_access_key = bench\n")
        credentials.chmod(0o600)
        spec = {"type": "s3", "endpoint": endpoint, "bucket": "bench", "credentials_file": str(credentials)}
        kept = options.count * 9 // 10
        given = {
            "system": SYSTEM, "repositories": {"offsite": {**spec, "retention": {"hourly": kept}}}, "cache_dir": str(place.root / "cache"),
            "state_dir": str(place.root / "state"), "lock_dir": str(place.root / "locks"),
        }  # fmt: skip
        job, directory = place.root / "job.json", place.directory("run")
        job.write_text(json.dumps(given))

        def prune() -> Figures:
            return run([sys.executable, "-c", PRUNE, str(job), str(options.count - kept), str(options.wal)], directory)

        cold = prune()
        print(f"  cold: {requests.value} requests")
        requests.value = 0
        figures = alternate({"warm": prune}, options.runs, lambda text: print("  " + text, flush=True))
        asked = requests.value / (options.runs + 1)
    prefixes = [f"{SYSTEM}/manifests/", *(f"{SYSTEM}/{kind}/" for kind in layout.KINDS)]
    counts = [sum(key.startswith(prefix) for key in objects) for prefix in prefixes]
    pages = sum(max(1, -(-count // PAGE)) for count in [*counts, options.wal])
    print(f"\n  {asked:.0f} requests; the listings have {pages} pages")
    bars = [Bar("requests / pages", asked / pages, 1.1), Bar("memory / 200 MB", figures["warm"].memory_bytes / 200e6, 1.0)]
    return report("prune", options.runs, {f"{options.count} backups, {options.wal} names": {"cold": cold, **figures}}, bars, options.json)


def made_up_objects(count: int, wal: int) -> dict[str, tuple[dt.datetime, bytes]]:
    """Backups an hour apart, and a base backup that needs no WAL that is there: key to when it was stored, and what it holds."""
    objects: dict[str, tuple[dt.datetime, bytes]] = {}
    digest = hashlib.sha256(b"x" * SIZE).hexdigest()
    artifacts = tuple(Artifact(name, role, SIZE, digest, (Volume(name, SIZE, digest),)) for role, name in FILES.items())
    first, last = (segment_name(1, wal + number, DEFAULT_SEGMENT_BYTES) for number in (0, 1))
    for number in range(count + 1):
        kind, name = ("base", "cluster") if number == count else ("database", "shop")
        moment = NOW - dt.timedelta(hours=1 + number % count)
        needs = WalRange(1, "0/0", "0/10", first, last, DEFAULT_SEGMENT_BYTES) if kind == "base" else None
        manifest = Manifest(
            SYSTEM, kind, name, layout.new_backup_id(moment), moment, moment, moment, "0.1.0", "db1", "0123456789abcdef", "18.6",
            180006, "18.6", "7000000000000000000", 10**9, 10**8, "zstd", "age", ("age1bench",), artifacts, {"offsite": ""}, wal=needs,
        )  # fmt: skip
        objects[layout.manifest_key(manifest.ref)] = (moment, manifest.to_bytes())
        for file in FILES.values():
            objects[layout.artifact_key(manifest.ref, file)] = (moment, b"")
    return objects


@contextmanager
def made_up_store(objects: dict[str, tuple[dt.datetime, bytes]], wal: int) -> Iterator[tuple[str, Synchronized[int]]]:
    """A server that answers as S3 does to listings and to reads of manifests; its address, and how often it was asked."""
    requests: Synchronized[int] = multiprocessing.Value("i", 0)
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=serve, args=(objects, wal, requests, theirs), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}", requests
    finally:
        process.terminate()
        process.join()


def serve(objects: dict[str, tuple[dt.datetime, bytes]], wal: int, requests: Synchronized[int], pipe: Any) -> None:
    names = sorted(objects)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with requests.get_lock():
                requests.value += 1
            asked = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(asked.query, keep_blank_values=True).items()}
            found = objects.get(unquote(asked.path).removeprefix("/bench/"))
            stored = NOW
            if "list-type" in query:
                body = wal_page(wal, query) if query["prefix"].startswith(layout.wal_prefix(SYSTEM)) else page(names, objects, query)
            elif "uploads" in query:
                body = b"<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>"
            elif found is not None:
                stored, body = found
            else:
                body = b"<Error><Code>ObjectLockConfigurationNotFoundError</Code></Error>"
            self.send_response(404 if body.startswith(b"<Error>") else 200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Last-Modified", email.utils.format_datetime(stored, usegmt=True))
            self.send_header("ETag", '"d41d8cd98f00b204e9800998ecf8427e"')
            self.send_header("x-amz-request-id", "bench")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words: Any) -> None:
            """Nothing: a line for each of thousands of requests."""

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *_words: Any) -> None:
            """Nothing: a client that ends leaves its connection."""

    with Server(("127.0.0.1", 0), Handler) as server:
        pipe.send(server.server_address[1])
        server.serve_forever()


def page(names: list[str], objects: dict[str, tuple[dt.datetime, bytes]], query: dict[str, str]) -> bytes:
    prefix = query["prefix"]
    at = int(query.get("continuation-token", bisect.bisect_left(names, prefix)))
    keys = [key for key in names[at : at + int(query.get("max-keys", PAGE))] if key.startswith(prefix)]
    more = at + len(keys) < len(names) and names[at + len(keys)].startswith(prefix) and bool(keys)
    return _listing([(key, objects[key][0], len(objects[key][1]) or SIZE) for key in keys], str(at + len(keys)) if more else "")


def wal_page(count: int, query: dict[str, str]) -> bytes:
    first = int(query.get("continuation-token", "0"))
    last = min(first + PAGE, count)
    keys = (layout.wal_key(SYSTEM, segment_name(1, number, DEFAULT_SEGMENT_BYTES), DIGEST, ".zst.age") for number in range(first, last))
    return _listing([(key, NOW, SIZE) for key in keys], str(last) if last < count else "")


def _listing(entries: list[tuple[str, dt.datetime, int]], token: str) -> bytes:
    shown = "".join(
        f"<Contents><Key>{key}</Key><LastModified>{stored:%Y-%m-%dT%H:%M:%S.000Z}</LastModified>"
        f'<ETag>"d41d8cd98f00b204e9800998ecf8427e"</ETag><Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>'
        for key, stored, size in entries
    )
    more = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    return f"<ListBucketResult><IsTruncated>{str(bool(token)).lower()}</IsTruncated>{more}{shown}</ListBucketResult>".encode()


if __name__ == "__main__":
    sys.exit(main())

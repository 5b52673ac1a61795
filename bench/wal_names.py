# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""bin/bench wal_names: how far a WAL archive of a million names reaches, from S3 and from a directory.

No store that runs here lists a million keys in a reasonable time (each page costs it a walk over all of them), so S3 is
played by a server that makes each page up as it is asked for; what is measured is our side of it.
"""

from __future__ import annotations

import argparse
import http.server
import json
import multiprocessing
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "demo"))

from _measure import Bar, Figures, alternate, report, run
from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.identity import ClusterIdentity
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import DEFAULT_SEGMENT_BYTES, segment_name
from places import temporary_place

PAGE = 1000
SYSTEM = "bench"
DIGEST = "0123456789abcdef" * 4
IDENTITY = ClusterIdentity("7000000000000000000", 180000, DEFAULT_SEGMENT_BYTES).to_bytes()
LOOK = """
import json, sys
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.info import archive_info
answer = archive_info(json.load(open(sys.argv[1])))
assert not answer["unreachable"], answer["unreachable"]
found = answer["archives"]["offsite"]
assert found["segments"] == int(sys.argv[2]), found["problems"]
assert found["timelines"][0]["gaps"] == 0
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="bin/bench wal_names", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--runs", type=int, default=3, help="counted runs (default 3)")
    parser.add_argument("--count", type=int, default=1_000_000, help="names (default 1000000)")
    options = parser.parse_args()
    count = options.count
    with temporary_place(None, keep=False) as place, made_up_store(count) as (endpoint, requests):
        credentials = place.root / "credentials"
        credentials.write_text("[default]\naws_access_key_id = bench\naws_secret_access_key = bench\n")
        credentials.chmod(0o600)
        fill(place.directory("archive"), count)
        specs = {
            "S3": {"type": "s3", "endpoint": endpoint, "bucket": "bench", "credentials_file": str(credentials)},
            "directory": {"type": "posix", "path": str(place.root / "archive")},
        }
        directory = place.directory("run")

        def look(name: str) -> Figures:
            job = place.root / f"{name}.json"
            job.write_text(json.dumps({"system": SYSTEM, "repositories": {"offsite": specs[name]}, "cache_dir": ""}))
            return run([sys.executable, "-c", LOOK, str(job), str(count)], directory)

        commands = {name: partial(look, name) for name in specs}
        figures = alternate(commands, options.runs, lambda text: print("  " + text, flush=True))
        asked = requests.value / (options.runs + 1)
    pages = -(-(count + 1) // PAGE)
    print(f"\n  {asked:.0f} requests for {count} names, which are {pages} pages")
    bars = [Bar("S3: requests / pages", asked / pages, 1.1)]
    bars += [Bar(f"{name}: memory / 200 MB", found.memory_bytes / 200e6, 1.0) for name, found in figures.items()]
    return report("wal_names", options.runs, {f"{count} names": figures}, bars, options.json)


def keys(count: int, first: int = 0) -> Iterator[str]:
    for number in range(first, count):
        yield layout.wal_key(SYSTEM, segment_name(1, number, DEFAULT_SEGMENT_BYTES), DIGEST, ".zst.age")


def fill(root: Path, count: int) -> None:
    """The archive as a directory: empty files, since nobody opens them."""
    folder = root / layout.wal_prefix(SYSTEM, 1)
    folder.mkdir(parents=True)
    for key in keys(count):
        os.close(os.open(root / key, os.O_WRONLY | os.O_CREAT, 0o600))
    (root / layout.cluster_key(SYSTEM)).write_bytes(IDENTITY)


@contextmanager
def made_up_store(count: int) -> Iterator[tuple[str, Synchronized[int]]]:
    """A server that answers as S3 does to listings of the archive; its address, and how often it was asked."""
    requests: Synchronized[int] = multiprocessing.Value("i", 0)
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=serve, args=(count, requests, theirs), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}", requests
    finally:
        process.terminate()
        process.join()


def serve(count: int, requests: Synchronized[int], pipe: Any) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with requests.get_lock():
                requests.value += 1
            asked = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(asked.query).items()}
            body = page(count, query) if "list-type" in query else IDENTITY
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Last-Modified", "Sat, 21 Nov 2026 03:15:00 GMT")
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


def page(count: int, query: dict[str, str]) -> bytes:
    if query.get("prefix", "") != layout.wal_prefix(SYSTEM):
        return b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
    first = int(query.get("continuation-token", "0"))
    last = min(first + PAGE, count)
    entries = [
        f"<Contents><Key>{key}</Key><LastModified>2026-11-21T03:15:00.000Z</LastModified>"
        '<ETag>"d41d8cd98f00b204e9800998ecf8427e"</ETag><Size>1000</Size><StorageClass>STANDARD</StorageClass></Contents>'
        for key in keys(last, first)
    ]
    more = last < count
    token = f"<NextContinuationToken>{last}</NextContinuationToken>" if more else ""
    if not more:
        entries.append(
            f"<Contents><Key>{layout.cluster_key(SYSTEM)}</Key><LastModified>2026-11-21T03:15:00.000Z</LastModified><Size>100</Size></Contents>"
        )
    return f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{token}{''.join(entries)}</ListBucketResult>".encode()


if __name__ == "__main__":
    sys.exit(main())

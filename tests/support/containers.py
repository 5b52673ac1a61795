# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real containers with a PostgreSQL inside, under podman and under Docker with Compose; without any registry.

The image is a small root made of this machine's own files: the server and its programs, a shell, perl, and the libraries
that they need (`image_root`). Docker gets a daemon of the tests' own, apart from one that the machine may have.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from support.parts import server_directory
from support.ports import end_with_parent

MAJOR = 15
IMAGE = "localhost/lifeboat-reach:test"
CONTAINERS_CONF = Path(__file__).resolve().parents[2] / "molecule" / "hosts" / "containers.conf"
PROGRAMS = (
    "sh", "bash", "perl", "cat", "sleep", "rm", "mkdir", "chown", "env", "id", "setpriv", "locale",
    "cp", "cmp", "ln", "sync",  # what a spool's archive_command runs
)  # fmt: skip
START = """#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:BIN
export PGDATA=/var/lib/pg LC_ALL=C
mkdir -p /var/run/postgresql "$PGDATA" && chown 70:70 /var/run/postgresql "$PGDATA"
as='setpriv --reuid=70 --regid=70 --clear-groups'
auth=${LOCAL_AUTH:-trust}
$as initdb -D "$PGDATA" -U postgres -E UTF8 --locale=C --no-sync --auth-local=$auth --auth-host=$auth --pwfile=/pw >/dev/null
exec $as postgres -D "$PGDATA" -c fsync=off -c listen_addresses=127.0.0.1 -c unix_socket_directories=/var/run/postgresql
"""
PASSWORD = "in:side\\ s3cret"


@functools.cache
def image_tar() -> Path:
    """The image's root as a tar, made once for this process's tests."""
    work = Path(tempfile.mkdtemp(prefix="lb-image-", dir="/var/tmp"))
    atexit.register(shutil.rmtree, work, ignore_errors=True)
    root = work / "root"
    root.mkdir()
    directory = server_directory(MAJOR)
    assert directory is not None
    wanted: set[Path] = set()
    for name in PROGRAMS:
        found = shutil.which(name)
        if found:
            wanted.add(Path(found))
    tree = directory.parent
    # Without the compiler, which is larger than all the rest: PostgreSQL goes on without it.
    found_there = [path for path in tree.rglob("*") if not path.name.startswith("llvmjit")]
    libraries = [path for path in found_there if path.is_file() and (os.access(path, os.X_OK) or ".so" in path.name)]
    said = subprocess.run(["ldd", *map(str, [*wanted, *libraries])], capture_output=True, text=True).stdout
    wanted |= {Path(path) for path in re.findall(r"(?:=> |^\t)(/\S+) \(", said, re.MULTILINE)}
    loaded = "use strict; use Socket; print join(qq(\\n), values %INC, @DynaLoader::dl_shared_objects)"
    modules = subprocess.run(["perl", "-e", loaded], capture_output=True, text=True, check=True).stdout.splitlines()
    share = Path("/usr/share/postgresql") / str(MAJOR)
    names = [str(path) for path in [*sorted(wanted), tree, *([share] if share.exists() else [])]] + modules + ["/usr/share/zoneinfo/UTC"]
    names += [str(path) for path in [Path("/usr/lib/locale/C.utf8")] if path.exists()]
    pack = subprocess.Popen(
        ["tar", "-c", "-h", "--exclude=*/bitcode", "--exclude=*/llvmjit*", "--exclude=*/man", "-f", "-", *names],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    subprocess.run(["tar", "-x", "-C", str(root), "-f", "-"], stdin=pack.stdout, check=True)
    pack.wait()
    for name in ("tmp", "dev", "proc", "sys", "etc", "var/lib", "var/run", "var/tmp"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    for link in ("bin", "lib", "lib64", "sbin"):
        # A merged /usr: what was found by either name lies in one place.
        if Path("/", link).is_symlink():
            if (root / link).is_dir():
                shutil.copytree(root / link, root / "usr" / link, dirs_exist_ok=True)
                shutil.rmtree(root / link)
            (root / "usr" / link).mkdir(parents=True, exist_ok=True)
            (root / link).symlink_to(f"usr/{link}")
    (root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\npostgres:x:70:70::/:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\npostgres:x:70:\n")
    (root / "pw").write_text(PASSWORD)
    (root / "pgpass").write_text("*:*:*:*:{}\n".format(PASSWORD.replace("\\", "\\\\").replace(":", "\\:")))
    (root / "pgpass").chmod(0o600)
    (root / "start").write_text(START.replace("BIN", str(directory)))
    (root / "start").chmod(0o755)
    target = work / "image.tar"
    subprocess.run(["tar", "-c", "-C", str(root), "-f", str(target), "."], check=True)
    shutil.rmtree(root)
    return target


class Container:
    """A running container; `exec` are the options that reach it, `run` runs a command inside."""

    def __init__(self, exec_options: dict[str, object], prefix: list[str], environment: dict[str, str]) -> None:
        self.exec, self.prefix, self.environment = exec_options, prefix, environment

    def run(self, *argv: str, check: bool = True) -> str:
        done = subprocess.run([*self.prefix, *argv], capture_output=True, text=True, env=self.environment, stdin=subprocess.DEVNULL)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def psql(self, statement: str, dbname: str = "postgres") -> str:
        return self.run(
            "env", "PGPASSFILE=/pgpass", "psql", "-U", "postgres", "-h", "/var/run/postgresql", "-d", dbname, "-XAtc", statement
        ).strip()

    def wait(self) -> None:
        deadline = time.monotonic() + 600
        while "accepting" not in self.run("pg_isready", "-h", "/var/run/postgresql", check=False):
            assert time.monotonic() < deadline, "the server inside the container does not answer"
            time.sleep(0.1)


@contextlib.contextmanager
def podman_container(*options: str, network: str = "none") -> Iterator[Container]:
    """A server under podman, without a network unless one is named, in an image that is made when the first asks for it."""
    environment = {**os.environ, "CONTAINERS_CONF": str(CONTAINERS_CONF)}
    name = f"lb-reach-{secrets.token_hex(4)}"
    image = f"localhost/{name}"  # its own, which nobody removes from under another run

    def podman(*argv: str) -> str:
        done = subprocess.run(["podman", *argv], capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done.stderr
        return done.stdout

    podman("import", "--quiet", *_change(), str(image_tar()), image)
    try:
        podman("run", "--detach", "--network", network, "--name", name, *options, image)
        found = Container({"type": "podman", "container": name}, ["podman", "exec", "--interactive", name], environment)
        found.wait()
        yield found
    finally:
        subprocess.run(["podman", "rm", "--force", "--time", "0", name], capture_output=True, env=environment)
        subprocess.run(["podman", "rmi", "--force", image], capture_output=True, env=environment)


@contextlib.contextmanager
def podman_image() -> Iterator[str]:
    """The image's name under podman, for whoever starts it."""
    environment = {**os.environ, "CONTAINERS_CONF": str(CONTAINERS_CONF)}
    image = f"localhost/lb-drill-{secrets.token_hex(4)}"
    argv = ["podman", "import", "--quiet", *_change(), str(image_tar()), image]
    done = subprocess.run(argv, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    try:
        yield image
    finally:
        subprocess.run(["podman", "rmi", "--force", image], capture_output=True, env=environment)


@contextlib.contextmanager
def docker_daemon() -> Iterator[dict[str, str]]:
    """The environment that reaches a Docker daemon of the tests' own: no bridge, no firewall rules, plain copies as storage."""
    work = Path(tempfile.mkdtemp(prefix="lb-docker-", dir="/var/tmp"))
    short = Path(tempfile.mkdtemp(prefix="lb-dk-", dir="/tmp"))
    address = f"unix://{short}/docker.sock"
    argv = [
        "dockerd",
        "--host",
        address,
        "--data-root",
        str(work / "data"),
        "--exec-root",
        str(short / "exec"),
        "--pidfile",
        str(work / "pid"),
    ]
    argv += ["--bridge=none", "--iptables=false", "--ip6tables=false", "--storage-driver=vfs", "--log-level=warn"]
    with (work / "log").open("wb") as log:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=end_with_parent(signal.SIGQUIT))
    environment = {**os.environ, "DOCKER_HOST": address}
    try:
        deadline = time.monotonic() + 600
        while subprocess.run(["docker", "info"], capture_output=True, env=environment).returncode:
            assert process.poll() is None, (work / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, (work / "log").read_text()[-2000:]
            time.sleep(0.2)
        yield environment
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(short, ignore_errors=True)


@contextlib.contextmanager
def compose_project(environment: dict[str, str]) -> Iterator[tuple[Container, Container]]:
    """A Compose project with the service `db`: as `docker compose exec` reaches it, and as `docker exec` does."""
    folder = Path(tempfile.mkdtemp(prefix="lbshop", dir="/var/tmp"))
    (folder / ".env").write_text('APP_KEY="it\'s \\"one\\" \\\\ of #1, ü and \\$" # not part of it\n')
    key = '    environment: {APP_KEY: "${APP_KEY}"}\n'
    (folder / "compose.yaml").write_text(f"services:\n  db:\n    image: {IMAGE}\n    network_mode: none\n{key}")
    compose = ["docker", "compose", "--project-directory", str(folder)]

    def run(*argv: str) -> str:
        done = subprocess.run(argv, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("docker", "import", *_change(), str(image_tar()), IMAGE)
    try:
        run(*compose, "up", "--detach", "--quiet-pull")
        container = run(*compose, "ps", "--quiet", "db").strip()
        by_compose = Container(
            {"type": "compose", "service": "db", "project_directory": str(folder)}, [*compose, "exec", "-T", "db"], environment
        )
        by_compose.wait()
        yield by_compose, Container({"type": "docker", "container": container}, ["docker", "exec", container], environment)
    finally:
        subprocess.run([*compose, "down", "--timeout", "0"], capture_output=True, env=environment)
        shutil.rmtree(folder, ignore_errors=True)


def _change() -> list[str]:
    directory = server_directory(MAJOR)
    return ["--change", f"ENV PATH=/usr/local/bin:/usr/bin:/bin:{directory}", "--change", 'CMD ["/start"]']

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real pgbouncer before a test server."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator

from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import Login
from support.clusters import Server, identity, private_directory
from support.ports import end_with_parent, free_port

__all__ = ["pgbouncer"]


@contextlib.contextmanager
def pgbouncer(server: Server, mode: str) -> Iterator[Login]:
    """A login as `postgres` through a pool of this mode (session, transaction); it asks for no password."""
    directory, port = private_directory("lb-pool"), free_port()
    configuration = directory / "pgbouncer.ini"
    configuration.write_text(
        f"[databases]\n* = host={server.socket_dir} port={server.port} user=postgres\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        f"pool_mode = {mode}\nlogfile = {directory}/log\n"
    )
    configuration.chmod(0o644)
    process = subprocess.Popen(
        ["pgbouncer", "--quiet", str(configuration)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        preexec_fn=end_with_parent(signal.SIGQUIT),
        **identity(),
    )
    login = Login(host="127.0.0.1", port=port, dbname="postgres")
    try:
        deadline = time.monotonic() + 120
        while b"process up" not in (directory / "log").read_bytes() if (directory / "log").exists() else True:
            assert process.poll() is None, "pgbouncer ended"
            assert time.monotonic() < deadline, "pgbouncer did not start"
            time.sleep(0.02)
        yield login
    finally:
        process.kill()
        process.wait()

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A session with a server inside a container that publishes no port: a private socket on the host, relayed by `exec`.

Each connection to the socket is the standard input and output of one relay inside. So nothing is copied here, and a session
ends when its client does, however that ended: the relay reads the end of its input.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import MissingTool
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.inside import Inside, InsideFacts, outer_environment

__all__ = ["relayed_socket"]

_END_SECONDS = 5.0

# One process each, which leaves no child behind: where the server is the container's first process, it inherits orphans, and
# takes the death of one by a signal for the crash of a backend (docs/postgres-notes.md#orphans).
_PERL = r"""
use strict; use Socket; my ($path, $port) = @ARGV; my $s;
if ($path ne '') { socket($s, PF_UNIX, SOCK_STREAM, 0) or die $!; connect($s, sockaddr_un($path)) or die "$path: $!"; }
else { socket($s, PF_INET, SOCK_STREAM, 6) or die $!; connect($s, sockaddr_in($port, inet_aton('127.0.0.1'))) or die "port $port: $!"; }
$SIG{PIPE} = 'IGNORE';
while (1) {
  my $r = ''; vec($r, fileno(STDIN), 1) = 1; vec($r, fileno($s), 1) = 1;
  select($r, undef, undef, undef) > 0 or next;
  for my $way ([\*STDIN, $s], [$s, \*STDOUT]) {
    my ($from, $to) = @$way; vec($r, fileno($from), 1) or next;
    my $n = sysread($from, my $b, 65536); $n or exit 0;
    for (my $o = 0; $o < $n; ) { my $w = syswrite($to, $b, $n - $o, $o); defined $w or exit 0; $o += $w; }
  }
}
"""
_PYTHON = r"""
import os, socket, sys, threading
path, port = sys.argv[1:]
if path: s = socket.socket(socket.AF_UNIX); s.connect(path)
else: s = socket.create_connection(('127.0.0.1', int(port)))
def out():
    while True:
        b = s.recv(65536)
        if not b: os._exit(0)
        while b: b = b[os.write(1, b):]
threading.Thread(target=out, daemon=True).start()
while True:
    b = os.read(0, 65536)
    if not b: os._exit(0)
    s.sendall(b)
"""


@contextlib.contextmanager
def relayed_socket(inside: Inside, facts: InsideFacts) -> Iterator[str]:
    """A private directory in which the inner server's socket seems to lie, for the block. Raises `MissingTool`."""
    argv = [*inside.prefix, *_relay(inside, facts)]
    directory = tempfile.mkdtemp(prefix="lifeboat-", dir="/tmp")  # 0700, and short enough for a socket's path
    listener = socket.socket(socket.AF_UNIX)
    children: list[subprocess.Popen[bytes]] = []
    try:
        listener.bind(os.path.join(directory, f".s.PGSQL.{inside.port}"))
        listener.listen(16)
        thread = threading.Thread(target=_serve, args=(listener, argv, children), name="lifeboat-relay", daemon=True)
        thread.start()
        try:
            yield directory
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join()
    finally:
        listener.close()
        shutil.rmtree(directory, ignore_errors=True)
        for child in children:
            try:
                child.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _relay(inside: Inside, facts: InsideFacts) -> list[str]:
    """The relay's command inside: over the server's socket where there is a tool for that, else over its loopback address."""
    path = os.path.join(facts.socket, f".s.PGSQL.{inside.port}") if facts.socket else ""
    if "perl" in facts.tools:
        return ["perl", "-e", _PERL, path, str(inside.port)]
    if "python3" in facts.tools:
        return ["python3", "-c", _PYTHON, path, str(inside.port)]
    if "socat" in facts.tools:
        return ["socat", "-", f"UNIX-CONNECT:{path}" if path else f"TCP:127.0.0.1:{inside.port}"]
    raise MissingTool(
        f"{inside.what} has none of perl, python3 and socat, so a session cannot be relayed",
        "exec",
        "Publish the server's port to this host and give login_host and login_port.",
    )


def _serve(listener: socket.socket, argv: list[str], children: list[subprocess.Popen[bytes]]) -> None:
    while True:
        try:
            connection, _address = listener.accept()
        except OSError:
            return
        with connection, contextlib.suppress(OSError):
            children[:] = [child for child in children if child.poll() is None]
            # pylint: disable-next=ansible-bad-function  # run_command is a module's; this is the library's
            child = subprocess.Popen(
                argv, stdin=connection.fileno(), stdout=connection.fileno(), stderr=subprocess.DEVNULL, env=outer_environment(),
                start_new_session=True,
            )  # fmt: skip
            children.append(child)

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts, seen by podman and not by SSH: while the tests run, the control node's key opens nothing any more."""

from __future__ import annotations

import datetime as dt
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from support.practice import Hosts, run_directory, secrets_in

BY_THEMSELVES = ("db1", "db2", "drill1")
"""Whose jobs have to go on without the control node."""


@pytest.fixture(scope="session")
def hosts() -> Hosts:
    return Hosts.of_this_run()


@pytest.fixture(scope="session")
def secrets() -> Mapping[str, str]:
    return secrets_in(run_directory() / "secrets")


@pytest.fixture(scope="session", autouse=True)
def control_node_is_gone(hosts: Hosts) -> Iterator[dt.datetime]:
    """Since when nobody can log in with the key that set everything up. It comes back when the tests are over."""
    for name in BY_THEMSELVES:
        hosts[name].check_output("mv /home/ops/.ssh/authorized_keys /root/")
    try:
        yield dt.datetime.now(dt.timezone.utc)
    finally:
        for name in BY_THEMSELVES:
            hosts[name].check_output("mv /root/authorized_keys /home/ops/.ssh/")


@pytest.fixture(scope="session", autouse=True)
def seen_from_beside(control_node_is_gone: dt.datetime) -> Iterator[subprocess.Popen[str]]:
    """A look at the first throwaway server of a drill that cron starts on drill1, which waits for it while other tests run."""
    program = (Path(__file__).parent / "look_at_a_drill.py").read_text()
    argv = ["podman", "exec", f"{run_directory().name}-drill1", "python3", "-c", program]
    looking = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield looking
    finally:
        looking.kill()
        looking.wait()

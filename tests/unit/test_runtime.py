# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who, where, when; and being told to stop."""

from __future__ import annotations

import datetime as dt
import os
import signal
import threading
from pathlib import Path

import pytest
import yaml
from ansible_collections.lifeboat.postgres.plugins.module_utils import runtime
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import Stopped, stop_on_signals

COLLECTION = Path(runtime.__file__).parents[2]


def test_the_version_is_the_collections() -> None:
    galaxy, manifest = COLLECTION / "galaxy.yml", COLLECTION / "MANIFEST.json"  # a checkout has one, an installed collection the other
    if galaxy.exists():
        version = yaml.safe_load(galaxy.read_text())["version"]
    else:
        version = yaml.safe_load(manifest.read_text())["collection_info"]["version"]
    assert version == runtime.VERSION


def test_the_host_has_a_name_and_an_id_that_does_not_give_its_machine_id_away(tmp_path: Path) -> None:
    machine_id = tmp_path / "machine-id"
    machine_id.write_text("0123456789abcdef0123456789abcdef\n")
    name = runtime.host_id((str(tmp_path / "absent"), str(machine_id)))
    assert len(name) == 16
    assert int(name, 16)
    assert name not in machine_id.read_text()
    assert name == runtime.host_id((str(machine_id),))
    assert runtime.host_name()


@pytest.mark.parametrize("content", [None, "", "uninitialized\n"])
def test_a_host_without_a_machine_id_has_no_id(tmp_path: Path, content: str | None) -> None:
    machine_id = tmp_path / "machine-id"
    if content is not None:
        machine_id.write_text(content)
    assert runtime.host_id((str(machine_id),)) == ""


def test_now_is_aware_and_in_utc() -> None:
    assert runtime.now().utcoffset() == dt.timedelta(0)


@pytest.mark.usefixtures("usual_signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_runs_every_finally_and_a_second_one_cannot_cut_that_short(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    cleaned = []
    with pytest.raises(Stopped, match=f"signal {int(number)} \\({number.name}\\)"), stop_on_signals():
        try:
            os.kill(os.getpid(), number)
        finally:
            os.kill(os.getpid(), number)
            cleaned.append(True)
    assert cleaned
    assert signal.getsignal(number) is before


def test_nothing_that_catches_exceptions_swallows_the_stop() -> None:
    with pytest.raises(Stopped), stop_on_signals():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except Exception:
            pytest.fail("swallowed")


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signals():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_another_thread_may_use_it_without_effect() -> None:
    seen = []

    def run() -> None:
        with stop_on_signals():
            seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]

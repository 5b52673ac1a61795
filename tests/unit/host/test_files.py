# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files on a host: what differs is shown, then made so; a secret is never shown."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.host.files import Absent, Directory, File, Link, make_plan

USER = pwd.getpwuid(os.geteuid()).pw_name
GROUP = grp.getgrgid(os.getegid()).gr_name


def test_what_differs_is_made_so_and_then_nothing_differs(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("x")
    wanted: list[Directory | File | Link | Absent] = [
        Directory(tmp_path / "d", 0o750, USER, GROUP),
        File(tmp_path / "d" / "job.json", b"{}\n", 0o640, USER, GROUP),
        File(tmp_path / "d" / "secret", b"hush\n", 0o600, USER, GROUP, secret=True),
        Link(tmp_path / "link", "d"),
        Absent(tmp_path / "old"),
    ]
    plan = make_plan(wanted)
    assert len(plan.changes) == 5
    assert not (tmp_path / "d").exists(), "a plan only looks"
    plan.apply()
    assert (tmp_path / "link" / "secret").read_text() == "hush\n"
    assert (tmp_path / "d" / "secret").stat().st_mode & 0o7777 == 0o600
    assert not make_plan(wanted).changes
    (tmp_path / "d" / "job.json").chmod(0o666)
    (tmp_path / "d" / "secret").write_text("older\n")
    again = make_plan(wanted)
    assert [change.item.path.name for change in again.changes] == ["job.json", "secret"]
    assert "hush" not in str(again.diff)
    assert "older" not in str(again.diff)
    again.apply()
    assert not make_plan(wanted).changes
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == ["job.json", "secret"], "no temporary file is left"


def test_something_else_in_the_way_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").symlink_to("/etc/passwd")
    (tmp_path / "directory").mkdir()
    for wanted in (File(tmp_path / "file", b"", user=USER, group=GROUP), Absent(tmp_path / "directory")):
        with pytest.raises(ConfigurationError, match="Move it away"):
            make_plan([wanted])

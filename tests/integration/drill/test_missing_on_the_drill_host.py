# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What production has and the drill host lacks, in real: a locale."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from support.clusters import Server
from support.drills import back_up


@pytest.mark.needs("program:localedef", "postgresql:15")
def test_a_locale_that_the_drill_host_lacks_is_named(work_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locales = work_dir.parent / "locales"
    locales.mkdir()
    done = subprocess.run(["localedef", "-i", "de_DE", "-f", "UTF-8", str(locales / "de_DE.UTF-8")], capture_output=True, text=True)
    assert (locales / "de_DE.UTF-8" / "LC_COLLATE").exists(), done.stderr
    # Production's server knows it, since it inherits this; a drill's programs inherit nothing.
    monkeypatch.setenv("LOCPATH", str(locales))
    with Server(15) as server, server.database(extra="LOCALE 'de_DE.UTF-8'") as name:
        server.execute("CREATE TABLE t AS SELECT 1 AS a", name)
        report = back_up(server, name, tmp_path).drill(work_dir)
    assert report["verdict"] == "unverified"
    assert "de_DE.UTF-8" in report["reason"]
    (restore,) = [check for check in report["checks"] if check["name"] == "restore"]
    assert "Install the locale" in restore["detail"]

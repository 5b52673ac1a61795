# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An escrow that is killed leaves no half key, no plain one, and nothing that keeps the next run from making it whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.run import run
from support import kill_escrow
from support.vaults import Escrow

pytestmark = pytest.mark.needs("program:age", "program:zstd", "library:pyrage", "library:zstandard")


def test_killed_anywhere_the_vault_has_the_key_whole_or_not_at_all_and_the_next_run_ships_it(tmp_path: Path, full: bool) -> None:
    escrow = Escrow(tmp_path)
    options = tmp_path / "options.json"
    options.write_text(json.dumps(escrow.options()))
    argv = [sys.executable, kill_escrow.__file__, str(options), "1" if full else "21", str(tmp_path / "work")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(argv, capture_output=True, text=True, env=environment, timeout=900)
    assert done.returncode == 0, done.stderr
    tries = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(tries) > 5
    assert [found["ended"] for found in tries] == [-9] * (len(tries) - 1) + [0]
    secret = escrow.master.read_bytes()
    for found in tries:
        root = Path(found["root"])
        escrow.vault = {"type": "posix", "path": str(root / "vault")}
        for manifest in escrow.manifests():
            assert escrow.opened(manifest) == {"": secret}, found
        given = kill_escrow.placed(escrow.options(), root)
        run(given)
        assert escrow.opened(escrow.manifests()[-1]) == {"": secret}
        assert json.loads((root / "state/shop/fingerprints.json").read_bytes())["keys"] == escrow.manifests()[-1].keys
        assert not run(given)["changed"]
        for path in root.rglob("*"):
            assert not path.is_file() or secret not in path.read_bytes(), path

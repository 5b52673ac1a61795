# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scenarios of molecule/ on real hosts, one test each. `bin/test hosts` runs them; `molecule/hosts` makes the hosts."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
SCENARIOS = sorted(path.parent.name for path in CHECKOUT.glob("molecule/*/molecule.yml"))


@pytest.mark.needs("root", "library:molecule", *(f"program:{name}" for name in ("podman", "runc", "debootstrap", "age-keygen", "rclone")))
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(scenario: str) -> None:
    # The directory's name becomes the containers' and the network's; sockets of ssh lie in it, so it is short.
    with tempfile.TemporaryDirectory(prefix="lifeboat-", dir="/tmp") as directory:
        environment = {
            **os.environ,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            # Molecule looks for a collection's scenarios in extensions/ unless it is told, and would find none and be content.
            "MOLECULE_GLOB": "molecule/*/molecule.yml",
            "MOLECULE_EPHEMERAL_DIRECTORY": directory,
            "NO_COLOR": "1",
        }
        # As a module: the script's first line names an interpreter, and has room for 127 bytes only.
        molecule = [sys.executable, "-m", "molecule"]
        try:
            run = subprocess.run(
                [*molecule, "test", "--scenario-name", scenario, "--destroy", "never", "--no-command-borders"],
                cwd=CHECKOUT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        finally:
            # Also when pytest was stopped in between: by name, whatever Molecule knows.
            subprocess.run([*molecule, "destroy", "--scenario-name", scenario], cwd=CHECKOUT, env=environment, capture_output=True)
    assert run.returncode == 0, run.stdout
    assert "Require that trying to write left nothing" in run.stdout, run.stdout

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scenarios of molecule/ on real hosts, one test each. `bin/test hosts` runs them; `molecule/hosts` makes the hosts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml
from support.practice import secrets_in

CHECKOUT = Path(__file__).resolve().parents[2]
SCENARIOS = sorted(path.parent.name for path in CHECKOUT.glob("molecule/*/molecule.yml"))
PROGRAMS = ("podman", "runc", "debootstrap", "age-keygen", "rclone")


@pytest.mark.needs("root", "library:molecule", "library:testinfra", "store:versitygw", *(f"program:{name}" for name in PROGRAMS))
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(scenario: str) -> None:
    # The directory's name becomes the containers' and the networks'; sockets of ssh lie in it, so it is short.
    with tempfile.TemporaryDirectory(prefix="lifeboat-", dir="/tmp") as directory:
        environment = {
            # What this pytest tells its own workers is not meant for the one that a scenario runs.
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
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
            secrets = secrets_in(Path(directory, "secrets"))
        finally:
            # Also when pytest was stopped in between: by name, whatever Molecule knows.
            subprocess.run([*molecule, "destroy", "--scenario-name", scenario], cwd=CHECKOUT, env=environment, capture_output=True)
    said = without_details(run.stdout)
    assert run.returncode == 0, said
    # A scenario that found no hosts, or no tests, is content, too.
    assert [word for word in last_words(scenario) if word not in run.stdout] == [], said
    # Where a scenario runs Ansible with -vvv it said all that it knows; none of it may be a secret.
    assert [name for name, secret in secrets.items() if secret in run.stdout] == []
    assert secrets or "-vvv" not in (CHECKOUT / "molecule" / scenario / "molecule.yml").read_text()


def last_words(scenario: str) -> list[str]:
    """What the output of a run that came to its end holds: the last task of verify.yml, or each test of those in Python."""
    folder = CHECKOUT / "molecule" / scenario
    verify = folder / "verify.yml"
    if verify.exists():
        return [f"TASK [{yaml.safe_load(verify.read_text())[-1]['tasks'][-1]['name']}]"]
    tests = [(path, name) for path in folder.glob("tests/test_*.py") for name in re.findall(r"(?m)^def (test_\w+)", path.read_text())]
    assert tests, f"nothing verifies {scenario}"
    return [f"{path.name}::{name}" for path, name in tests]


def without_details(output: str) -> str:
    """What -vvv says of what went well left out: a person has to find what went wrong."""
    kept: list[str] = []
    inside = False
    for line in output.splitlines():
        inside = inside or (line.startswith(("ok: [", "changed: [", "skipping: [")) and line.endswith("=> {"))
        if not inside and not re.match(r"<[\d.]+> |task path: |redirecting ", line):
            kept.append(line)
        inside = inside and line != "}"
    return "\n".join(kept)

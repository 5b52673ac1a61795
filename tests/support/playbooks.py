# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection's playbooks run as users run them, by the real `ansible-playbook` and an inventory."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.modules import COLLECTIONS

__all__ = ["Play", "command", "play"]


@dataclass(frozen=True)
class Play:
    """What a run of a playbook said: its output, its exit status, and what it handed over by `set_stats`."""

    output: str
    status: int

    def recap(self, host: str) -> dict[str, int]:
        """The host's numbers in the last lines: ok, changed, failed, …"""
        line = re.search(rf"^{re.escape(host)} +: (.*)$", self.output, re.MULTILINE)
        assert line, self.output
        return {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", line.group(1))}

    @property
    def stats(self) -> dict[str, Any]:
        found = re.search(r"^\tRUN: (\{.*\})$", self.output, re.MULTILINE)
        return json.loads(found.group(1)) if found else {}


def play(playbook: str, inventory: Mapping[str, Any], home: Path, *arguments: str, prefix: Sequence[str] = ()) -> Play:
    """Run `lifeboat.postgres.<playbook>`, or a playbook's file, with this inventory.

    Nothing of the person's own configuration takes part. `prefix` is put before the command, as to run it as somebody else.
    """
    argv, environment = command(playbook, inventory, home, *arguments, prefix=prefix)
    done = subprocess.run(argv, capture_output=True, text=True, env=environment, cwd="/", timeout=900)
    return Play(done.stdout + done.stderr, done.returncode)


def command(
    playbook: str, inventory: Mapping[str, Any], home: Path, *arguments: str, prefix: Sequence[str] = ()
) -> tuple[list[str], dict[str, str]]:
    """What `play` runs, and with which environment."""
    file, configuration = home / "inventory.json", home / "ansible.cfg"
    file.write_text(json.dumps(inventory), encoding="utf-8")
    configuration.touch()
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")},
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_CONFIG": str(configuration),
        "ANSIBLE_HOME": str(home / "ansible"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_SHOW_CUSTOM_STATS": "1",
    }
    named = playbook if playbook.startswith("/") else f"lifeboat.postgres.{playbook}"
    return [*prefix, sys.executable, "-m", "ansible", "playbook", named, "-i", str(file), *arguments], environment

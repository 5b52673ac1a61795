# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one of the demo's playbooks with the real `ansible-playbook`, and tell of each item as it happens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from places import DemoError

PLAYBOOKS = Path(__file__).with_name("playbooks")


@dataclass(frozen=True)
class Outcome:
    """What a module answered to one item: its title, whether it succeeded, its result, and how long it took."""

    title: str
    ok: bool
    result: dict[str, Any]
    seconds: float

    @property
    def message(self) -> str:
        """What the module said, in one line."""
        return " ".join(str(self.result.get("msg", "")).split())


def run_playbook(name: str, variables: Mapping[str, Any], home: Path) -> Iterator[Outcome]:
    """Play `playbooks/<name>.yml` and yield an `Outcome` per item; raises `DemoError` when Ansible itself fails.

    `home` takes Ansible's own files, so that nothing of the user's configuration is read or written.
    """
    variables_file = home / f"{name}.json"
    variables_file.write_text(json.dumps(variables), encoding="utf-8")
    # By module, not by its script: the script's first line names an interpreter, and has room for 127 bytes only.
    argv = [sys.executable, "-m", "ansible", "playbook", str(PLAYBOOKS / f"{name}.yml"), "-i", "localhost,", "-e", f"@{variables_file}"]
    moment = time.monotonic()
    answered = 0
    with open(home / f"{name}.err", "w+b") as faults:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=faults, env=_environment(home), start_new_session=True
        )
        assert process.stdout is not None
        strays: list[str] = []
        for line in process.stdout:
            event = _event(line)
            if event is None:
                strays.append(line.decode(errors="replace").strip())
            elif event["event"] == "started":
                moment = time.monotonic()
            else:
                now = time.monotonic()
                answered += 1
                yield Outcome(event["label"], event["event"] == "ok", event["result"], now - moment)
                moment = now
        status = process.wait()
        faults.seek(0)
        said = faults.read().decode(errors="replace").strip()
    if not answered:
        raise DemoError(f"ansible-playbook {name}.yml ended with exit code {status} and no answer: {said or ' '.join(strays)}")


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def _environment(home: Path) -> dict[str, str]:
    """This process's environment with Ansible's settings in place of the user's."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_") or key == "ANSIBLE_COLLECTIONS_PATH"}
    # Ansible's own processes leave a directory behind when they are ended: it goes with everything else of the demo.
    temporary = home.parent / "tmp"
    temporary.mkdir(exist_ok=True)
    temporary.chmod(0o1777)
    kept |= {
        "TMPDIR": str(temporary),
        "ANSIBLE_CONFIG": str(PLAYBOOKS / "ansible.cfg"),
        "ANSIBLE_HOME": str(home),
        "ANSIBLE_LOCAL_TEMP": str(home / "tmp"),
        "ANSIBLE_REMOTE_TEMP": str(home / "tmp"),
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    if "utf-8" not in (kept.get("LC_ALL") or kept.get("LC_CTYPE") or kept.get("LANG") or "").lower().replace("utf8", "utf-8"):
        kept["LC_ALL"] = "C.UTF-8" if sys.platform.startswith("linux") else "en_US.UTF-8"
    return kept

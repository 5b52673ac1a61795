# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remotes of the real rclone: a directory, which knows digests, and one that encrypts into it through an alias, which knows none."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.parts import find_program, require

__all__ = ["Remotes", "make_remotes"]


@dataclass(frozen=True)
class Remotes:
    """A configuration of rclone; `directory` is what the remotes `disk`, `nickname` and `crypt` lead to."""

    config: Path
    directory: Path

    def spec(self, remote: str = "disk", **overrides: Any) -> dict[str, Any]:
        """Options of a repository in the directory, by this remote; what is to be given up soon has other times."""
        path = str(self.directory) if remote == "disk" else "vault"
        if remote == "nickname":
            path = ""
        return {
            "type": "rclone",
            "remote": f"{remote}:{path}",
            "config_file": str(self.config),
            "program": find_program("rclone"),
            "connect_timeout": "60s",
            "read_timeout": "120s",
            **overrides,
        }

    def add(self, name: str, **settings: str) -> None:
        """One remote more."""
        with self.config.open("a") as stream:
            stream.write(f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items()))


def make_remotes(work: Path) -> Remotes:
    """A configuration in `work` with remotes that lead to an empty directory there."""
    require("program:rclone")
    directory = work / "remote"
    (directory / "hidden" / "vault").mkdir(parents=True)
    config = work / "rclone.conf"
    config.touch(mode=0o600)
    remotes = Remotes(config, directory)
    remotes.add("disk", type="local")
    remotes.add("nickname", type="alias", remote=f"disk:{directory}")
    remotes.add("crypt", type="crypt", remote="nickname:hidden", password=_obscured("only of the tests"), filename_encryption="off",
                directory_name_encryption="false", suffix="none")  # fmt: skip
    return remotes


def _obscured(password: str) -> str:
    program = find_program("rclone")
    assert program is not None
    return subprocess.run([program, "obscure", "-"], input=password, capture_output=True, text=True, check=True).stdout.strip()

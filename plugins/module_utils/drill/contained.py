# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs of a drill in containers: the server in one of its own, each of its clients in another one, of the same image.

What they share with the host are the drill's directories that they need, under the same paths; so the socket, the dump and the pipes
of a recovery are where they are without containers. Whether that leaves a way out is asked from inside, as ever (proof.py).
"""

from __future__ import annotations

import copy
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.account import Account
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.image import Image
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.isolation import Confinement

__all__ = ["Contained"]


class Contained(Confinement):
    """`directory` is the drill's own; its name is the drill's id. Files that say who is who are written into it."""

    isolated = True
    stop_signal = signal.SIGQUIT  # PostgreSQL's immediate shutdown, after which the container is gone

    def __init__(self, image: Image, account: Account, directory: Path) -> None:
        self.how = image.how
        known_as = f"{image.reference} ({image.image_id.rpartition(':')[2][:12]})"
        self.detail = (
            f"A {image.how} of image {known_as}: no network, nothing of the host but the drill's own directories, a root directory"
            " that nobody can write; no capabilities, no new privileges."
        )
        self._image = image
        self._directory = directory
        self._server = ""
        self._started = 0
        # initdb wants its user to have a name, and the image does not know the host's.
        self._files = {"/etc/passwd": directory / "passwd", "/etc/group": directory / "group"}
        names = {0: "root", account.uid: account.name}
        lines = "".join(f"{name}:x:{uid}:{account.gid if uid else 0}::/:/bin/sh\n" for uid, name in names.items())
        for path, text in zip(self._files.values(), (lines, f"root:x:0:\n{account.name}:x:{account.gid}:\n")):
            path.write_text(text, encoding="utf-8")
            path.chmod(0o644)

    @property
    def environment(self) -> Mapping[str, str]:
        return self._image.engine.environment

    def command(self, argv: Sequence[str], writable: Iterable[Path] = (), readable: Iterable[Path] = ()) -> list[str]:
        # By a colon and a word: z lets containers of this drill share it where SELinux is on, and is nothing elsewhere.
        wanted = {**dict.fromkeys(map(str, readable), "ro,z"), **dict.fromkeys(map(str, writable), "rw,z")}
        mounts = [f"{path}:{name}:ro,z" for name, path in self._files.items()] + [f"{path}:{path}:{how}" for path, how in wanted.items()]
        self._started += 1
        name = f"lifeboat-{self._directory.name}-{self._started}"
        if Path(argv[0]).name == "postgres":
            self._server = name
        return self._image.argv(argv, self._directory, name, [word for mount in mounts for word in ("--volume", mount)])

    @property
    def send(self) -> Callable[[int], bool]:
        return self._send

    def _send(self, number: int) -> bool:
        """Send a signal to the server; the engine's program would not pass each of them on."""
        return bool(self._server) and self._image.engine.signal(self._server, number)

    def doubted(self, why: str) -> Confinement:
        """The same, with nothing claimed of it."""
        doubtful = copy.copy(self)
        doubtful.isolated, doubtful.detail = False, why
        return doubtful

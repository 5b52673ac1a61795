# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may read a backup: sealing needs recipients only, opening needs the identity (law 5)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import SealError

if TYPE_CHECKING:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.stages import Stage

__all__ = ["DamagedSeal", "Opener", "Sealer", "WrongIdentity", "through"]


def through(stage: Stage, data: bytes) -> bytes:
    """All of `data` through one stage."""
    from ansible_collections.lifeboat.postgres.plugins.module_utils.pipeline import run_through

    parts: list[bytes] = []
    run_through([stage], [data], parts.append)
    return b"".join(parts)


class WrongIdentity(SealError):
    """The identity is a good one, but not one that this was sealed for."""


class DamagedSeal(SealError):
    """The sealed bytes were altered or cut. `in_header`: before it could be told whether the identity fits."""

    def __init__(self, what: str, where: str = "", next_step: str = "", in_header: bool = False) -> None:
        super().__init__(what, where, next_step)
        self.in_header = in_header


class Sealer(ABC):
    """Seals for `recipients`: public halves, without comments, in the order given, each once."""

    method: str
    suffix: str
    recipients: tuple[str, ...]
    notes: tuple[str, ...]
    """What the operator should know, though it works: sentences for warnings and reports."""

    @abstractmethod
    def stage(self) -> Stage:
        """A new stage from plain to sealed bytes."""

    def seal(self, data: bytes) -> bytes:
        """The same for a few megabytes in memory: without starting a program, where there is another way."""
        return through(self.stage(), data)


class Opener(ABC):
    """Opens with the identity in `identity_file`: a secret key or a passphrase, of which no copy outlasts a stage."""

    method: str
    identity_file: str
    head_bytes: int = 8192
    """How much of a beginning `check` wants to see."""

    @abstractmethod
    def stage(self) -> Stage:
        """A new stage from sealed to plain bytes. It raises `WrongIdentity`, or `DamagedSeal` for whatever is not whole."""

    def open(self, data: bytes) -> bytes:
        """The same for a few megabytes in memory; raises as `stage` does."""
        return through(self.stage(), data)

    @abstractmethod
    def check(self, head: bytes) -> None:
        """Whether this identity opens what begins with `head` (`head_bytes` are enough): a guard, before anything is fetched.

        Raises `WrongIdentity`, or `DamagedSeal` when `head` is not the beginning of a sealed stream.
        """

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""No seal at all, for who asks for it by its name (`method: none`), and is told what that means wherever it shows."""

from __future__ import annotations

from typing import BinaryIO

from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.base import Opener, Sealer
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.methods import NONE, SHORTCOMINGS
from ansible_collections.lifeboat.postgres.plugins.module_utils.stages import FunctionStage, Stage, copy

__all__ = ["METHOD", "NoOpener", "NoSealer"]

METHOD = NONE


def _as_it_is() -> Stage:
    def pass_on(source: BinaryIO, target: BinaryIO) -> None:
        copy(source, target)

    return FunctionStage("no seal", pass_on)


class NoSealer(Sealer):
    """Passes everything on as it is."""

    method = METHOD
    suffix = ""

    def __init__(self) -> None:
        self.recipients = ()
        self.notes = (SHORTCOMINGS[NONE],)

    def stage(self) -> Stage:
        return _as_it_is()


class NoOpener(Opener):
    """Passes everything on as it is; needs no identity."""

    method = METHOD
    identity_file = ""

    def stage(self) -> Stage:
        return _as_it_is()

    def open(self, data: bytes) -> bytes:
        return data

    def check(self, head: bytes) -> None:
        return None

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sealing with age (https://age-encryption.org): the program `age` where there is one, else the library pyrage.

Both release only authenticated bytes, and both end well only at the true end of the file. Recipients are public and may
stand in argv; an identity is given by its path alone.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ansible_collections.lifeboat.postgres.plugins.module_utils import deps
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError, MissingTool, PipelineError, SealError
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.age_keys import check_identity_file, identity_lines, parse_recipients
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.base import DamagedSeal, Opener, Sealer, WrongIdentity
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.methods import AGE
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import clean_line

if TYPE_CHECKING:
    from types import ModuleType

    from ansible_collections.lifeboat.postgres.plugins.module_utils.stages import Stage

__all__ = ["METHOD", "AgeOpener", "AgeSealer"]

METHOD = AGE
SUFFIX = ".age"

_ONLY_ONE = "only one recipient: when its identity is lost, every backup is lost; add a second one, whose identity lies in a safe"

# What the program (age 1.1–1.3) and the library (rage 0.11) say, each in lower case.
_WRONG_IDENTITY = ("no identity matched", "no matching keys found", "incorrect identity")
_BAD_HEADER = ("failed to read header", "bad header mac", "header is invalid", "header mac is invalid", "incomplete header",
               "failed to fill whole buffer", "unexpected intro", "malformed", "unknown age format", "recipient")  # fmt: skip
_BAD_PAYLOAD = ("payload chunk", "unexpected eof", "decryption error", "truncated", "failed to read nonce", "trailing data")


class AgeSealer(Sealer):
    """Seals for age recipients. `prefer` ("program" or "library") forces one of the two.

    Raises `ConfigurationError` for wrong or no recipients, `MissingTool`.
    """

    method = METHOD
    suffix = SUFFIX

    def __init__(self, recipients: Sequence[str], prefer: str = "", where: str = "encryption.recipients") -> None:
        self.recipients = parse_recipients(recipients, where)
        self.notes = (_ONLY_ONE,) if len(self.recipients) == 1 else ()
        self._program = _program(prefer)
        self._library = None if self._program else _library()
        self._prefer = prefer

    @functools.cached_property
    def _at_hand(self) -> ModuleType | None:
        return _at_hand(self._prefer)

    def __repr__(self) -> str:
        return f"AgeSealer({len(self.recipients)} recipients)"

    def stage(self) -> Stage:
        if self._library is not None:
            library, recipients = self._library, _library_recipients(self._library, self.recipients)
            return _in_a_thread(lambda source, target: library.encrypt_io(source, target, recipients))
        argv = [self._program]
        for recipient in self.recipients:
            argv += ["-r", recipient]
        return _program_stage(argv, _explain_sealing)

    def seal(self, data: bytes) -> bytes:
        if self._at_hand is None:
            return super().seal(data)
        try:
            sealed: bytes = self._at_hand.encrypt(data, _library_recipients(self._at_hand, self.recipients))
        except self._at_hand.EncryptError as error:
            raise SealError(f"age (library) could not seal: {clean_line(str(error))}", METHOD) from None
        return sealed


class AgeOpener(Opener):
    """Opens what was sealed for the identity in a file. Raises `SealError` for an unusable file, `MissingTool`."""

    method = METHOD

    def __init__(self, identity_file: str, prefer: str = "") -> None:
        # Absolute, because age takes "-" for its standard input, which is the backup.
        self.identity_file = str(Path(identity_file).absolute())
        check_identity_file(self.identity_file)
        self._program = _program(prefer)
        self._library = None if self._program else _library()
        self._prefer = prefer

    @functools.cached_property
    def _at_hand(self) -> ModuleType | None:
        return _at_hand(self._prefer)

    def __repr__(self) -> str:
        return f"AgeOpener({self.identity_file!r})"

    def stage(self) -> Stage:
        library = self._library
        if library is not None:
            return _in_a_thread(lambda source, target: self._open_with(library, source, target))
        return _program_stage([self._program, "-d", "-i", self.identity_file], self._explain)

    def open(self, data: bytes) -> bytes:
        library = self._at_hand
        if library is None:
            return super().open(data)
        try:
            opened: bytes = library.decrypt(data, _library_identities(library, self.identity_file))
        except (library.DecryptError, OSError) as error:
            raise self._explain(1, str(error)) or PipelineError(f"age (library) failed: {clean_line(str(error))}") from None
        return opened

    def check(self, head: bytes) -> None:
        from ansible_collections.lifeboat.postgres.plugins.module_utils.pipeline import Pipeline

        try:
            with Pipeline([self.stage()], [head]):
                pass
        except DamagedSeal as error:
            if error.in_header:
                raise

    def _open_with(self, library: ModuleType, source: BinaryIO, target: BinaryIO) -> None:
        try:
            library.decrypt_io(source, target, _library_identities(library, self.identity_file))
        except (library.DecryptError, OSError) as error:
            raise self._explain(1, str(error)) or PipelineError(f"age (library) failed: {clean_line(str(error))}") from None

    def _explain(self, status: int, said: str) -> LifeboatError | None:
        if status < 0:
            return None
        lower, said = said.lower(), _words(said)
        if any(words in lower for words in _WRONG_IDENTITY):
            what = f"the identity in {self.identity_file} does not open this backup"
            return WrongIdentity(what, METHOD, "Use the identity of one of its recipients.")
        in_header = any(words in lower for words in _BAD_HEADER)
        if in_header or any(words in lower for words in _BAD_PAYLOAD):
            return DamagedSeal(f"the sealed backup is damaged or cut: {said}", METHOD, "Use another repository's copy.", in_header)
        return SealError(f"age could not open it: {said}", METHOD) if said else None


def _program_stage(argv: list[str], explain: Callable[[int, str], LifeboatError | None]) -> Stage:
    # Loaded with the first stage: a sealer is made, and its recipients are judged, also where nothing has to be sealed.
    from ansible_collections.lifeboat.postgres.plugins.module_utils.process_stage import ProcessStage

    return ProcessStage("age", argv, explain=explain)


def _in_a_thread(function: Callable[[BinaryIO, BinaryIO], None]) -> Stage:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.stages import FunctionStage

    return FunctionStage("age (library)", function)


def _explain_sealing(status: int, said: str) -> LifeboatError | None:
    return SealError(f"age could not seal: {_words(said)}", METHOD) if status > 0 else None


def _library_recipients(library: ModuleType, recipients: Sequence[str]) -> list[Any]:
    kinds = [library.ssh if recipient.startswith("ssh-") else library.x25519 for recipient in recipients]
    try:
        return [kind.Recipient.from_str(recipient) for kind, recipient in zip(kinds, recipients)]
    except library.RecipientError as error:
        raise SealError(f"age could not use a recipient: {clean_line(str(error))}", METHOD) from None


def _library_identities(library: ModuleType, path: str) -> list[Any]:
    lines = identity_lines(path)
    try:
        if "PRIVATE KEY" in lines[0]:
            return [library.ssh.Identity.from_buffer(lines[0].encode())]
        return [library.x25519.Identity.from_str(line) for line in lines]
    except library.IdentityError as error:
        raise SealError(f"age could not use the identity: {clean_line(str(error))}", f"identity file {path}") from None


def _words(said: str) -> str:
    """age's own complaint, without its prefix and its closing advice to report it."""
    lines = (line.removeprefix("age: ").removeprefix("error: ") for line in said.splitlines() if "age/report" not in line)
    return clean_line("\n".join(lines))[:160]


def _program(prefer: str) -> str:
    program = "" if prefer == "library" else shutil.which("age") or ""
    if prefer == "program" and not program:
        raise MissingTool("the program age was not found", "", "Install the package age.")
    return program


def _at_hand(prefer: str) -> ModuleType | None:
    """The library for what lies in memory, where it is installed: a program takes longer to start than to seal a WAL segment."""
    if prefer == "program":
        return None
    try:
        return _library()
    except MissingTool:
        return None


def _library() -> ModuleType:
    try:
        return deps.load("pyrage", minimum="1.2", package="pyrage")
    except MissingTool as error:
        raise MissingTool(
            f"neither the program age nor its library is there: {error.what}", "", f"Install the package age. Or: {error.next_step}"
        ) from None

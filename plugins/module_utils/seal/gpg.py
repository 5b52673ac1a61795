# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sealing with GnuPG for OpenPGP recipients (RFC 4880), and with a passphrase (`passphrase.py` says what that costs).

gpg writes plaintext before it knows whether that is authentic: a flipped bit gave exit status 2 with all of it written.
So whoever reads an opened stream may use nothing of it before the pipeline has ended well; and "well" is more than exit
status 0 here, since gpg passes bytes that were never sealed on with it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError, SealError
from ansible_collections.lifeboat.postgres.plugins.module_utils.pipeline import Pipeline
from ansible_collections.lifeboat.postgres.plugins.module_utils.process_stage import ProcessStage
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.base import DamagedSeal, Opener, Sealer, WrongIdentity
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.gpg_home import (
    GpgHome,
    complaint,
    find_agent,
    find_gpg,
    status_lines,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.gpg_keys import PublicKeys, read_identity, read_recipients
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.methods import GPG, GPG_SYMMETRIC, SHORTCOMINGS
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.passphrase import Passphrase
from ansible_collections.lifeboat.postgres.plugins.module_utils.stages import Failure, Stage

__all__ = ["METHOD", "SYMMETRIC", "GpgOpener", "GpgSealer", "PassphraseOpener", "PassphraseSealer"]

METHOD, SYMMETRIC = GPG, GPG_SYMMETRIC
SUFFIX = ".gpg"
HEAD_BYTES = 256 * 1024
"""gpg looks into an encrypted packet only once it has a whole piece of it; the pieces that it writes are of 8 to 64 KiB."""

_CIPHER = ("--cipher-algo", "AES256", "--compress-algo", "none")  # zstd was there before
# As slow as the format allows: 65,011,712 bytes of SHA-512 per guess, and gpg need not ask an agent for a number.
_S2K = ("--s2k-mode", "3", "--s2k-digest-algo", "SHA512", "--s2k-cipher-algo", "AES256", "--s2k-count", "65011712")
_ONLY_ONE = "only one recipient: when its identity is lost, every backup is lost; add a second one, whose identity lies in a safe"
_NO_SECRET_KEY, _CODE_BITS = 17, 0xFFFF  # GPG_ERR_NO_SECKEY; the rest of a number says which part of gpg it comes from
_OTHER_COPY = "Use another repository's copy."

# The status that tells of a good end, and the error when it is missing (doc/DETAILS).
_SEALED = ("END_ENCRYPTION", lambda: SealError("gpg could not seal: it ended without having sealed anything", METHOD))
_OPENED = (
    "DECRYPTION_OKAY",
    lambda: DamagedSeal(
        "the sealed backup is damaged or cut, or never was sealed: gpg opened nothing in it", METHOD, _OTHER_COPY, in_header=True
    ),
)
# What says nothing about the backup: this host, or gpg itself.
_OUR_OWN = (
    "connect to the agent",
    "out of core",
    "Cannot allocate memory",
    "No space left",
    "can't create",
    "can't open",
    "invalid option",
    "Broken pipe",
)


class GpgSealer(Sealer):
    """Seals for OpenPGP keys; `recipients` are their exact fingerprints. Raises `ConfigurationError`, `MissingTool`."""

    method = METHOD
    suffix = SUFFIX

    def __init__(self, recipients: Sequence[str], keyring_file: str = "", where: str = "encryption.recipients") -> None:
        self._program = find_gpg()
        with GpgHome(self._program) as home:
            self._keys: PublicKeys = read_recipients(home, recipients, keyring_file, where)
        self.recipients = self._keys.fingerprints
        self.notes = (*((_ONLY_ONE,) if len(self.recipients) == 1 else ()), *self._keys.notes)

    def __repr__(self) -> str:
        return f"GpgSealer({len(self.recipients)} recipients)"

    def stage(self) -> Stage:
        def prepare(home: GpgHome) -> tuple[list[str], list[int]]:
            home.import_keys(self._keys.data)
            named = [word for fingerprint in self.recipients for word in ("--recipient", fingerprint)]
            return home.argv("--trust-model", "always", *_CIPHER, *named, "--output", "-", "--encrypt"), []

        return _GpgStage(lambda: GpgHome(self._program), prepare, _explain_sealing, *_SEALED)


class PassphraseSealer(Sealer):
    """Seals with AES-256 and the passphrase in a file, which goes to gpg through a descriptor."""

    method = SYMMETRIC
    suffix = SUFFIX

    def __init__(self, passphrase_file: str) -> None:
        self._passphrase = Passphrase(passphrase_file)
        self._program = find_gpg()
        self.recipients = ()
        self.notes = (SHORTCOMINGS[SYMMETRIC],)

    def __repr__(self) -> str:
        return f"PassphraseSealer({self._passphrase.path!r})"

    def stage(self) -> Stage:
        return _GpgStage(
            lambda: GpgHome(self._program),
            lambda home: _with_passphrase(home, self._passphrase, *_CIPHER, *_S2K, "--output", "-", "--symmetric"),
            _explain_sealing,
            *_SEALED,
        )


class _AnyOpener(Opener):
    head_bytes = HEAD_BYTES

    def check(self, head: bytes) -> None:
        try:
            with Pipeline([self.stage()], [head]):
                pass
        except DamagedSeal as error:
            if error.in_header:
                raise

    def _explain(self, status: int, said: str) -> LifeboatError | None:
        """From gpg's status lines to an error; `said` is all of its standard error."""
        if status < 0:
            return None
        lines = status_lines(said)
        words = {line.partition(" ")[0] for line in lines}
        if any("BAD_PASSPHRASE" in line for line in lines) or "Bad session key" in said:
            return WrongIdentity(f"the passphrase in {self.identity_file} does not open this backup", self.method, "Use its own one.")
        # 2.2 says NO_SECKEY only; 2.4 also that it could not decrypt for want of a key, and not since a session key was altered.
        causes = {int(line.split()[2]) & _CODE_BITS for line in lines if re.match(r"ERROR pkdecrypt_failed \d+$", line)}
        if "DECRYPTION_KEY" not in words and "No secret key" in said and causes <= {_NO_SECRET_KEY}:
            what = f"the identity in {self.identity_file} does not open this backup"
            return WrongIdentity(what, self.method, "Use the identity of one of its recipients.")
        if any(fault in said for fault in _OUR_OWN):
            return SealError(f"gpg could not open it: {complaint(said)}", self.method)
        why = complaint(said) or "it does not end as it should"
        in_header = not words & {"DECRYPTION_KEY", "PLAINTEXT"}
        return DamagedSeal(f"the sealed backup is damaged or cut: {why}", self.method, _OTHER_COPY, in_header)


class GpgOpener(_AnyOpener):
    """Opens with the exported secret key in a file. Raises `SealError` for an unusable file, `MissingTool`.

    The key is imported into a private home each time something is opened, since gpg takes none from a file.
    """

    method = METHOD

    def __init__(self, identity_file: str) -> None:
        self.identity_file = os.path.abspath(identity_file)
        self._program, self._agent = find_gpg(), find_agent()
        with GpgHome(self._program) as home:
            read_identity(home, self.identity_file)

    def __repr__(self) -> str:
        return f"GpgOpener({self.identity_file!r})"

    def stage(self) -> Stage:
        def prepare(home: GpgHome) -> tuple[list[str], list[int]]:
            home.import_keys(read_identity(home, self.identity_file), agent=True)
            return home.argv("--output", "-", "--decrypt", agent=True), []

        return _GpgStage(lambda: GpgHome(self._program, self._agent), prepare, self._explain, *_OPENED)


class PassphraseOpener(_AnyOpener):
    """Opens with the passphrase in a file. Raises `SealError` for an unusable file, `MissingTool`."""

    method = SYMMETRIC

    def __init__(self, passphrase_file: str) -> None:
        self.identity_file = os.path.abspath(passphrase_file)
        self._passphrase = Passphrase(self.identity_file)
        self._program = find_gpg()

    def __repr__(self) -> str:
        return f"PassphraseOpener({self.identity_file!r})"

    def stage(self) -> Stage:
        return _GpgStage(
            lambda: GpgHome(self._program),
            lambda home: _with_passphrase(home, self._passphrase, "--output", "-", "--decrypt"),
            self._explain,
            *_OPENED,
        )


class _GpgStage(ProcessStage):
    """gpg in a private home, which exists from the stage's start to its close. It must end with status `okay` as well as 0.

    `prepare` makes the home ready and returns argv and descriptors for gpg, which are closed here once it has them.
    """

    def __init__(
        self,
        home: Callable[[], GpgHome],
        prepare: Callable[[GpgHome], tuple[list[str], list[int]]],
        explain: Callable[[int, str], LifeboatError | None],
        okay: str,
        unfinished: Callable[[], LifeboatError],
    ) -> None:
        super().__init__("gpg", ["gpg"], explain=explain)
        self._make_home, self._prepare, self._okay = home, prepare, okay
        self._unfinished = unfinished
        self._home: GpgHome | None = None

    def start(self, stdin: int, stdout: int, ended: Callable[[Stage], None]) -> None:
        descriptors: list[int] = []
        try:
            try:
                self._home = self._make_home()
                self.argv, descriptors = self._prepare(self._home)
            except BaseException:
                os.close(stdin)
                os.close(stdout)
                raise
            self.pass_fds = tuple(descriptors)
            super().start(stdin, stdout, ended)
        except BaseException:
            self._leave_home()
            raise
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def close(self, timeout_seconds: float) -> bool:
        try:
            return super().close(timeout_seconds)
        finally:
            self._leave_home()

    def _judge(self, code: int, stderr: str) -> Failure | None:
        failure = super()._judge(code, stderr)
        if failure is None and not any(line.startswith(self._okay) for line in status_lines(stderr)):
            # What was never sealed, gpg passes on and ends with 0; and so it does when it got a few bytes only.
            return Failure(self._unfinished(), False)
        return failure

    def _leave_home(self) -> None:
        home, self._home = self._home, None
        if home is not None:
            home.close()


def _with_passphrase(home: GpgHome, passphrase: Passphrase, *arguments: str) -> tuple[list[str], list[int]]:
    """The command, and the descriptor from which gpg reads the passphrase: it is in no argument and no file of ours."""
    reader, writer = os.pipe()
    try:
        os.write(writer, passphrase.line())
    except BaseException:
        os.close(reader)
        raise
    finally:
        os.close(writer)
    return home.argv("--pinentry-mode", "loopback", "--passphrase-fd", str(reader), *arguments), [reader]


def _explain_sealing(status: int, said: str) -> LifeboatError | None:
    return SealError(f"gpg could not seal: {complaint(said)}", METHOD) if status > 0 else None

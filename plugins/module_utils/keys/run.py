# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The story of `key_escrow`: every protected key read, judged, compared with what the vaults hold, and shipped where it changed.

A key that is refused, or a vault that fails, does not keep the others from being shipped; the run fails in the end and
names it. Of a key nothing leaves this process but its sealed form and its fingerprint.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.lock import host_lock
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import KeyRefused, LifeboatError, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.env_file import EnvFileError, parse
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.fingerprint import fingerprint, new_salt, read_salt, short
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.held import Held, look
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.job import KIND, KeysJob
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.sources import KeyFile, KeySource, Material
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.state import (
    fingerprints_file,
    make_way,
    read_fingerprints,
    salt_file,
    write_fingerprints,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.strength import same_secret, weakness
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import moment_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.private_directory import private_directory
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.secret_file import read_secret_bytes

__all__ = ["run"]

_UNSIGNED = "the manifest is not signed: signing_key is not set"
_SECRET_WORDS = ("key", "pass", "pwd", "salt", "secret", "token")


def run(given: Mapping[str, Any], check_mode: bool = False, progress: Callable[[str], None] = lambda message: None) -> dict[str, Any]:
    """From options to a result, for the module and the command; with `check_mode` only what would be shipped, and why.

    Raises `ConfigurationError`, `Locked` before anything is shipped; `KeyRefused` or `RepositoryError` with the result when
    not every key is in every vault.
    """
    job = KeysJob.from_options(given)
    folder = salt_file(job.system, job.state_dir).parent
    with contextlib.ExitStack() as stack:
        if not check_mode:
            stack.enter_context(host_lock(job.system, KIND, KIND, job.lock_dir))
            make_way(folder)
            private_directory(folder, "state", "state_dir")
        escrow = _Escrow(job, check_mode, progress)
        escrow.read()
        vaults = [stack.enter_context(open_repository(name, spec, read_only=check_mode)) for name, spec in job.vaults.items()]
        escrow.compare(look(vaults, job.system, job.own_keys))
        if not check_mode:
            escrow.ship(vaults)
            escrow.remember()
    return escrow.result()


@dataclasses.dataclass
class _Key:
    """One key of this run. `material` is secret; `why` maps each vault that has to get it to the reason."""

    source: KeySource
    material: Material = dataclasses.field(repr=False)
    fingerprint: str
    why: Mapping[str, str] = dataclasses.field(default_factory=dict)
    before: str = ""
    stamp: dt.datetime | None = None
    backup_id: str = ""
    problems: Mapping[str, str] = dataclasses.field(default_factory=dict)


class _Escrow:
    """One run: its keys, what went wrong, and what the operator should know."""

    def __init__(self, job: KeysJob, check_mode: bool, progress: Callable[[str], None]) -> None:
        self.job, self.check_mode, self.progress = job, check_mode, progress
        self.keys: list[_Key] = []
        self.refused: dict[str, LifeboatError] = {}
        self.faults: list[LifeboatError] = []
        self.warnings = [*job.notes, *([_UNSIGNED] if job.signing_key is None else [])]
        path = salt_file(job.system, job.state_dir)
        salt = read_salt(path)
        # Without one, check mode cannot know a fingerprint: it writes nothing.
        self.salt = salt if salt is not None or check_mode else new_salt(path)

    def read(self) -> None:
        """Read and judge every key; those that are refused are said in the end."""
        passphrases = [read_secret_bytes(path, f"passphrase file {path}") for path in self.job.passphrase_files]
        for source in self.job.sources:
            try:
                material = source.read()
                self.warnings += _require_strength(source, material, passphrases)
            except LifeboatError as error:
                self.refused[source.name] = error
                continue
            known = "" if self.salt is None else fingerprint(material.named_bytes, self.salt)
            self.keys.append(_Key(source, material, known))

    def compare(self, held: Held) -> None:
        """Which vault lacks which key, or holds another one."""
        for name, fault in held.faults.items():
            self.faults.append(RepositoryError(f"key repository {name!r} cannot be looked at: {fault.rstrip('. ')}", name))
        for key in self.keys:
            newest = {name: held.newest(name, key.source.name) for name in self.job.vaults if name not in held.faults}
            key.stamp = _after(one.backup_id for one in newest.values() if one is not None)
            key.before = next((one.fingerprint for one in newest.values() if one is not None), "")
            why = {}
            for name, one in newest.items():
                if one is None:
                    why[name] = "it is not there"
                elif not key.fingerprint or one.fingerprint != key.fingerprint:
                    why[name] = "the key changed"
                elif set(one.recipients) != set(self.job.sealer.recipients):
                    why[name] = "it is sealed for other recipients"
                elif one.problem:
                    why[name] = f"what lies there is not whole: {one.problem}"
                    self.warnings.append(f"{key.source.where} in key repository {name!r} is not whole: {one.problem}")
            key.why = why
            key.backup_id = "" if why else next((one.backup_id for one in newest.values() if one is not None), "")

    def ship(self, vaults: Sequence[Repository]) -> None:
        """Write what is lacking, key by key."""
        from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.ship import Shipment, ship

        for key in self.keys:
            lacking = [vault for vault in vaults if vault.name in key.why]
            if not lacking or self.salt is None:
                continue
            name = key.source.name
            self.progress(f"key {name!r}, {short(key.fingerprint)}: {'; '.join(sorted(set(key.why.values())))}")
            shipment = Shipment.of(name, key.material, key.fingerprint, self.salt)
            notes = [*self.job.sealer.notes, *([_UNSIGNED] if self.job.signing_key is None else [])]
            try:
                manifest, deliveries = ship(
                    self.job.system,
                    shipment,
                    self.job.sealer,
                    lacking,
                    self.job.signing_key,
                    self.job.stall_timeout_seconds,
                    notes,
                    self.job.application_version,
                    self.progress,
                    stamp=key.stamp,
                )
            except LifeboatError as error:
                self.faults.append(error)
                key.problems = dict.fromkeys(key.why, str(error))
                continue
            key.backup_id = manifest.backup_id
            key.problems = {delivery.repository: delivery.problem for delivery in deliveries if delivery.problem}
            for vault, problem in key.problems.items():
                self.faults.append(
                    RepositoryError(f"key {name!r} did not get into key repository {vault!r}: {problem.rstrip('. ')}", vault)
                )

    def remember(self) -> None:
        """Leave the fingerprints to the backups that follow: of what a vault holds, and of nothing else."""
        path = fingerprints_file(self.job.system, self.job.state_dir)
        try:
            before = read_fingerprints(path, self.job.system)
        except LifeboatError as error:
            before = {}
            self.warnings.append(f"written anew: {error}")
        names = {source.name for source in self.job.sources}
        # A key that was refused now was another one before, and backups may well need that.
        after = {name: text for name, text in before.items() if name in names}
        after.update({key.source.name: key.fingerprint for key in self.keys if key.backup_id})
        if after != before or not path.exists():
            write_fingerprints(path, self.job.system, after)

    def result(self) -> dict[str, Any]:
        """What a module returns; raises with it when not every key is in every vault."""
        shipped = [key for key in self.keys if key.why and (key.backup_id or self.check_mode)]
        result: dict[str, Any] = {
            "changed": bool(shipped),
            "fingerprints": {key.source.name: key.fingerprint for key in self.keys if key.fingerprint},
            "escrowed": {key.source.name: _described(key) for key in self.keys},
            "refused": {name: str(error) for name, error in self.refused.items()},
            "warnings": list(dict.fromkeys(self.warnings)),
        }
        if shipped:
            result["diff"] = {
                "before": "".join(f"{key.source.name} {key.before}\n" for key in shipped if key.before),
                "after": "".join(f"{key.source.name} {key.fingerprint or '(a fingerprint that the first run makes)'}\n" for key in shipped),
            }
        said = [f"{name}: {str(error).rstrip('.')}" for name, error in self.refused.items()] + [
            str(fault).rstrip(".") for fault in self.faults
        ]
        if said:
            kind = KeyRefused if self.refused else type(self.faults[0])
            count = f"{len(self.job.sources) - len({*self.refused, *(key.source.name for key in self.keys if key.problems)})}"
            raise kind(
                f"{count} of {len(self.job.sources)} keys are safe, and not all is well: {'; '.join(said)}",
                next_step="Mend what is named and run again; what was shipped stays.",
                result=result,
            )
        return result


def _after(backup_ids: Iterable[str]) -> dt.datetime:
    """A moment by which a backup sorts after these: ids of one second sort by chance, and a clock may have been wrong."""
    return max([now(), *(moment_of(backup_id) + dt.timedelta(seconds=1) for backup_id in backup_ids)])


def _described(key: _Key) -> dict[str, Any]:
    return {
        "fingerprint": key.fingerprint,
        "backup_id": key.backup_id,
        "changed": bool(key.why),
        "because": dict(key.why),
        "problems": dict(key.problems),
        "files": len(key.material.files),
    }


def _require_strength(source: KeySource, material: Material, passphrases: Sequence[bytes]) -> list[str]:
    """Refuse what is no key (row C5), and one that opens backups as well (law 4); return what is only unwise."""
    notes: list[str] = []
    for file in material.files:
        which = f", file {file.name}" if file.name else ""
        said = weakness(file.data, source.encoding if source.encoding != "raw" else "", source.least_bytes)
        if said:
            raise KeyRefused(f"{said}", f"{source.where}{which}", "Production needs a real one: make it, and rotate.")
        variables = dict(_variables(file)) if not source.variable else {}
        equal = same_secret(file.data, passphrases) or any(same_secret(value, passphrases) for value in variables.values())
        if equal:
            raise KeyRefused(
                "it is a passphrase of the backups as well: whoever opens a backup would have the key to what is encrypted in it",
                f"{source.where}{which}",
                "Give backups a passphrase of their own (law 4).",
            )
        for name, value in variables.items():
            weak = weakness(value, "", 8) if any(word in name.lower() for word in _SECRET_WORDS) else ""
            if weak and value.strip():
                notes.append(f"{source.where}{which}: variable {name}: {weak}")
    return notes


def _variables(file: KeyFile) -> Iterator[tuple[str, bytes]]:
    """The variables of a file that is shipped whole, where it looks like one of a `.env` kind. Secret."""
    if len(file.data) > 1024 * 1024 or b"-----BEGIN" in file.data or b"=" not in file.data:
        return
    try:
        found = parse(file.data)
    except EnvFileError:
        return
    for name, value in found.items():
        if isinstance(value, bytes):
            yield name, value

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`lifeboat keys`: an identity on paper for the safe; and what the vaults hold, sealed for other recipients.

Both need an identity, so both run on the machine of who keeps it, and not on the host that has the keys.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.catalogue import Catalogue
from ansible_collections.lifeboat.postgres.plugins.module_utils.command.job_file import read_job
from ansible_collections.lifeboat.postgres.plugins.module_utils.command.terminal import Terminal, complain
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.found_backup import Backup
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.fingerprint import short
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import moment_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository, validate
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import stop_on_signals
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.factory import sealer

__all__ = ["print_", "reseal"]

JOB_FILE = "/etc/lifeboat/keys.json"
KEYS = ("system", "key_repositories", "encryption", "signing_key", "verify_keys", "stall_timeout")
KIND = "keys"


def print_(given: argparse.Namespace, terminal: Terminal) -> int:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.paper import write_page

    notes = write_page(given.identity, Path(given.output))
    terminal.line(f"written: {given.output}")
    for note in notes:
        complain(note)
    return 0


def reseal(given: argparse.Namespace, terminal: Terminal) -> int:
    """Of every key that a vault holds, also of those that were rotated away: another backup for the recipients of today.

    The old one stays until it is pruned; whoever had its identity has the key, so rotate a key whose identity got lost to others.
    """
    from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.keys import open_key
    from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.document import packed_files
    from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.ship import Shipment, ship

    job = read_job(given.config, JOB_FILE)
    where = "keys reseal"
    options.unknown_keys(job, KEYS, where)
    system = options.text(job, "system", where)
    specs = options.mapping(job, "key_repositories", where)
    if not specs:
        raise ConfigurationError("key_repositories is empty", where)
    for name, spec in specs.items():
        validate(name, spec)
    key_sealer = sealer(options.mapping(job, "encryption", where), purpose="keys")
    signing_key = options.path(job, "signing_key", where)
    stall = options.duration_seconds(job, "stall_timeout", where, 120.0, minimum=1)
    for note in key_sealer.notes:
        complain(note)
    with stop_on_signals(), contextlib.ExitStack() as stack:
        for name, spec in specs.items():
            vault = stack.enter_context(open_repository(name, spec, read_only=given.check))
            for backup in _sealed_for_others(vault, system, options.texts(job, "verify_keys", where, ()), set(key_sealer.recipients)):
                said = f"{name}: {backup.ref.name} {short(backup.manifest.keys.get(backup.ref.name, ''))} of {backup.ref.backup_id}"
                if given.check:
                    terminal.line(f"{said}: would be sealed anew")
                    continue
                key, document = open_key(vault, backup.manifest, given.identity)
                several = backup.manifest.format == "tar"
                body = packed_files(key.files) if several else key.part()
                # A second later than the one it stands for: it sorts after that, and before the key that came next.
                stamp = moment_of(backup.ref.backup_id) + dt.timedelta(seconds=1)
                shipment = Shipment(backup.ref.name, several, body, document)
                made, deliveries = ship(system, shipment, key_sealer, [vault], signing_key, stall, key_sealer.notes, stamp=stamp)
                for delivery in deliveries:
                    if delivery.problem:
                        raise RepositoryError(f"{backup.ref.name} could not be sealed anew: {delivery.problem}", f"key repository {name!r}")
                terminal.line(f"{said}: sealed anew as {made.backup_id}", "good")
    return 0


def _sealed_for_others(vault: Repository, system: str, verify_keys: tuple[str, ...], recipients: set[str]) -> Iterator[Backup]:
    """Of each key with each of its fingerprints the newest backup in this vault, unless it is sealed for these recipients."""
    seen: set[tuple[str, str]] = set()
    for backup in Catalogue.load([vault], system, KIND, None, verify_keys).backups:
        pair = (backup.ref.name, backup.manifest.keys.get(backup.ref.name, ""))
        if pair in seen:
            continue
        seen.add(pair)
        if set(backup.manifest.recipients) != recipients:
            if any(problem.startswith(f"{vault.name}: ") for problem in backup.problems):
                raise RepositoryError(
                    f"{backup.ref.name} of {backup.ref.backup_id} is not good: {backup.problems[0]}", f"key repository {vault.name!r}"
                )
            yield backup

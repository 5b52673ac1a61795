# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The identity that opens the backups, out of the vault, on a host that never held it (row D2).

It is a protected key like the application's own: sealed for the key recipients, shipped from wherever the identity is kept. Here it
is opened into memory that has a path only in this process and those that it starts, and is gone with it, however that ends.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator

from ansible_collections.lifeboat.postgres.plugins.module_utils.catalogue import Catalogue
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.keys import KIND, open_key
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.plan import DrillPlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import DrillRefused, IntegrityError, LifeboatError, SealError
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.fingerprint import short
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.base import WrongIdentity

__all__ = ["with_identity"]


@contextlib.contextmanager
def with_identity(plan: DrillPlan) -> Iterator[tuple[DrillPlan, list[str]]]:
    """A plan that names an `identity_key`, with an `identity_file`, for as long as this lasts, and what the report should say of it.

    After a rotation the vault holds several of one name: all that open are given, so
    that a backup of before is opened as well. Raises `SealError`, `IntegrityError`, `RepositoryError`, `DrillRefused`.
    """
    content, note = _out_of_the_vault(plan)
    if not hasattr(os, "memfd_create"):
        raise DrillRefused("this system has no memory with a path, where an identity could be kept", "identity_key", "Give identity_file.")
    descriptor = os.memfd_create("identity", os.MFD_CLOEXEC)
    try:
        os.fchmod(descriptor, 0o600)
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        path = f"/proc/{os.getpid()}/fd/{descriptor}"
        yield dataclasses.replace(plan, identity_file=path), [note]
    finally:
        os.close(descriptor)


def _out_of_the_vault(plan: DrillPlan) -> tuple[bytes, str]:
    """Every identity of that name that can be had, the newest first, one after the other as a file may hold them; and a note."""
    name = plan.identity_key
    bodies: dict[bytes, str] = {}
    closed: LifeboatError | None = None
    with contextlib.ExitStack() as stack:
        vaults = [stack.enter_context(open_repository(vault, spec, read_only=True)) for vault, spec in plan.key_repositories.items()]
        catalogue = Catalogue.load(vaults, plan.system, KIND, name, plan.verify_keys)
        for backup in catalogue.backups:
            place = next(vault for vault in vaults if vault.name in backup.repositories)
            try:
                if backup.problems:
                    raise IntegrityError(backup.problems[0], f"backup {backup.ref.backup_id}")
                key, _document = open_key(place, backup.manifest, plan.key_identity_file)
            except (WrongIdentity, IntegrityError) as error:
                closed = closed or error
                continue
            bodies.setdefault(key.part().rstrip(b"\n") + b"\n", f"{short(backup.manifest.keys[name])} from {place.name}")
    if bodies:
        return b"".join(bodies), f"the identity was taken from the vault: {name}, {', '.join(bodies.values())}"
    if closed is not None:
        raise closed
    if catalogue.unreachable:
        raise SealError("the identity cannot be had: a vault could not be listed", name, "; ".join(catalogue.unreachable.values()))
    raise SealError(
        f"no vault holds a key {name}, which is to be the identity", "identity_key", "Ship it there with key_escrow, from where it is kept."
    )

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that can be known before anything is made: the guards in their order, and check mode, which ends after them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import compress
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import PASSED
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill import guard
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.account import account_for
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.choose import Found, check_volumes, choose
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.choose_base import choose_base
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.fetch import Fetcher
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.image import open_image
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.pitr_archive import rehearse_chain
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.pitr_evidence import aimed
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.pitr_terms import PITR
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.plan import DrillPlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.target import Programs, rehearse_isolation, require_isolation
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import DrillRefused, MissingTool, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import manifest_key
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.factory import opener, shortcoming
from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import format_moment

__all__ = ["Prepared", "keeping_notes", "look_before", "open_repositories", "rehearse", "sealing_notes", "unless_waived"]


@dataclass(frozen=True)
class Prepared:
    """What the guards found: how to fetch, which programs, and what the operator should know."""

    fetcher: Fetcher
    programs: Programs
    notes: tuple[str, ...]


_NO_CADENCE = "it says whether an upgrade would take these data, and does not count as the drill that was due"


def open_repositories(plan: DrillPlan) -> list[Repository]:
    """The repositories in the order given, read-only."""
    return [open_repository(name, spec, read_only=True) for name, spec in plan.repositories.items()]


def look_before(plan: DrillPlan, found: Found, try_writing: bool) -> Prepared:
    """Ask every guard; raises what stands in the way, and touches nothing.

    `try_writing`: find out whether the credentials can write, by trying, which check mode leaves out.
    """
    manifest = found.manifest
    notes = guard.check_production(plan.production_hosts)
    notes += unless_waived(plan, "same_host", lambda: guard.check_same_host(manifest))
    notes += unless_waived(plan, "signature", lambda: guard.check_signature(manifest, plan.verify_keys))
    for repository in found.reachable if try_writing else ():
        look = functools.partial(guard.check_credential, repository, plan.system)
        notes += unless_waived(plan, "writable_credential", look)
    guard.check_space(plan, manifest)
    account_for(plan.run_as)
    programs = _programs(plan, manifest)
    if plan.server_major is not None and programs.postgres.major != manifest.server_version_num // 10000:
        notes += [f"restored on PostgreSQL {programs.postgres.version}, production has {manifest.server_version}: {_NO_CADENCE}"]
    compress.decompressor()
    if plan.identity_file:
        guard.check_identity_place(plan.identity_file)
    key = opener(manifest.encryption, plan.identity_file, passphrase_file=plan.passphrase_file)
    fetcher = Fetcher(found.repository, manifest, key)
    check_volumes(found)
    fetcher.check_instructions()
    fetcher.check_identity()
    return Prepared(fetcher, programs, (*notes, *keeping_notes(found.repository, manifest), *programs.warnings))


def _programs(plan: DrillPlan, manifest: Manifest) -> Programs:
    """PostgreSQL of the backup's own major version, or of the one that was asked for; raises `MissingTool`, `DrillRefused`."""
    own = manifest.server_version_num // 10000
    wanted = plan.server_major or own
    if wanted < own:
        raise DrillRefused(
            f"server_major is {wanted}, and backup {manifest.backup_id} is of PostgreSQL {own}: no older version reads a newer one's dump",
            "restore_drill",
            "Name the version that production is to be upgraded to.",
        )
    try:
        return Programs(wanted, plan.bin_dir, open_image(plan.throwaway, plan.bin_dir, account_for(plan.run_as), plan.work_dir))
    except MissingTool as missing:
        if wanted == own:
            raise
        said = f"{missing.what.partition(',')[0]}, which server_major asks for"
        raise MissingTool(said, missing.where, missing.next_step) from None


def sealing_notes(manifest: Manifest) -> list[str]:
    """What every report of a drill of this backup has to say about its seal (law 5)."""
    said = shortcoming(manifest.encryption)
    return [f"this backup is {said}"] if said else []


def keeping_notes(repository: Repository, manifest: Manifest) -> list[str]:
    """What every report has to say where whoever may write could destroy this backup (law 5)."""
    try:
        why = repository.unguarded(manifest_key(manifest.ref))
    except RepositoryError as error:
        return [f"whether this backup could be destroyed where it lies is not known: {error.what}"]
    if not why:
        return []
    return [f"whoever may replace what lies in repository {repository.name!r} can destroy this backup: {why} (law 5 does not hold)"]


def rehearse(plan: DrillPlan) -> dict[str, Any]:
    """What a drill would do, for check mode; raises what would refuse or fail it before it begins. Changes nothing."""
    archive_notes: list[str] = []
    with contextlib.ExitStack() as stack:
        if plan.identity_key:
            from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.identity import with_identity

            plan, archive_notes = stack.enter_context(with_identity(plan))
        repositories = [stack.enter_context(repository) for repository in open_repositories(plan)]
        found = choose_base(plan, repositories)[0] if plan.mode == PITR else choose(plan, repositories)
        if plan.mode == PITR:
            plan = aimed(plan, found.manifest)
        prepared = look_before(plan, found, try_writing=False)
        if plan.mode == PITR:
            archive_notes += [rehearse_chain(plan, found.repository, found.manifest)]
    manifest = found.manifest
    key_notes = _rehearse_keys(plan, manifest)
    places = [f"{result.name}: {result.found}" for result in found.results]
    with rehearse_isolation(plan, prepared.programs) as confinement:
        require_isolation(plan, confinement)
        isolated = confinement.isolated
    return {
        "backup_id": manifest.backup_id,
        "repository": found.repository.name,
        "snapshot_at": format_moment(manifest.snapshot_at),
        "postgresql": prepared.programs.postgres.version,
        "isolated": isolated,
        "fetch_bytes": manifest.size_bytes,
        "needed_bytes": guard.needed_bytes(manifest),
        "work_dir": str(plan.work_dir),
        "notes": [*places, *sealing_notes(manifest), *archive_notes, *key_notes, *prepared.notes],
    }


def _rehearse_keys(plan: DrillPlan, manifest: Manifest) -> list[str]:
    """Whether the vault has the protected keys, as the drill would find them; raises `DrillRefused` for one that it would not have."""
    if not (manifest.keys or plan.key_repositories):
        return []
    from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.keys import fetch_keys

    fetched = fetch_keys(plan, manifest, try_writing=False)
    for result in fetched.results:
        if result.verdict != PASSED:
            raise DrillRefused(f"{result.name}: {result.found}", result.expected, result.detail)
    return [*fetched.notes, *(f"{result.name}: {result.found}" for result in fetched.results)]


def unless_waived(plan: DrillPlan, name: str, look: Callable[[], None]) -> Sequence[str]:
    """Ask a guard that can be waived; what it would have refused is a note then."""
    try:
        look()
    except DrillRefused as refusal:
        if name not in plan.waive:
            raise
        return [f"{name} was waived: {refusal.what}"]
    return []

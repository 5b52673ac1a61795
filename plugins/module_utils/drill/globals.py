# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles of production on the throwaway server, from their own backup: as a recovery would begin, and compared as well.

The script goes through psql, which also does what a script says in its own commands. So it runs confined like everything
else of a backup, or it does not run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import deps, layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import FAILED, UNVERIFIED, CheckResult
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill import guard, logical
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.choose import Found
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.fetch import Fetcher
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.plan import DrillPlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.target import Target
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import (
    DrillRefused,
    LifeboatError,
    ManifestError,
    ObjectMissing,
    RepositoryError,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.globals import GlobalsEvidence, compare_globals, read_globals
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import database_errors
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.programs import Psql
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.restore_errors import kind_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.factory import opener
from ansible_collections.lifeboat.postgres.plugins.module_utils.stages import clean_line
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import many

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["KIND", "NAME", "FoundGlobals", "find_globals", "restore_globals"]

KIND = NAME = "globals"
SCRIPT = "globals.sql"

_A_DAY = 86400.0
_SHOWN = 5
_ERROR = re.compile(r"^psql:.*:(\d+): (?:ERROR|FATAL|PANIC): +(.*)$")
_TABLESPACE = re.compile(r"(?:CREATE|ALTER|COMMENT ON) TABLESPACE |(?:GRANT|REVOKE) .* ON TABLESPACE |SET default_tablespace")


@dataclass(frozen=True)
class FoundGlobals:
    """The backup of globals that goes with a database's, and where it lies."""

    manifest: Manifest
    repository: Repository


def find_globals(plan: DrillPlan, found: Found) -> FoundGlobals | None:
    """The globals of the same server that go with the database's backup, in the same repository; or None.

    A run takes them after its databases, so they are the first ones after the snapshot, within a day; else the nearest.
    Raises `ManifestError` when a manifest that had to be read is broken, `RepositoryError`.
    """
    taken_at, server = found.manifest.snapshot_at, found.manifest.system_identifier
    keys = [item.key for item in found.repository.list(layout.manifests_prefix(plan.system, KIND, NAME))]
    refs = [ref for ref in map(layout.parse_manifest_key, keys) if ref is not None]
    later = {ref: (layout.moment_of(ref.backup_id) - taken_at).total_seconds() for ref in refs}
    read: dict[layout.BackupRef, Manifest | None] = {}

    def of_this_server(ref: layout.BackupRef) -> Manifest | None:
        if ref not in read:
            read[ref] = _manifest(found.repository, ref)
        manifest = read[ref]
        # A managed server may not say who it is; then the system's globals are taken for its own.
        return manifest if manifest is not None and (not server or manifest.system_identifier in ("", server)) else None

    first: Manifest | None = None
    for ref in sorted((ref for ref in refs if -1 <= later[ref] <= _A_DAY), key=lambda ref: later[ref]):
        # An id tells whole seconds only, so which of two in the same one came first is told by their manifests.
        if first is not None and layout.moment_of(ref.backup_id) > first.snapshot_at:
            break
        manifest = of_this_server(ref)
        if manifest is not None and manifest.snapshot_at >= taken_at and (first is None or manifest.snapshot_at < first.snapshot_at):
            first = manifest
    if first is not None:
        return FoundGlobals(first, found.repository)
    for ref in sorted(refs, key=lambda ref: abs(later[ref])):
        manifest = of_this_server(ref)
        if manifest is not None:
            return FoundGlobals(manifest, found.repository)
    return None


def _manifest(repository: Repository, ref: layout.BackupRef) -> Manifest | None:
    """The manifest, or None when it was removed since it was listed."""
    where = f"backup {ref.backup_id} of globals"
    try:
        manifest = Manifest.from_bytes(repository.read(layout.manifest_key(ref)), where)
    except ObjectMissing:
        return None
    if manifest.ref != ref:
        raise ManifestError("the manifest speaks of another backup", where)
    return manifest


def restore_globals(plan: DrillPlan, found: FoundGlobals, target: Target) -> CheckResult:
    """Make production's roles, as psql reads them from the backup, and compare; one answer that never shows a value.

    Afterwards the throwaway's superuser is as the drill needs it, whatever production's is like. A backup of globals that
    cannot be fetched, opened or trusted is a failed check, and what the host lacks an unverified one; neither is raised.
    """
    manifest = found.manifest
    where = f"backup {manifest.backup_id} of globals"
    if not target.confinement.isolated:
        return CheckResult("globals", UNVERIFIED, where, "not restored", "psql runs commands of a script, and nothing isolates it here")
    try:
        if "signature" not in plan.waive:
            guard.check_signature(manifest, plan.verify_keys)
        psql = Psql(target.running.major, plan.bin_dir, target.programs.image)
        fetcher = Fetcher(found.repository, manifest, opener(manifest.encryption, plan.identity_file, passphrase_file=plan.passphrase_file))
        fetcher.check_instructions()
        evidence = GlobalsEvidence.from_bytes(fetcher.evidence(), where)
        script = target.workspace.fetched / SCRIPT
        fetcher.dump(script, target.account.gid)
    except LifeboatError as error:
        passing = isinstance(error, (RepositoryError, DrillRefused)) and not isinstance(error, ObjectMissing)
        return CheckResult("globals", UNVERIFIED if passing else FAILED, where, "could not be fetched and opened", str(error))
    try:
        return _restored(target, psql, script, evidence, manifest.server_version_num // 10000 != target.running.major)
    finally:
        script.unlink()


def _restored(target: Target, psql: Psql, script: Path, evidence: GlobalsEvidence, other_major: bool) -> CheckResult:
    cluster = target.running
    # Opened before: production's superuser may not log in, or be let in only once.
    with cluster.connect("template1", "lifeboat drill globals") as conn:
        conninfo = cluster.login("template1").conninfo(f"lifeboat {target.workspace.drill_id}")
        try:
            code, lines = logical.run_program(target, psql.argv(conninfo, script), [script.parent])
            compared = compare_globals(evidence, read_globals(conn, passwords=True), other_major)
        finally:
            _make_usable(conn, cluster.superuser)
    errors = list(_unexpected(lines, script, cluster.superuser))
    if code not in (0, 3):
        errors.append(f"psql ended with exit status {code}: {clean_line(chr(10).join(lines[-3:]), 200)}")
    if not errors:
        return compared
    verdict = UNVERIFIED if all(kind_of(message) in logical.HOST_KINDS for message in errors) else FAILED
    shown = "; ".join(errors[:_SHOWN])
    if len(errors) > _SHOWN:
        shown += f"; and {len(errors) - _SHOWN} more"
    return CheckResult(
        "globals", verdict, compared.expected, f"{many(len(errors), 'error')}, {compared.found}", f"{shown}; {compared.detail}"
    )


def _unexpected(lines: Iterable[str], script: Path, superuser: str) -> Iterable[str]:
    """The errors that a whole script does not have: it makes the superuser once more, and tablespaces have no place here."""
    statements = script.read_text(encoding="utf-8", errors="replace").split("\n")
    for line in lines:
        match = _ERROR.match(line)
        if match is None:
            continue
        number, message = int(match.group(1)), match.group(2)
        statement = statements[number - 1] if 0 < number <= len(statements) else ""
        if statement.startswith("CREATE ROLE ") and message == f'role "{superuser}" already exists':
            continue
        if _TABLESPACE.match(statement):
            continue
        # The statement itself may hold a password's hash; the server's words name at most what is missing.
        yield clean_line(message, 200)


def _make_usable(conn: Connection[Any], superuser: str) -> None:
    """Undo on the throwaway's superuser what would keep the drill out or change what it reads."""
    sql = deps.load("psycopg.sql", package="psycopg", debian="python3-psycopg")
    name = sql.Identifier(superuser)
    with database_errors("the throwaway server"):
        conn.execute(sql.SQL("ALTER ROLE {} RESET ALL").format(name))
        conn.execute(sql.SQL("ALTER ROLE {} LOGIN SUPERUSER BYPASSRLS CONNECTION LIMIT -1 VALID UNTIL 'infinity'").format(name))

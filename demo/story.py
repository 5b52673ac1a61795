# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the demo does, from top to bottom: a shop, a backup under load, a drill, backups that are bad, and a dropped table."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import damage
import moment
import shop
from cases import CASES, GOOD, SOURCES, Case
from findings import Findings, judge, report_of
from keys import make_keys
from places import DemoError, Place
from plan import BACKUP_ROLE, BUCKET, Plan, machine_facts
from playbook import Outcome, run_playbook
from processes import end_descendants
from progress import Progress
from servers import ObjectStore, Production
from traffic import Traffic

QUIET_SECONDS = 0.3


def play(place: Place, progress: Progress) -> Findings:
    """The whole demo; raises `DemoError` when it cannot go on."""
    findings = Findings()
    with _servers(place, progress) as plan:
        with plan.production.connect("postgres") as connection:
            findings.machine = machine_facts(place, str(connection.execute("SHOW server_version").fetchone()[0]))  # type: ignore[index]
        _back_up_under_load(plan, progress)
        _good_drill(plan, progress, findings)
        _bad_backups(plan, progress)
        _drill_them(plan, progress, findings)
        moment.play(plan, progress, findings)
    return findings


@contextlib.contextmanager
def _servers(place: Place, progress: Progress) -> Iterator[Plan]:
    """Production with its shop, keys, two repositories; all servers are stopped at the end."""
    keys = make_keys(place.directory("keys"))
    production = Production(place)
    bucket_folder = place.directory("offsite")
    (bucket_folder / BUCKET).mkdir()
    store = ObjectStore(bucket_folder, place.root / "keys" / "offsite.credentials")
    reader = ObjectStore(bucket_folder, place.root / "keys" / "offsite-read-only.credentials", read_only=True)
    for name in ("here", "locks", "ansible", "reports", "copies"):
        place.directory(name)
    place.directory("drills", 0o711)
    try:
        with progress.step("production", "start PostgreSQL") as found:
            production.start()
            with production.connect("postgres") as connection:
                version = connection.execute("SHOW server_version").fetchone()[0]  # type: ignore[index]
            found.append(f"version {version} as user {place.account.name}, listening on a private socket only")
        with progress.step("production", "load the shop") as found:
            rows, vector = shop.load(production, keys.master_key_file.read_bytes())
            shop.add_backup_role(production, BACKUP_ROLE)
            (place.root / "keys" / "lifeboat.password").write_text(production.passwords[BACKUP_ROLE])
            (place.root / "keys" / "lifeboat.password").chmod(0o600)
            found.append(f"{rows:,} rows" + ("" if vector else ", with text in place of vectors: this PostgreSQL has no pgvector"))
        with progress.step("offsite", "start an S3 store") as found:
            store.start()
            reader.start()
            found.append("one access key that writes, one that can only read (for drills)")
        yield Plan(place, keys, production, store, reader, place.root / "here", _waivers(place, progress))
    finally:
        with progress.step("teardown", "stop all servers"):
            # Production first: a server that is told to stop archives what it has, and needs the store for that.
            servers = (production, store, reader)
            end_descendants(spare=frozenset(server.process.pid for server in servers if server.process))
            for server in servers:
                server.stop()


def _waivers(place: Place, progress: Progress) -> list[str]:
    """What the demo waives by name, each said in a sentence."""
    from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.account import account_for
    from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.isolation import confinement_for

    progress.note("Production and drills share this machine here, which a real drill refuses: waived by name (same_host).", "waived")
    waived = ["same_host"]
    mount_point = place.directory("trial", 0o755)
    confinement = confinement_for(account_for("" if place.account.is_own else place.account.name), mount_point, place.bin_dir)
    mount_point.rmdir()
    if not confinement.isolated:
        progress.note(f"{confinement.detail.rstrip('.')}. A real drill would end unverified: waived by name (isolation).", "waived")
        waived.append("isolation")
    return waived


def _back_up_under_load(plan: Plan, progress: Progress) -> None:
    """The healthy backup, into both repositories, while the shop sells."""
    item = {
        "title": "the shop, while it sells",
        "name": GOOD.asset,
        "database": shop.DATABASE,
        "repositories": {"here": {"type": "posix", "path": str(plan.here)}, "offsite": plan.offsite(read_only=False)},
    }
    progress.announce("backup", str(item["title"]))
    with Traffic(plan.production) as traffic:
        outcome = next(_played("backup", plan.backup_variables([item]), plan.place))
    if not outcome.ok:
        raise DemoError(f"the healthy backup failed: {outcome.message}")
    result = outcome.result
    progress.done("backup", f"{item['title']}: {_sizes(result)} sealed into here and offsite", outcome.seconds)
    progress.note(f"Meanwhile: {traffic.summary()}.")


def _good_drill(plan: Plan, progress: Progress, findings: Findings) -> None:
    """Restore the healthy backup from the other place; its report is the demo's `drill`."""
    progress.announce("drill", GOOD.name)
    folder = plan.place.root / "reports" / "good"
    item = plan.drill_of(GOOD, {"offsite": plan.offsite(read_only=True)}, folder)
    outcome = next(_played("drill", plan.drill_variables([item]), plan.place))
    judge(GOOD, outcome, progress, findings)
    findings.drill = report_of(outcome)
    pages = sorted(folder.rglob("*.md"))
    findings.drill_markdown = pages[0].read_text(encoding="utf-8") if pages else ""
    if findings.drill.get("service_ready_seconds") is not None:
        progress.note(
            f"RTO measured: {findings.drill['service_ready_seconds']:.1f} s to a server that serves,"
            f" {findings.drill['verified_seconds']:.1f} s to the last green check."
            f" RPO measured: {findings.drill['rpo_seconds']:.1f} s."
        )


def _bad_backups(plan: Plan, progress: Progress) -> None:
    """Damage copies of the good backup, and take real backups of what is wrong in itself."""
    copies = plan.place.root / "copies"
    with progress.step("damage", "copy the good backup, and break the copies") as found:
        copied = [case for case in CASES if case.asset == GOOD.asset]
        for case in copied:
            damage.copy_repository(plan.here, copies / _folder(case), case.damage)
        found.append(f"{len(copied)} copies")
    items = []
    for source in SOURCES:
        item: dict[str, Any] = {"title": source.title, "name": source.asset, "database": source.database}
        (copies / source.asset).mkdir(mode=0o700)
        item["repositories"] = {"copies": {"type": "posix", "path": str(copies / source.asset)}}
        if source.statements:
            with progress.step("damage", f"a copy of production: {source.statements}"):
                damage.copy_database(plan.production, shop.DATABASE, source.database, source.statements)
        if source.loses:
            item["bin_dir"] = str(damage.leaky_programs(plan.place.bin_dir, plan.place.root / "leaky", source.loses))
        items.append(item)
    progress.announce("backup", f"{len(items)} backups that are bad in themselves")
    for outcome in _played("backup", plan.backup_variables(items), plan.place):
        if not outcome.ok:
            raise DemoError(f"the backup {outcome.title!r} failed: {outcome.message}")
        progress.done("backup", f"{outcome.title}: {_sizes(outcome.result)}", outcome.seconds)


def _drill_them(plan: Plan, progress: Progress, findings: Findings) -> None:
    """Drill every bad backup, and one copy that nobody touched."""
    items = []
    for case in CASES:
        path = plan.place.root / "copies" / (_folder(case) if case.asset == GOOD.asset else case.asset)
        repositories = {"copy": {"type": "posix", "path": str(path)}}
        items.append(plan.drill_of(case, repositories, plan.place.root / "reports" / _folder(case)))
    outcomes = _played("drill", plan.drill_variables(items), plan.place)
    for case in CASES:
        progress.announce("drill", case.name)
        judge(case, next(outcomes), progress, findings)


def _played(name: str, variables: dict[str, Any], place: Place) -> Iterator[Outcome]:
    return run_playbook(name, variables, place.root / "ansible")


def _sizes(result: dict[str, Any]) -> str:
    return f"{result.get('plain_bytes', 0) / 1e6:.1f} MB dumped, {result.get('size_bytes', 0) / 1e6:.1f} MB"


def _folder(case: Case) -> str:
    return case.name.replace(" ", "-").replace("'", "")

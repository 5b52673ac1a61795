#!/usr/bin/python
# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: restore_drill
short_description: Restore a backup on a throwaway server, verify it against production's evidence, and measure RTO and RPO
version_added: 0.1.0
author:
  - The lifeboat.postgres contributors (@lifeboat-postgres)
description:
  - Fetches the newest backup of a database, checks every byte against the manifest, opens it with the escrowed identity, and
    restores it into a private PostgreSQL server of the same major version that exists for this one drill.
  - Compares what came back with what production looked like in the very snapshot that was dumped, and asks the given checks.
  - The server listens on a socket in a private directory only, has no network, sees nothing of the host's file system but
    its own directory and the system's programs, and never runs as root. What a backup restores is code of others.
  - Everything is removed at the end, also after an error or a signal, and that is looked for. What a killed drill left is
    removed by the next drill in the same O(work_dir), or by O(reap).
  - The verdict is C(passed), C(failed) or C(unverified); what could not be verified never counts as passed. The module fails
    unless the verdict is C(passed) and the objective was met, and returns the report also then.
  - Run it on a host that is not production's, with a credential that can only read.
  - With O(mode=pitr) a base backup is recovered with the WAL that was archived after it, to the latest state or to a moment of your
    choice. Recovery fails closed, which PostgreSQL's own does not. A hole, a damaged segment or a store that does not answer is a failure
    with a named cause, never a server that comes up with less data.
extends_documentation_fragment:
  - lifeboat.postgres.attributes
  - lifeboat.postgres.checks
attributes:
  check_mode:
    support: full
    details:
      - Finds the backup and asks every guard except whether the credential can write, which would have to be tried. Says what
        the drill would do, or fails as the drill would. Nothing is fetched but manifests and a few KiB.
  diff_mode:
    support: none
    details:
      - A drill changes no configuration.
  idempotent:
    support: partial
    details:
      - Every run is a drill, unless O(max_age) says that none is due. With O(reap), a second run changes nothing.
options:
  system:
    description:
      - The system that the database belongs to. Required unless O(reap).
    type: str
  name:
    description:
      - The name under which the database was backed up. Required unless O(reap). With O(mode=pitr) the name of the server's base
        backups, V(cluster) by default.
    type: str
  repositories:
    description:
      - Where backups lie, as O(lifeboat.postgres.pg_logical_backup#module:repositories) describes it, with credentials that can
        only list and read. The newest backup of all is drilled, from the first repository that holds it. Required unless O(reap).
      - A repository that cannot be listed makes the drill C(unverified), since it may hold a newer backup. To drill one
        repository, name it in O(repository) or give no other.
    type: dict
  repository:
    description:
      - Name of the one in O(repositories) to restore from.
    type: str
  mode:
    description:
      - V(logical) drills a dump, V(pitr) a base backup and the WAL archived after it (see C(docs/pitr-drill.md)).
    type: str
    choices: [logical, pitr]
    default: logical
  target:
    description:
      - Where a recovery of O(mode=pitr) is to stop, exactly one of O(target.latest), O(target.time), O(target.lsn), O(target.name),
        O(target.xid), O(target.evidence) and O(target.immediate). The latest state by default.
      - It begins with the newest base backup that ended before, whatever state that is in.
    type: dict
    suboptions:
      latest:
        description: The latest state that the archive holds. Only this and O(target.immediate) measure the RPO.
        type: bool
      evidence:
        description:
          - The position at which evidence of O(database) was taken with the base backup. What comes back is compared with it.
        type: bool
      immediate:
        description:
          - The end of the base backup itself. One that carries its log (C(wal=included)) needs no archive for that.
        type: bool
      time:
        description: A moment with its time zone. It has to lie before a commit that was archived, else nobody can know that it was reached.
        type: str
      lsn:
        description: A position in the WAL, for example V(16/B374D848).
        type: str
      name:
        description: The name of a restore point.
        type: str
      xid:
        description: The number of a transaction.
        type: str
      inclusive:
        description: Whether what lies exactly at the target is replayed. True by default.
        type: bool
      timeline:
        description: The timeline to follow, by its number. The newest one by default, which has to be the only way on from the base backup.
        type: int
  markers:
    description:
      - With O(mode=pitr), queries that tell the moment from another one. A query gives something when it gives a row, and for one
        single value when that is neither null, false nor 0.
    type: dict
    suboptions:
      must_exist:
        description: Queries that must give something.
        type: list
        elements: str
      must_not_exist:
        description: Queries that must give nothing. One that cannot run, since its table is not there, makes the drill C(unverified).
        type: list
        elements: str
  database:
    description:
      - With O(mode=pitr), the database that O(checks) and O(markers) are asked in. V(postgres) by default.
    type: str
  superuser:
    description:
      - With O(mode=pitr), the role that made production's cluster, by which the drill comes in. V(postgres) by default.
    type: str
  preload_libraries:
    description:
      - With O(mode=pitr), libraries that the recovered server loads at its start, by their names in production's
        C(shared_preload_libraries). None by default, for a library may start programs of its own. Needed by extensions whose tables
        cannot be read without (TimescaleDB, Citus), and by those whose records in the WAL nobody else replays. What
        C(timescaledb), C(citus) and C(pg_cron) do by themselves is switched off.
    type: list
    elements: str
  data_checksums:
    description:
      - With O(mode=pitr), look at the checksum of every page of the recovered cluster. True by default.
    type: bool
  amcheck:
    description:
      - With O(mode=pitr), look at every table and B-tree index of the recovered cluster with C(pg_amcheck). True by default.
    type: bool
  backup_id:
    description:
      - The backup to drill. V(latest) is the newest one, whatever state it is in; an older one is only taken when it is named here.
    type: str
    default: latest
  identity_file:
    description:
      - File on this host with the identity that opens the backup, an age identity or an exported OpenPGP secret key. It is read where
        it lies. Needed by backups that are sealed for recipients.
    type: path
  key_repositories:
    description:
      - Where the application's protected keys lie (M(lifeboat.postgres.key_escrow)), with credentials that can only list and read. Every
        key that the backup names is taken from there, opened in memory, and compared by its fingerprint; checks decrypt with it.
    type: dict
  identity_key:
    description:
      - The name by which the vault (O(key_repositories)) holds the identity that opens the backup, in place of O(identity_file), for a
        drill host that does not keep it. It is shipped there as any key (M(lifeboat.postgres.key_escrow)), is opened with
        O(key_identity_file), and is in memory only, for as long as the drill takes.
    type: str
  key_identity_file:
    description:
      - File on this host with the identity of one of the key recipients. Needed with O(key_repositories).
    type: path
  passphrase_file:
    description:
      - File on this host, of mode 0600, with the passphrase of backups that are sealed with one.
    type: path
  verify_keys:
    description:
      - Public keys (lines of C(.pub) files), of which one must have signed the manifest. Without them it cannot be known who
        took the backup, which refuses the drill unless C(signature) is waived.
    type: list
    elements: str
    default: []
  objective:
    description:
      - What was promised, judged by what is measured. One word, V(baseline), V(standard) or V(strict), or a mapping with C(tier) and
        what is different, or with C(rpo) (how far the restored state may lie behind the failure, for example V(24h)) and C(rto) (how
        long it may take from an empty target to the last green check, for example V(2h)) alone.
      - The RPO of a tier with WAL is judged by a recovery of the latest state, not by a dump.
    type: raw
  check_groups:
    description:
      - Ask only those of O(checks) that are of one of these groups, and those of no group. All by default. A group that no
        check belongs to is refused.
    type: list
    elements: str
    default: []
  timeout:
    description:
      - How long the drill may take, for example V(6h). One that has not ended by then is ended, torn down and C(unverified); what a
        backup restores is code of others, and may wait for ever.
    type: str
    default: 24h
  enforce_objective:
    description:
      - Fail when the objective was not met. With V(false) the report still says it.
    type: bool
    default: true
  failure_at:
    description:
      - The moment of the simulated failure, with its time zone, from which the RPO is measured. The drill's start by default.
    type: str
  work_dir:
    description:
      - Directory that only drills use, with room for the opened dump and the database. It is made when it does not exist, and
        refused when it holds anything else or belongs to somebody else. Its path has room for 59 bytes.
    type: path
    default: /var/tmp/lifeboat
  throwaway:
    description:
      - Where the throwaway server comes from (see C(docs/throwaway.md)). PostgreSQL of this host, in namespaces, by default.
      - With O(throwaway.type=container) it is that of an image, started by podman or docker without a network; this host needs no
        PostgreSQL. With O(throwaway.type=compose) it is that of a service's image, run as a Compose project of the drill's own.
      - Nothing is pulled or built. The image has to hold the backup's own major version.
    type: dict
    suboptions:
      type:
        description: What kind of place it is.
        type: str
        choices: [local, container, compose]
        default: local
      engine:
        description: What runs a container. With V(auto), the default, podman where it has the image, else docker.
        type: str
        choices: [auto, podman, docker]
      image:
        description: The image of a container, for example V(docker.io/library/postgres:18).
        type: str
      service:
        description: The service of a Compose file whose image is taken. Nothing else of it is, no variable, volume, port or network.
        type: str
      project_directory:
        description: The directory of that Compose file, on this host.
        type: path
      files:
        description: Compose files, where they are not the directory's usual ones, by their whole paths.
        type: list
        elements: str
  bin_dir:
    description:
      - Directory of PostgreSQL's programs, with O(throwaway) inside of the image. Without it the usual places are searched for the
        backup's major version.
    type: path
  run_as:
    description:
      - The user that runs the throwaway server when the module runs as root. C(postgres) by default, else C(nobody). A user of
        its own is better on a host where C(postgres) owns something.
    type: str
  jobs:
    description:
      - How many connections restore at once; by the number of processors when V(0).
    type: int
    default: 0
  globals:
    description:
      - Restore production's roles from the backup of kind C(globals) that goes with the database's, in the same repository, and compare
        them. With V(auto) that is done where there is one; without one roles are made by their names only, which the report says.
      - V(true) makes a drill without one C(unverified), V(false) looks for none.
    type: str
    choices: [auto, 'true', 'false']
    default: auto
  production_hosts:
    description:
      - Names and addresses of production's hosts. The drill refuses to run on any of them.
    type: list
    elements: str
    default: []
  max_age:
    description:
      - Do nothing while the last good drill is younger than this, for example V(30d). V(objective) is as often as O(objective) asks for.
        Without it every run is a drill.
      - One is due at once when there never was one, when the last one was not good, and when the newest backup is of another major version
        of PostgreSQL than the last good drill. A tenth of the age, at most two hours, is given to a look that comes a little early.
      - Needs O(report_dir), or a O(report_repository) that this host can read, for that is what remembers earlier drills.
    type: str
  server_major:
    description:
      - Restore the dump on PostgreSQL of this major version in place of the backup's own, to see before an upgrade whether it would
        take the data. Definitions and grants are then compared by their names only, rows and contents as ever.
      - Such a drill does not count for O(max_age) and for freshness. Its report lies apart, below C(<system>/upgrades/database/<name>/).
      - An older version than the backup's is refused, and so is O(mode=pitr), for a base backup starts on its own version only.
    type: int
  report_dir:
    description:
      - Directory of this host that keeps the reports, JSON, Markdown, HTML and JUnit XML, below C(<system>/reports/database/<name>/).
    type: path
  report_repository:
    description:
      - Options of the repository that keeps the reports (see O(repositories)); its credential only needs to put. A report names
        tables and counts rows, so it does not belong beside the backups.
    type: dict
  waive:
    description:
      - Safeguards to go without, by name. Each is said in the report.
      - C(isolation) lets the server run on a machine that cannot cut it off; C(same_host) drills on the host that took the
        backup; C(writable_credential) takes a credential that can write where backups rest; C(signature) takes a backup
        of which nobody can say who took it.
    type: list
    elements: str
    default: []
    choices: [isolation, same_host, writable_credential, signature]
  reap:
    description:
      - Do not drill, but remove what killed drills left in O(work_dir). Running drills are left alone.
    type: bool
    default: false
requirements:
  - PostgreSQL server and client programs of the backup's major version, with the extensions that production uses, here or in an image
  - podman, or docker 20.10 or newer, for O(throwaway) of type C(container); docker with its Compose plugin for C(compose)
  - psycopg >= 3.1
  - boto3 for repositories of type s3
  - C(zstd) and C(age), or the Python libraries zstandard and pyrage
  - C(gpg) and C(gpg-agent) 2.2.8 or newer for backups that were sealed with gpg
  - cryptography for O(verify_keys)
  - C(unshare), C(setpriv), C(mount) and C(pivot_root) of util-linux 2.36 or newer, to isolate the server
seealso:
  - module: lifeboat.postgres.pg_logical_backup
  - module: lifeboat.postgres.backup_info
"""

EXAMPLES = r"""
- name: Restore the newest backup of the shop from the off-site bucket and prove it
  lifeboat.postgres.restore_drill:
    system: shop
    name: shop
    repositories:
      offsite:
        type: s3
        endpoint: https://s3.example.net
        bucket: shop-backups
        credentials_file: /etc/lifeboat/shop/offsite-read.credentials
    identity_file: /root/escrow/shop.identity
    verify_keys:
      - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPtUgTHJFHYnPpcOYg4bZ2bDkbWRtvpB7kbCGSqfvtzK shop-backup
    objective:
      rpo: 24h
      rto: 2h
    production_hosts: "{{ groups['databases'] }}"
    checks:
      - gapless:
          table: invoices
          column: number
      - integer:
          table: orders
          columns: [total_cents]
      - recent:
          table: orders
          column: placed_at
          max_age: 24h
    report_dir: /var/lib/lifeboat/reports
  become: true

- name: Drill a certain backup, as if production had failed at noon, and only look at the figures
  lifeboat.postgres.restore_drill:
    system: shop
    name: shop
    repositories: "{{ lifeboat_repositories }}"
    repository: offsite
    backup_id: 20261121T031500Z-1a2b3c4d
    failure_at: "2026-11-21T12:00:00+01:00"
    identity_file: /root/escrow/shop.identity
    verify_keys: "{{ lifeboat_verify_keys }}"
    objective:
      rto: 30m
    enforce_objective: false
  register: figures

- name: Recover the shop to the moment before somebody dropped a table, and show it
  lifeboat.postgres.restore_drill:
    mode: pitr
    system: shop
    database: shop
    target:
      time: "2026-11-21T12:04:30Z"
    markers:
      must_exist:
        - SELECT 1 FROM orders WHERE id = 4711
      must_not_exist:
        - SELECT 1 FROM orders WHERE placed_at > '2026-11-21T12:04:30Z'
    repositories: "{{ lifeboat_repositories }}"
    identity_file: /root/escrow/shop.identity
    verify_keys: "{{ lifeboat_verify_keys }}"
  become: true

- name: Before the upgrade, see whether PostgreSQL 18 would take the shop
  lifeboat.postgres.restore_drill:
    system: shop
    name: shop
    server_major: 18
    repositories: "{{ lifeboat_repositories }}"
    identity_file: /root/escrow/shop.identity
    verify_keys: "{{ lifeboat_verify_keys }}"
  become: true

- name: Drill in a container, on a host without any PostgreSQL
  lifeboat.postgres.restore_drill:
    system: shop
    name: shop
    repositories: "{{ lifeboat_repositories }}"
    identity_file: /root/escrow/shop.identity
    verify_keys: "{{ lifeboat_verify_keys }}"
    throwaway:
      type: container
      image: docker.io/library/postgres:18
  become: true

- name: Remove what drills left that were killed
  lifeboat.postgres.restore_drill:
    reap: true
  become: true
"""

RETURN = r"""
report:
  description:
    - What the drill found, also when the module fails. Its fields are described in C(docs/drill.md).
  returned: when a drill ran
  type: dict
  contains:
    verdict:
      description: V(passed), V(failed) or V(unverified).
      type: str
      sample: passed
    reason:
      description: The first cause of the verdict.
      type: str
      sample: All 14 checks passed
    backup_id:
      description: The backup that was drilled, or empty when none was found.
      type: str
      sample: 20261121T031500Z-1a2b3c4d
    service_ready_seconds:
      description: From the empty target to a server that serves; none when the drill did not get there.
      type: float
      sample: 41.2
    verified_seconds:
      description: From the empty target to the last green check; none unless the drill passed.
      type: float
      sample: 44.9
    rpo_seconds:
      description: How far the restored state lies behind the failure; none with RV(report.rpo_note).
      type: float
      sample: 32400.5
    rpo_note:
      description: Why there is no RPO, or with O(mode=pitr) whether it is exact or a bound.
      type: str
      sample: ""
    objective:
      description: What was promised, whether it was C(met) (none when that cannot be said), and the reason.
      type: dict
      sample: {rpo_seconds: 86400.0, rto_seconds: 7200.0, met: true, reason: ""}
    phases:
      description: Each step with its seconds.
      type: list
      elements: dict
      sample: [{name: target, seconds: 1.1}, {name: fetch, seconds: 9.8}, {name: restore, seconds: 27.5}]
    checks:
      description: Each answer with what was expected and found.
      type: list
      elements: dict
      sample: [{name: row counts, verdict: passed, expected: 42 rows in 3 tables, found: 42 rows in 3 tables, detail: ""}]
    isolation:
      description: Whether the throwaway server had a way out, and by what means it had none.
      type: dict
      sample: {isolated: true, how: namespaces, detail: "…"}
    settings:
      description: Settings of the throwaway server that differ from a server's that is kept.
      type: dict
      sample: {fsync: "off", archive_mode: "off"}
    recovery:
      description: What a recovery of O(mode=pitr) was asked for and what it came to; none for a dump.
      type: dict
      sample: {target: "time 2026-11-21 12:04:30+00:00", timeline: 1, reached_lsn: 16/B374D848, segments: 41}
    teardown:
      description: Whether nothing is left, and what is.
      type: dict
      sample: {complete: true, seconds: 0.1, left: [], detail: "No process, no mount and no directory is left."}
report_files:
  description: The report's files in O(report_dir).
  returned: when a drill ran
  type: list
  elements: str
  sample: [/var/lib/lifeboat/reports/shop/reports/database/shop/20261121T050000Z-20261121T031500Z-1a2b3c4d.json]
due:
  description: Whether a drill was due, and why.
  returned: with O(max_age)
  type: dict
  contains:
    due:
      description: Whether it was. When not, nothing was done.
      type: bool
    reason:
      description: Why, in a sentence.
      type: str
    next_due:
      description: When the next one is due, in UTC; none for one that is due now.
      type: str
    last_good:
      description: When the last good drill began, in UTC; none where there was none.
      type: str
  sample: {due: false, reason: "its last good drill is of 2026-11-21, …", next_due: "2026-12-22T02:10:00.000000Z"}
rehearsal:
  description: What the drill would do.
  returned: in check mode
  type: dict
  contains:
    backup_id:
      description: The backup that would be drilled.
      type: str
    repository:
      description: Where it would be fetched from.
      type: str
    snapshot_at:
      description: The moment whose state it holds, in UTC.
      type: str
    postgresql:
      description: The version of the throwaway server.
      type: str
    isolated:
      description: Whether the server would have no way out.
      type: bool
    fetch_bytes:
      description: What would be fetched.
      type: int
    needed_bytes:
      description: The room that the drill needs at its height.
      type: int
    work_dir:
      description: Where it would be made.
      type: str
    notes:
      description: What the operator should know.
      type: list
      elements: str
  sample: {backup_id: 20261121T031500Z-1a2b3c4d, repository: offsite, isolated: true, needed_bytes: 734003200}
reaped:
  description: What was found in O(work_dir), and what became of it (C(reaped), C(running), C(foreign) or C(left)).
  returned: when O(reap)
  type: list
  elements: dict
  sample: [{drill_id: drill-20261121T050000Z-1a2b3c4d, state: reaped, detail: "…"}]
"""

from ansible_collections.lifeboat.postgres.plugins.module_utils._ansible import run_module
from ansible_collections.lifeboat.postgres.plugins.module_utils._argspec import CHECKS_SPEC
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.pitr_terms import LOGICAL, MODES
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.plan import DEFAULT_WORK_DIR, LATEST, WAIVERS
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.throwaway import ENGINES, LOCAL, TYPES


def main() -> None:
    run_module(
        {
            **CHECKS_SPEC,
            "system": {"type": "str"},
            "name": {"type": "str"},
            "repositories": {"type": "dict"},
            "repository": {"type": "str"},
            "mode": {"type": "str", "choices": list(MODES), "default": LOGICAL},
            "target": {
                "type": "dict",
                "options": {
                    "latest": {"type": "bool"},
                    "time": {"type": "str"},
                    "lsn": {"type": "str"},
                    "name": {"type": "str"},
                    "xid": {"type": "str"},
                    "evidence": {"type": "bool"},
                    "immediate": {"type": "bool"},
                    "inclusive": {"type": "bool"},
                    "timeline": {"type": "int"},
                },
            },
            "markers": {
                "type": "dict",
                "options": {
                    "must_exist": {"type": "list", "elements": "str"},
                    "must_not_exist": {"type": "list", "elements": "str"},
                },
            },
            "database": {"type": "str"},
            "superuser": {"type": "str"},
            "preload_libraries": {"type": "list", "elements": "str"},
            "data_checksums": {"type": "bool"},
            "amcheck": {"type": "bool"},
            "backup_id": {"type": "str", "default": LATEST},
            "identity_file": {"type": "path"},
            "identity_key": {"type": "str", "no_log": False},
            "key_repositories": {"type": "dict", "no_log": False},
            "key_identity_file": {"type": "path", "no_log": False},
            "passphrase_file": {"type": "path", "no_log": False},
            "verify_keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "objective": {"type": "raw"},
            "check_groups": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "str", "default": "24h"},
            "enforce_objective": {"type": "bool", "default": True},
            "failure_at": {"type": "str"},
            "work_dir": {"type": "path", "default": DEFAULT_WORK_DIR},
            "throwaway": {
                "type": "dict",
                "options": {
                    "type": {"type": "str", "default": LOCAL, "choices": list(TYPES)},
                    "engine": {"type": "str", "choices": list(ENGINES)},
                    "image": {"type": "str"},
                    "service": {"type": "str"},
                    "project_directory": {"type": "path"},
                    "files": {"type": "list", "elements": "str"},
                },
            },
            "bin_dir": {"type": "path"},
            "run_as": {"type": "str"},
            "jobs": {"type": "int", "default": 0},
            "globals": {"type": "str", "default": "auto", "choices": ["auto", "true", "false"]},
            "production_hosts": {"type": "list", "elements": "str", "default": []},
            "max_age": {"type": "str"},
            "server_major": {"type": "int"},
            "report_dir": {"type": "path"},
            "report_repository": {"type": "dict"},
            "waive": {"type": "list", "elements": "str", "default": [], "choices": list(WAIVERS)},
            "reap": {"type": "bool", "default": False},
        },
        run,
        required_if=[("reap", False, ("system", "repositories"))],
    )


if __name__ == "__main__":
    main()

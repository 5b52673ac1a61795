#!/usr/bin/python
# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_logical_backup
short_description: Take a sealed logical backup of a PostgreSQL database, with evidence to prove a restore against
version_added: 0.1.0
author:
  - The lifeboat.postgres contributors (@lifeboat-postgres)
description:
  - Takes one snapshot of a database, dumps it in the custom format with a C(pg_dump) of the server's own major version, and
    counts and describes in the very same snapshot what production is, so that a later restore can be compared with it.
  - The dump streams through C(zstd) and C(age) into every repository at once. Nothing is staged on disk, memory stays below
    200 MB whatever the size.
  - The backup exists only when its manifest does, and the manifest is written last. A run that is killed leaves nothing that
    looks like a backup.
  - Run it on a host that reaches the database, usually the database host itself. It holds recipients only, and cannot open
    what it wrote.
extends_documentation_fragment:
  - lifeboat.postgres.attributes
  - lifeboat.postgres.login
  - lifeboat.postgres.repositories
  - lifeboat.postgres.encryption
  - lifeboat.postgres.checks
  - lifeboat.postgres.guards
attributes:
  check_mode:
    support: full
    details:
      - Connects, finds the programs and the newest backup, and says whether a backup would be taken. Writes nothing.
  diff_mode:
    support: none
    details:
      - A backup changes no configuration.
  idempotent:
    support: partial
    details:
      - With O(max_age), nothing is done while every repository has a good backup that is younger. Without it every run takes a backup.
options:
  system:
    description:
      - The system that this database belongs to; the first part of every key in the repositories.
    type: str
    required: true
  name:
    description:
      - The name of this asset in the repositories. The database's name when it is not given.
    type: str
  databases:
    description:
      - Several databases of the server, in place of one; each is an asset of its own, called by its own name.
      - An item is a name, a pattern such as V(shop_*), or a mapping of C(name) and options that are this database's own, each in place
        of the option of that name. These can be O(accept_deviation), O(application_version), O(checks), O(compression_level),
        O(digests), O(evidence_budget), O(evidence_queries), O(format), O(jobs), O(limits), O(lock_timeout), O(max_age),
        O(snapshot_budget), O(statistics), O(volume_size) and O(xmin_age_limit).
      - One that fails does not keep the others from their turn. The module fails at the end, and names those without a backup.
      - With it, or with O(all_databases), O(login_db) is only where the list of databases is asked for; V(postgres) when not given.
    type: list
    elements: raw
  exec:
    description:
      - Run C(pg_dump) and C(pg_dumpall) inside the container that the server runs in, where they are of its own major version.
      - A mapping of C(type) (V(docker), V(podman) or V(compose)), C(container) or, for Compose, C(service) with C(project_directory),
        C(files) and C(project); C(user), who runs the programs inside; and C(port), the server's inside, V(5432) by default.
      - The session that counts goes over the published port when O(login_host) is given, else through the same C(exec), for
        which the container needs C(perl), C(python3) or C(socat). O(login_unix_socket) and O(bin_dir) are then directories inside.
    type: dict
  all_databases:
    description:
      - All databases of the server, also those that were created since, but templates, those that take no connections, and a
        database V(postgres) that holds nothing. Items of O(databases) then only bring options of their own.
    type: bool
    default: false
  exclude_databases:
    description:
      - Names or patterns of databases to leave out.
    type: list
    elements: str
  unlisted:
    description:
      - What to do about databases of the server that are neither in O(databases) nor in O(exclude_databases). V(fail) fails
        after all others had their turn.
    type: str
    choices: [warn, fail, ignore]
    default: warn
  max_age:
    description:
      - Do nothing when every repository holds a complete backup whose snapshot is younger than this, for example V(20h).
    type: str
  evidence_queries:
    description:
      - Queries whose rows are recorded in the dump's snapshot, and have to come out the same after the restore.
      - They run read only, and look names up along the database's own C(search_path). Let them order their rows.
    type: list
    elements: dict
    suboptions:
      name:
        description: What to call it in reports.
        type: str
        required: true
      query:
        description: One C(SELECT).
        type: str
        required: true
  evidence_budget:
    description:
      - How long evidence may take when the dump has ended already. Counting goes on beside the dump at no such limit; what
        could not be counted is said, and a drill of that backup ends C(unverified).
    type: str
    default: 5m
  format:
    description:
      - V(custom) streams the dump into the repositories while it is made; nothing is staged. V(directory) is made by O(jobs)
        workers in O(staging_dir), sent when it is whole, and removed there; a restore of it works in parallel without searching.
      - V(auto) takes V(directory) for a database of 100 tables with rows and 64 MiB in them or more, unless it has 10,000 large
        objects or the disk of O(staging_dir) has less room than the database takes; then, and for every other database, V(custom).
    type: str
    choices: [auto, custom, directory]
    default: auto
  jobs:
    description:
      - How many connections of C(pg_dump) read tables at once in the directory format.
    type: int
    default: 2
  staging_dir:
    description:
      - Private directory (mode 0700) on this host in which a dump of the directory format lies, in clear, until it is sent. Made when it
        does not exist. What a killed run left there is removed by the next one.
      - The default is C(/var/tmp/lifeboat-staging-UID) with the user's own number.
    type: path
  statistics:
    description:
      - Let the dump carry the planner's statistics (PostgreSQL 18 and newer), so that a restored database needs no C(ANALYZE) before
        it serves. Older servers cannot, which the result says.
    type: bool
    default: false
  globals:
    description:
      - Back up what belongs to the whole server as well, roles with their memberships and passwords, and tablespaces, as a
        backup of its own of kind C(globals), at most once within O(max_age). V(only) takes that and no database.
      - Passwords are left out where the login may not read them, as on managed servers; the result says so.
    type: str
    choices: ['true', 'false', only]
    default: 'true'
  compression_level:
    description:
      - Level of C(zstd), from 1 (fast) to 19 (small). Level 3 costs twice the CPU of level 1, and saves 5 % of the room.
    type: int
    default: 1
  volume_size:
    description:
      - Split a larger artifact into volumes of this size. The default fits every S3 store.
    type: str
    default: 64GiB
  stall_timeout:
    description:
      - A repository that makes no progress for this long is dropped from the stream. It gets its copy afterwards from a
        healthy one; if it cannot, the run fails, and the manifests in the others say so.
    type: str
    default: 2m
  lock_timeout:
    description:
      - How long to wait for a table that somebody holds exclusively, before giving up.
    type: str
    default: 1m
  lock_dir:
    description:
      - Directory of the lock files. The default is C(/run/lifeboat) for root, and a directory of the user's own otherwise.
    type: path
  bin_dir:
    description:
      - Directory of C(pg_dump). Without it the usual places are searched for the server's major version.
    type: path
  signing_key:
    description:
      - An OpenSSH private key file (Ed25519, without passphrase) that signs the manifest. Without it the manifest is unsigned,
        which the result says.
    type: path
  application_version:
    description:
      - What runs against this database now, as an image's tag or a revision. Recorded with the backup, so that the right version
        can be started against it.
    type: str
  keys_file:
    description:
      - The file with fingerprints that M(lifeboat.postgres.key_escrow) left, so that the manifest says which protected keys the backup
        needs. The default is C(/var/lib/lifeboat/keys/SYSTEM/fingerprints.json), where there is one.
    type: path
requirements:
  - psycopg >= 3.1
  - boto3 for repositories of type s3
  - C(zstd) and C(age), or the Python libraries zstandard and pyrage
  - cryptography to sign manifests
seealso:
  - module: lifeboat.postgres.restore_drill
  - module: lifeboat.postgres.backup_info
"""

EXAMPLES = r"""
- name: Back up the shop into two places, once a day
  lifeboat.postgres.pg_logical_backup:
    system: shop
    login_db: shop
    login_unix_socket: /var/run/postgresql
    login_user: postgres
    max_age: 20h
    repositories:
      here:
        type: posix
        path: /var/backups/lifeboat
      offsite:
        type: s3
        endpoint: https://s3.example.net
        bucket: shop-backups
        credentials_file: /etc/lifeboat/shop/offsite.credentials
    encryption:
      method: age
      recipients:
        - age1lvyvwawkr0mcnnnncaghunadrqkmuf9e6507x9y920xxpp866cnql7dp2z
        - age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa
    signing_key: /etc/lifeboat/shop/signing_key
    checks:
      - gapless:
          table: invoices
          column: number
  become: true
  become_user: postgres

- name: Take a backup now, whatever is there already, before an upgrade
  lifeboat.postgres.pg_logical_backup:
    system: shop
    login_db: shop
    repositories: "{{ lifeboat_repositories }}"
    encryption: "{{ lifeboat_encryption }}"
    evidence_queries:
      - name: turnover
        query: SELECT sum(total_cents) FROM public.orders
  register: before_upgrade

- name: Back up every database of a managed server, also those that are created later
  lifeboat.postgres.pg_logical_backup:
    system: shop
    login_url_file: /etc/lifeboat/shop/url
    all_databases: true
    exclude_databases: ["*_test"]
    repositories: "{{ lifeboat_repositories }}"
    encryption: "{{ lifeboat_encryption }}"
    max_age: 20h
"""

RETURN = r"""
backup_id:
  description: The backup that was taken, or with C(changed=false) the young one that made another one needless.
  returned: success, except in check mode when a backup would be taken
  type: str
  sample: 20261121T031500Z-1a2b3c4d
snapshot_at:
  description: The moment whose state the backup holds, in UTC.
  returned: when RV(backup_id) is
  type: str
  sample: "2026-11-21T03:15:00.104233Z"
age_seconds:
  description: How old the young backup is.
  returned: when nothing was to be done
  type: float
  sample: 3600.5
size_bytes:
  description: What the backup takes in one repository.
  returned: when a backup was taken
  type: int
  sample: 104857600
plain_bytes:
  description: Size of the dump before compression.
  returned: when a backup was taken
  type: int
  sample: 524288000
format:
  description: C(custom) or C(directory).
  returned: when a backup was taken
  type: str
  sample: custom
globals:
  description: The backup of roles and tablespaces, when it was asked for.
  returned: when O(globals) is not V(false)
  type: dict
  contains:
    changed:
      description: Whether one was taken, or would be. A young one makes another one needless, as with databases.
      type: bool
    problem:
      description: Why it could not be taken. Only when it could not, and then the module fails.
      type: str
    backup_id:
      description: The backup of kind C(globals), taken now or still young.
      type: str
    snapshot_at:
      description: When it was taken.
      type: str
    passwords:
      description: Whether it holds the roles' password hashes.
      type: bool
    roles:
      description: How many roles it holds.
      type: int
  sample: {changed: true, backup_id: 20261121T031502Z-9f8e7d6c, snapshot_at: "2026-11-21T03:15:02.004233Z", passwords: true, roles: 7}
seconds:
  description: How long the run took.
  returned: when a backup was taken
  type: float
  sample: 12.4
signed:
  description: Whether the manifest is signed.
  returned: when a backup was taken
  type: bool
  sample: true
repositories:
  description: What became of the backup in each repository, by name.
  returned: when a backup was taken, also when it failed in some
  type: dict
  contains:
    complete:
      description: Whether the backup is whole there.
      type: bool
    problem:
      description: Why it is not, or empty.
      type: str
    copied_because:
      description: Why this repository got its copy afterwards from another one, or empty.
      type: str
    size_bytes:
      description: Bytes of the backup.
      type: int
    seconds:
      description: From the first byte to the manifest.
      type: float
    bytes_per_second:
      description: The quotient of the two.
      type: float
  sample:
    here: {complete: true, problem: "", copied_because: "", size_bytes: 104857600, seconds: 12.1, bytes_per_second: 8665917.4}
databases:
  description:
    - What became of each database, by name, with the values above, and with C(failed); C(msg) and C(kind) say why it did.
  returned: with O(databases) or O(all_databases), also on failure
  type: dict
  sample:
    shop: {failed: false, changed: true, backup_id: 20261121T031500Z-1a2b3c4d}
    licences: {failed: true, changed: false, msg: "the server takes no more connections (…)", kind: DatabaseError}
left_out:
  description: Databases that were left out, and why.
  returned: with O(databases) or O(all_databases)
  type: dict
  sample: {template1: a template, postgres: empty}
unlisted:
  description: Databases of the server that are neither listed nor excluded.
  returned: with O(databases) or O(all_databases)
  type: list
  elements: str
  sample: [temporal]
evidence:
  description: How much evidence was taken; what it says is sealed.
  returned: when a backup was taken
  type: dict
  sample: {tables: 42, uncounted: 0, digests: "6 of 42 tables digested (part 3 of 7, in turn by the day)"}
judged:
  description: What the dump's size and objects were judged against, or why they were not.
  returned: when a backup was taken
  type: str
  sample: "judged against the median of the last 7 good backups: 500.0 MiB, 340 objects"
snapshot:
  description: How many seconds the snapshot was held, and how many transactions began meanwhile.
  returned: when a backup was taken
  type: dict
  sample: {seconds: 9.8, transactions: 1520}
costs:
  description: Seconds that parts of the run took; also in the manifest.
  returned: when a backup was taken
  type: dict
  sample: {snapshot_seconds: 9.8, evidence_seconds: 4.1, digest_seconds: 3.8}
"""

from ansible_collections.lifeboat.postgres.plugins.module_utils._ansible import run_module
from ansible_collections.lifeboat.postgres.plugins.module_utils._argspec import (
    CHECKS_SPEC,
    ENCRYPTION_SPEC,
    GUARDS_SPEC,
    LOGIN_SPEC,
    REPOSITORIES_SPEC,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.run import run


def main() -> None:
    run_module(
        {
            **LOGIN_SPEC,
            **REPOSITORIES_SPEC,
            **ENCRYPTION_SPEC,
            **CHECKS_SPEC,
            **GUARDS_SPEC,
            "system": {"type": "str", "required": True},
            "name": {"type": "str"},
            "databases": {"type": "list", "elements": "raw"},
            "exec": {"type": "dict"},
            "all_databases": {"type": "bool", "default": False},
            "exclude_databases": {"type": "list", "elements": "str"},
            "unlisted": {"type": "str", "default": "warn", "choices": ["warn", "fail", "ignore"]},
            "max_age": {"type": "str"},
            "evidence_queries": {
                "type": "list",
                "elements": "dict",
                "options": {"name": {"type": "str", "required": True}, "query": {"type": "str", "required": True}},
            },
            "evidence_budget": {"type": "str", "default": "5m"},
            "format": {"type": "str", "default": "auto", "choices": ["auto", "custom", "directory"]},
            "jobs": {"type": "int", "default": 2},
            "staging_dir": {"type": "path"},
            "statistics": {"type": "bool", "default": False},
            "globals": {"type": "str", "default": "true", "choices": ["true", "false", "only"]},
            "compression_level": {"type": "int", "default": 1},
            "volume_size": {"type": "str", "default": "64GiB"},
            "stall_timeout": {"type": "str", "default": "2m"},
            "lock_timeout": {"type": "str", "default": "1m"},
            "lock_dir": {"type": "path"},
            "bin_dir": {"type": "path"},
            "signing_key": {"type": "path"},
            "application_version": {"type": "str"},
            "keys_file": {"type": "path", "no_log": False},
        },
        run,
    )


if __name__ == "__main__":
    main()

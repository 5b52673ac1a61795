#!/usr/bin/python
# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_base_backup
short_description: Take a sealed base backup of a whole PostgreSQL server, to which its archived log can be replayed
version_added: 0.1.0
author:
  - The lifeboat.postgres contributors (@lifeboat-postgres)
description:
  - Takes a physical backup of a server with C(pg_basebackup) of its own major version, full or (PostgreSQL 17 and newer) incremental, and
    streams it through C(zstd) and the seal into every repository at once. Nothing is staged on disk unless the server has
    tablespaces of its own, which is said then.
  - A base backup is nothing without the log that was written while it was taken. So the backup is committed only when every segment of it
    lies in the WAL archive of every repository; a run that waits for longer than O(wal_timeout) fails and commits nothing.
  - The manifest says where in the log the backup begins and ends. The server's own manifest of files is kept, sealed, for
    C(pg_verifybackup) and C(pg_combinebackup).
  - A run that is killed leaves nothing that looks like a backup.
extends_documentation_fragment:
  - lifeboat.postgres.attributes
  - lifeboat.postgres.login
  - lifeboat.postgres.repositories
  - lifeboat.postgres.encryption
attributes:
  check_mode:
    support: full
    details:
      - Connects, tries whether the login may replicate, finds the programs, the archive and the newest backup, and says whether a backup
        would be taken. Writes nothing.
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
      - The system that this server belongs to; the first part of every key in the repositories. The WAL archive lies under the same name.
    type: str
    required: true
  name:
    description:
      - The name of this asset in the repositories. V(cluster) when it is not given.
    type: str
  mode:
    description:
      - V(incremental) takes what changed since the last backup of this asset, full or incremental. It needs PostgreSQL 17, C(summarize_wal)
        at the server, and the last backup's file manifest, which this host keeps in O(state_dir).
      - Where one of these is missing, the chain is not whole in every repository, or the last full backup is older than O(full_after),
        a full backup is taken instead, and the result says why.
    type: str
    choices: [full, incremental]
    default: full
  full_after:
    description:
      - With O(mode=incremental), take a full backup when the last one is older than this.
    type: str
    default: 7d
  wal:
    description:
      - V(archived) waits until the log that the backup needs lies in the archive of every repository (but those that are C(optional)).
      - V(included) takes that log along in the backup, which then recovers to its own end without an archive, and to no other moment.
    type: str
    choices: [archived, included]
    default: archived
  evidence:
    description:
      - Record what databases are at a position of the log behind the base backup, sealed like the backup, so that a drill with
        C(target.evidence) of M(lifeboat.postgres.restore_drill) recovers to that position and compares. See C(docs/evidence.md).
      - At a server with C(wal_level=logical) the position is exact whatever is written meanwhile, by the snapshot of a temporary
        replication slot; with C(wal_level=replica) at a moment when nothing is in flight. Where neither is to be had the evidence
        holds bounds, which the result says.
      - The login has to be able to read all of these databases. Not for O(wal=included).
    type: dict
    suboptions:
      databases:
        description: The databases, by name.
        type: list
        elements: str
      all_databases:
        description: All databases of the server but templates and an empty C(postgres), in place of O(evidence.databases).
        type: bool
      within:
        description: How long to look for a position that is exact. V(1m) when it is not given.
        type: str
      budget:
        description: How long counting may take in each database. V(5m) when it is not given.
        type: str
      digests:
        description:
          - Which tables have their content digested as well, with the words of O(lifeboat.postgres.pg_logical_backup#module:digests).
        type: dict
      checks:
        description:
          - Checks whose figures are recorded for the drill, as O(lifeboat.postgres.pg_logical_backup#module:checks). For one database only.
        type: list
        elements: dict
  wal_timeout:
    description:
      - How long to wait for the log, first for the server's own archiver, then for the repositories.
    type: str
    default: 10m
  max_rate:
    description:
      - How many bytes a second the server sends at most, for example V(50MiB); from 32 KiB to 1 GiB. Not limited when it is not given.
    type: str
  checkpoint:
    description:
      - V(fast) begins with a checkpoint at once; V(spread) waits for one that is spread over time, and spares the disk.
    type: str
    choices: [fast, spread]
    default: fast
  label:
    description:
      - The label of the backup as the server writes it. The backup's id when it is not given.
    type: str
  max_age:
    description:
      - Do nothing when every repository holds a complete backup that is younger than this, for example V(6d).
    type: str
  exec:
    description:
      - Run C(pg_basebackup) inside the container that the server runs in, where it is of its own major version.
      - A mapping of C(type) (V(docker), V(podman) or V(compose)), C(container) or, for Compose, C(service) with C(project_directory),
        C(files) and C(project); C(user), who runs the program inside; and C(port), the server's inside, V(5432) by default.
      - Not for O(mode=incremental), nor for a server with tablespaces of its own.
    type: dict
  limits:
    description:
      - How large a full backup has to be to be kept, before compression. One that is outside is not kept, and nothing is committed.
    type: dict
    suboptions:
      min_bytes:
        description: Least size, for example V(10MiB).
        type: str
      max_bytes:
        description: Largest size.
        type: str
      shrink:
        description:
          - How much smaller than the median of the last good full backups it may be, as a share like V(0.5) or V(50%).
          - V(0.5) when it is not given; V(1) allows anything. Judged from the third good backup on.
        type: str
      growth:
        description: How much larger than that median it may be; V(2) allows three times it. Not judged when it is not given.
        type: str
      last:
        description: How many good backups make the median. V(7) when it is not given.
        type: int
  accept_deviation:
    description:
      - Keep this backup though its size differs from the last good ones by more than O(limits) allows. For one run.
    type: bool
    default: false
  state_dir:
    description:
      - Private directory (mode 0700) on this host for the file manifest of the last backup, which the next incremental one
        is measured against. It tells names, sizes and checksums of the server's files, and nothing of what is in them.
      - The default is C(/var/lib/lifeboat) for root, and C(~/.local/state/lifeboat) otherwise.
    type: path
  staging_dir:
    description:
      - Private directory (mode 0700) on this host in which the backup of a server with tablespaces of its own lies, in clear, until it is
        sent. Made when it does not exist. What a killed run left there is removed by the next one.
      - The default is C(/var/tmp/lifeboat-staging-UID) with the user's own number.
    type: path
  compression_level:
    description:
      - Level of C(zstd), from 1 (fast) to 19 (small).
    type: int
    default: 3
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
  lock_dir:
    description:
      - Directory of the lock files. The default is C(/run/lifeboat) for root, and a directory of the user's own otherwise.
    type: path
  bin_dir:
    description:
      - Directory of C(pg_basebackup). Without it the usual places are searched for the server's major version.
    type: path
  signing_key:
    description:
      - An OpenSSH private key file (Ed25519, without passphrase) that signs the manifest. Without it the manifest is unsigned,
        which the result says.
    type: path
  application_version:
    description:
      - What runs against this server now, as an image's tag or a revision. Recorded with the backup, so that the right version
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
  - module: lifeboat.postgres.pg_logical_backup
  - module: lifeboat.postgres.restore_drill
  - module: lifeboat.postgres.backup_info
"""

EXAMPLES = r"""
- name: Take a full backup of the server once a week, incremental ones in between
  lifeboat.postgres.pg_base_backup:
    system: shop
    mode: incremental
    full_after: 6d
    max_age: 20h
    login_unix_socket: /var/run/postgresql
    login_user: postgres
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
  become: true
  become_user: postgres

- name: With evidence of the shop, so that a drill to its position compares every row
  lifeboat.postgres.pg_base_backup:
    system: shop
    max_age: 6d
    evidence:
      databases: [shop]
      digests:
        tables: [all]
    repositories: "{{ lifeboat_repositories }}"
    encryption: "{{ lifeboat_encryption }}"

- name: From a standby, so that the primary does not feel it
  lifeboat.postgres.pg_base_backup:
    system: shop
    login_host: standby.example.net
    login_user: replicator
    login_password: "{{ replicator_password }}"
    max_rate: 50MiB
    checkpoint: spread
    repositories: "{{ lifeboat_repositories }}"
    encryption: "{{ lifeboat_encryption }}"
"""

RETURN = r"""
backup_id:
  description: The backup that was taken, or with C(changed=false) the young one that made another one needless.
  returned: success, except in check mode when a backup would be taken
  type: str
  sample: 20261121T031500Z-1a2b3c4d
parent:
  description: The backup that this one builds on, or empty for a full one.
  returned: when RV(backup_id) is
  type: str
  sample: 20261120T031500Z-5e6f7a8b
snapshot_at:
  description: When the last of the server's files was copied, in UTC. The earliest moment that can be recovered from it is a little later.
  returned: when RV(backup_id) is
  type: str
  sample: "2026-11-21T03:15:00.104233Z"
age_seconds:
  description: How old the young backup is.
  returned: when nothing was to be done
  type: float
  sample: 3600.5
wal:
  description: The log that the backup needs.
  returned: when a backup was taken
  type: dict
  contains:
    timeline:
      description: The timeline that it ends on.
      type: int
    start_lsn:
      description: Where recovery begins.
      type: str
    stop_lsn:
      description: Where the backup is consistent. No moment before it can be recovered.
      type: str
    first:
      description: The first segment that is needed.
      type: str
    last:
      description: The last one.
      type: str
    segment_bytes:
      description: The size of a segment.
      type: int
    included:
      description: Whether the log is in the backup itself.
      type: bool
  sample: {timeline: 1, start_lsn: 0/2000028, stop_lsn: 0/2000100, first: "000000010000000000000002", last: "000000010000000000000002",
    segment_bytes: 16777216, included: false}
evidence:
  description: Where evidence of each database was taken.
  returned: when a backup was taken
  type: list
  elements: dict
  contains:
    database:
      description: The database.
      type: str
    artifact:
      description: The artifact that holds it.
      type: str
    lsn:
      description: The position in the log.
      type: str
    exact:
      description: Whether it is the very state at that position; else it holds bounds.
      type: bool
    how:
      description: How that is known, or why it holds bounds only.
      type: str
  sample:
    - {database: shop, artifact: evidence-shop.json.zst.age, lsn: 0/3000110, exact: true, how: the snapshot of a logical replication slot}
size_bytes:
  description: What the backup takes in one repository.
  returned: when a backup was taken
  type: int
  sample: 104857600
plain_bytes:
  description: Size of the backup before compression.
  returned: when a backup was taken
  type: int
  sample: 524288000
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
judged:
  description: What the backup's size was judged against, or why it was not.
  returned: when a backup was taken
  type: str
  sample: "judged against the median of the last 7 good backups: 500.0 MiB"
costs:
  description: Seconds that parts of the run took; also in the manifest.
  returned: when a backup was taken
  type: dict
  sample: {stream_seconds: 9.8, wal_wait_seconds: 0.4}
"""

from ansible_collections.lifeboat.postgres.plugins.module_utils._ansible import run_module
from ansible_collections.lifeboat.postgres.plugins.module_utils._argspec import ENCRYPTION_SPEC, LOGIN_SPEC, REPOSITORIES_SPEC
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.physical_run import run


def main() -> None:
    run_module(
        {
            **LOGIN_SPEC,
            **REPOSITORIES_SPEC,
            **ENCRYPTION_SPEC,
            "system": {"type": "str", "required": True},
            "name": {"type": "str"},
            "mode": {"type": "str", "default": "full", "choices": ["full", "incremental"]},
            "full_after": {"type": "str", "default": "7d"},
            "wal": {"type": "str", "default": "archived", "choices": ["archived", "included"]},
            "evidence": {
                "type": "dict",
                "options": {
                    "databases": {"type": "list", "elements": "str"},
                    "all_databases": {"type": "bool"},
                    "within": {"type": "str"},
                    "budget": {"type": "str"},
                    "digests": {"type": "dict"},
                    "checks": {"type": "list", "elements": "dict"},
                },
            },
            "wal_timeout": {"type": "str", "default": "10m"},
            "max_rate": {"type": "str"},
            "checkpoint": {"type": "str", "default": "fast", "choices": ["fast", "spread"]},
            "label": {"type": "str"},
            "max_age": {"type": "str"},
            "exec": {"type": "dict"},
            "limits": {
                "type": "dict",
                "options": {
                    "min_bytes": {"type": "str"},
                    "max_bytes": {"type": "str"},
                    "shrink": {"type": "str"},
                    "growth": {"type": "str"},
                    "last": {"type": "int"},
                },
            },
            "accept_deviation": {"type": "bool", "default": False},
            "state_dir": {"type": "path"},
            "staging_dir": {"type": "path"},
            "compression_level": {"type": "int", "default": 3},
            "volume_size": {"type": "str", "default": "64GiB"},
            "stall_timeout": {"type": "str", "default": "2m"},
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

#!/usr/bin/python
# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_info
short_description: List the backups of a system over all repositories, and verify what lies there
version_added: 0.1.0
author:
  - The lifeboat.postgres contributors (@lifeboat-postgres)
description:
  - Lists backups by their manifests, one listing per repository, and shows the same backup in several repositories as one.
  - Says which backup is the newest, which are good, and which were drilled with what verdict.
  - Verifies sizes, or reads every byte and compares digests. Neither needs a key, and nothing is written.
  - A manifest that is broken, and a repository that cannot be reached, are reported and hide nothing else.
extends_documentation_fragment:
  - lifeboat.postgres.attributes
  - lifeboat.postgres.repositories
attributes:
  check_mode:
    support: full
    details:
      - The module only reads, so check mode changes nothing.
  diff_mode:
    support: none
    details:
      - Nothing is changed.
  idempotent:
    support: full
    details:
      - Nothing is changed.
options:
  system:
    description:
      - The system whose backups to list.
    type: str
    required: true
  kind:
    description:
      - Only backups of this kind.
    type: str
    choices: [database, globals, base, files, objects, redis, search, keys]
  name:
    description:
      - Only backups of the asset of this name. Needs O(kind).
    type: str
  query:
    description:
      - A JMESPath expression over the list of backups, as it is described in RV(backups). It has to give a list, which is
        then what RV(backups) holds.
      - It is applied last, so that it can ask for what the verification found.
    type: str
  verify:
    description:
      - V(none) reads manifests only.
      - V(sizes) also looks whether every file of a backup is there, with the size that its manifest says.
      - V(digests) also reads every byte and compares it with the manifest's SHA-256 digests. This transfers the backups.
    type: str
    choices: [none, sizes, digests]
    default: none
  verify_newest:
    description:
      - Verify only so many of the newest backups of each asset. V(0) verifies all.
    type: int
    default: 0
  verify_keys:
    description:
      - Public keys of type C(ssh-ed25519), each a line as in a C(.pub) file. With them, a backup is good only when one of them
        signed its manifest.
    type: list
    elements: str
    default: []
  report_repository:
    description:
      - The repository that holds the drill reports, with the options of one item of O(repositories). Without it nothing is
        known about drills.
    type: dict
  cache_dir:
    description:
      - Directory in which manifests that were read are kept, so that the next list reads only new ones. An empty text keeps
        nothing. The default is C(/var/cache/lifeboat) for root, else C(lifeboat) in the user's cache directory.
    type: str
requirements:
  - boto3 for repositories of type s3
  - jmespath for O(query)
  - cryptography for O(verify_keys)
seealso:
  - module: lifeboat.postgres.pg_logical_backup
  - module: lifeboat.postgres.restore_drill
"""

EXAMPLES = r"""
- name: Look at the backups of the shop
  lifeboat.postgres.backup_info:
    system: shop
    repositories: "{{ lifeboat_repositories }}"
  register: info

- name: Fail when the newest good backup of a database is older than a day
  ansible.builtin.assert:
    that:
      - info.newest['database/shop'] is not none
      - info.newest['database/shop'].age_seconds < 86400

- name: Read the newest backup of each asset in the bucket, every byte, as a weekly check
  lifeboat.postgres.backup_info:
    system: shop
    repositories:
      offsite:
        type: s3
        endpoint: https://s3.example.net
        bucket: shop-backups
        credentials_file: /etc/lifeboat/shop/offsite-read.credentials
    verify: digests
    verify_newest: 1
    verify_keys:
      - "{{ lookup('ansible.builtin.file', 'shop-db1-signing.pub') }}"
  register: weekly
  failed_when: weekly is failed or weekly.broken or weekly.backups | selectattr('newest') | rejectattr('good')

- name: Find good backups that no drill has passed
  lifeboat.postgres.backup_info:
    system: shop
    kind: database
    name: shop
    repositories: "{{ lifeboat_repositories }}"
    report_repository: "{{ lifeboat_report_repository }}"
    query: "[?good && (!drilled || drilled.verdict != 'passed')]"
  register: undrilled
"""

RETURN = r"""
backups:
  description: The backups, newest first; with O(query) what it found.
  returned: success
  type: list
  elements: dict
  contains:
    backup_id:
      description: The backup's id. Ids sort by time.
      type: str
    kind:
      description: What it is a backup of, for example V(database).
      type: str
    name:
      description: The asset's name.
      type: str
    snapshot_at:
      description: The moment whose state it holds, in UTC.
      type: str
    finished_at:
      description: When it was complete, in UTC.
      type: str
    age_seconds:
      description: How long ago RV(backups[].snapshot_at) was.
      type: float
    size_bytes:
      description: What it takes in one repository.
      type: int
    server_version:
      description: The version of the PostgreSQL server that it was taken from.
      type: str
    signed_by:
      description: Fingerprint of the key of O(verify_keys) that signed the manifest, empty when none of them did or none is given.
      type: str
      sample: SHA256:0hBQ0cTHFvOeEvBEFEVwVw2jEOVZTYVBQSWLxSnVRvE
    parent:
      description: Of kind C(base), the backup that this one builds on, and without which it is nothing; empty for one that stands alone.
      type: str
    encryption:
      description: How it is sealed. With V(gpg-symmetric) and V(none), law 5 does not hold.
      type: str
      sample: age
    digested:
      description: Which part of how many of the content digests that go in turn is whole in it, or empty.
      type: str
      sample: 3/7
    signed:
      description: Whether its manifest is signed. Whether by the right key, O(verify_keys) finds out.
      type: bool
    repositories:
      description: The repositories in which its manifest lies.
      type: list
      elements: str
    absent:
      description: Repositories that it was meant for and did not get into, or was taken from by retention, each with the reason.
      type: dict
    good:
      description: Whether it is complete wherever its manifest says so, and nothing wrong was found.
      type: bool
    problems:
      description: What is wrong with it.
      type: list
      elements: str
    verified:
      description: How far it was looked at, V(none), V(sizes) or V(digests).
      type: str
    newest:
      description: Whether it is the newest of its asset, good or not.
      type: bool
    drilled:
      description: The last drill of this backup, or null.
      type: dict
      contains:
        verdict:
          description: V(passed), V(failed) or V(unverified).
          type: str
        objective_met:
          description: Whether the objective was met, or null when that could not be said.
          type: bool
        at:
          description: When the drill began, in UTC.
          type: str
        good:
          description: Whether it passed, and kept what was promised.
          type: bool
  sample:
    - backup_id: 20261121T031500Z-1a2b3c4d
      kind: database
      name: shop
      snapshot_at: "2026-11-21T03:15:00.104233Z"
      finished_at: "2026-11-21T03:15:12.000412Z"
      age_seconds: 3600.5
      size_bytes: 104857600
      server_version: "18.6"
      signed: true
      signed_by: ""
      encryption: age
      digested: 3/7
      parent: ""
      repositories: [here, offsite]
      absent: {}
      good: true
      problems: []
      verified: sizes
      newest: true
      drilled: {verdict: passed, objective_met: true, at: "2026-11-21T04:00:00.000000Z", good: true}
digests:
  description:
    - Of each asset whose content is digested, by C(<kind>/<name>), in how many C(parts) that goes in turn, C(since) when every table
      was digested by some good backup (empty while that is not so), and which parts are C(missing).
    - Not touched by O(query).
  returned: success
  type: dict
  sample:
    database/shop: {parts: 7, since: "2026-11-15T03:15:00.104233Z", missing: []}
newest:
  description:
    - The newest good backup of each asset, in the form of RV(backups), by C(<kind>/<name>). Null for an asset without a good one.
    - Not touched by O(query).
  returned: success
  type: dict
  sample:
    database/shop: {backup_id: 20261121T031500Z-1a2b3c4d, age_seconds: 3600.5}
broken:
  description: What lies among manifests and reports and cannot be read.
  returned: success
  type: list
  elements: dict
  contains:
    repository:
      description: Where.
      type: str
    key:
      description: Under which key.
      type: str
    reason:
      description: What is wrong with it.
      type: str
  sample: []
unreachable_repositories:
  description: Repositories that could not be listed, by name, each with the reason. Their backups are not in RV(backups).
  returned: success
  type: dict
  sample: {}
"""

from ansible_collections.lifeboat.postgres.plugins.module_utils._ansible import run_module
from ansible_collections.lifeboat.postgres.plugins.module_utils._argspec import REPOSITORIES_SPEC
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup_list import list_backups
from ansible_collections.lifeboat.postgres.plugins.module_utils.inspection import LEVELS
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import KINDS


def main() -> None:
    run_module(
        {
            **REPOSITORIES_SPEC,
            "system": {"type": "str", "required": True},
            "kind": {"type": "str", "choices": list(KINDS)},
            "name": {"type": "str"},
            "query": {"type": "str"},
            "verify": {"type": "str", "choices": list(LEVELS), "default": "none"},
            "verify_newest": {"type": "int", "default": 0},
            "verify_keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "report_repository": {"type": "dict"},
            "cache_dir": {"type": "str"},
        },
        lambda options, check_mode: list_backups(options),
        required_by={"name": ["kind"]},
    )


if __name__ == "__main__":
    main()

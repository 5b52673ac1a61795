#!/usr/bin/python
# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_report_info
short_description: Find out how well a system is protected, with a credential that only reads
version_added: 0.1.0
author:
  - The lifeboat.postgres contributors (@lifeboat-postgres)
description:
  - Looks into the repositories of a system and puts into one document what was promised, what its last drills measured, which backups lie
    where, what one can recover to, which keys the vaults hold, what is late and what is set up unwisely.
  - M(lifeboat.postgres.fleet_report) makes a page of the documents of many systems.
  - Never fails for what it finds. What cannot be looked at is said in the document, and keeps nothing else from being there.
extends_documentation_fragment:
  - lifeboat.postgres.attributes
  - lifeboat.postgres.repositories
attributes:
  check_mode:
    support: full
    details:
      - The module only reads, so check mode changes nothing; with O(try_credentials) nothing is tried.
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
      - The system that is looked at.
    type: str
    required: true
  report_repository:
    description:
      - The repository of the drill reports, with the options of one item of O(repositories). Without it nothing is known about drills.
    type: dict
  key_repositories:
    description:
      - The vaults with the application's keys, in the form of O(repositories), with credentials that read. Only manifests are read there,
        never a key.
    type: dict
    default: {}
  objective:
    description:
      - What was promised, V(baseline), V(standard), V(strict), or a mapping that overrides single values. Without it no age is judged.
    type: raw
  assets:
    description:
      - What has to be there with an age of its own, and also when it was never backed up.
    type: list
    elements: dict
    default: []
    suboptions:
      kind:
        description: What it is.
        type: str
        choices: [database, globals, base, files, objects, redis, search, keys]
        required: true
      name:
        description: The asset's name.
        type: str
        required: true
      max_age:
        description: How old the state of its newest backup may be, for example V(26h).
        type: str
      min_bytes:
        description: How small its newest backup may be.
        type: str
  ignore:
    description:
      - What was retired and is backed up no longer, each as C(kind/name).
    type: list
    elements: str
    default: []
  wal_max_age:
    description:
      - How long ago the newest segment may have been archived, when that is not the RPO of an objective that has WAL.
    type: str
  verify_keys:
    description:
      - Public keys of type C(ssh-ed25519), each a line as in a C(.pub) file. With them, a backup is good only when one of them
        signed its manifest.
    type: list
    elements: str
    default: []
  encryption:
    description:
      - How backups are sealed, as O(lifeboat.postgres.pg_logical_backup#module:encryption) has it. Not judged when it is not given.
    type: dict
  retention_schedule:
    description:
      - How long personal data may be kept in backups, for example V(400d), by the controller's data-retention schedule.
    type: str
  audit:
    description:
      - Whether to judge how things are set up, as M(lifeboat.postgres.backup_audit) does with C(purpose=read).
    type: bool
    default: true
  try_credentials:
    description:
      - Whether to try in the audit that this host's credential cannot write. A credential that can leaves a canary.
    type: bool
    default: false
  cache_dir:
    description:
      - Directory in which manifests that were read are kept, so that the next look reads only new ones. An empty text keeps
        nothing. The default is C(/var/cache/lifeboat) for root, else C(lifeboat) in the user's cache directory.
    type: str
requirements:
  - boto3 for repositories of type s3
  - cryptography for O(verify_keys)
seealso:
  - module: lifeboat.postgres.fleet_report
  - module: lifeboat.postgres.backup_audit
  - module: lifeboat.postgres.backup_info
"""

EXAMPLES = r"""
- name: Look at the shop
  lifeboat.postgres.fleet_report_info:
    system: shop
    repositories: "{{ lifeboat_repositories }}"
    report_repository: "{{ lifeboat_report_repository }}"
    objective: standard
  register: shop

- name: Put it on a page
  lifeboat.postgres.fleet_report:
    parts:
      - "{{ shop.part }}"
    dest: /srv/reports/index.html
  delegate_to: localhost
"""

RETURN = r"""
part:
  description: Everything that was found out, as O(lifeboat.postgres.fleet_report#module:parts) takes it.
  returned: success
  type: dict
  contains:
    system:
      description: The system.
      type: str
    looked_at:
      description: When it was looked at, in UTC.
      type: str
    host:
      description: The host that looked.
      type: str
    objective:
      description: What was promised, in seconds; null for what was not.
      type: dict
    places:
      description: The repositories, with the backups in each and per day.
      type: list
      elements: dict
    assets:
      description: What is backed up, with its newest good backup and the moments that good ones hold.
      type: list
      elements: dict
    archives:
      description: The archived log in each repository, with the windows that one can recover to.
      type: list
      elements: dict
    drills:
      description: Of each asset the whole report of its last drill, and what every drill measured.
      type: list
      elements: dict
    protected_keys:
      description: The application's keys, with their fingerprints and what the newest backups need.
      type: list
      elements: dict
    audit:
      description: What M(lifeboat.postgres.backup_audit) found.
      type: list
      elements: dict
    freshness:
      description: Whether what should be fresh is.
      type: list
      elements: dict
    unknown:
      description: What could not be looked at, in sentences.
      type: list
      elements: str
  sample:
    schema: 1
    system: shop
    looked_at: "2026-11-21T07:00:00.000000Z"
    host: drill1
    unknown: []
"""

from ansible_collections.lifeboat.postgres.plugins.module_utils._ansible import run_module
from ansible_collections.lifeboat.postgres.plugins.module_utils._argspec import REPOSITORIES_SPEC
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import KINDS
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.fleet_gather import gather


def main() -> None:
    run_module(
        {
            **REPOSITORIES_SPEC,
            "system": {"type": "str", "required": True},
            "report_repository": {"type": "dict"},
            "key_repositories": {"type": "dict", "default": {}, "no_log": False},
            "objective": {"type": "raw"},
            "assets": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "kind": {"type": "str", "choices": list(KINDS), "required": True},
                    "name": {"type": "str", "required": True},
                    "max_age": {"type": "str"},
                    "min_bytes": {"type": "str"},
                },
            },
            "ignore": {"type": "list", "elements": "str", "default": []},
            "wal_max_age": {"type": "str"},
            "verify_keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "encryption": {"type": "dict"},
            "retention_schedule": {"type": "str"},
            "audit": {"type": "bool", "default": True},
            "try_credentials": {"type": "bool", "default": False},
            "cache_dir": {"type": "str"},
        },
        gather,
    )


if __name__ == "__main__":
    main()

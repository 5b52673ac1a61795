#!/usr/bin/python
# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_audit
short_description: Try what a backup credential can destroy, and find what is set up unwisely
version_added: 0.1.0
author:
  - The lifeboat.postgres contributors (@lifeboat-postgres)
description:
  - Puts a canary into each repository as a backup is put there, with the credential that the host really has, and tries to
    replace and to delete it, its versions and its lock included. What can be destroyed is said; a policy is not believed.
  - Reads back what a bucket does by itself (versions, default lock, lifecycle) and compares that with retention and objective.
  - Finds repositories on the database's own disk, the want of one elsewhere, backups that are not sealed, a single recipient,
    and key repositories that are not apart from the data.
  - Resolves the objective to a plan, and names what cannot keep it.
  - Never fails for what it finds; RV(good) says whether anything is weak.
extends_documentation_fragment:
  - lifeboat.postgres.attributes
  - lifeboat.postgres.repositories
attributes:
  check_mode:
    support: partial
    details:
      - Nothing is written in check mode, so what a credential can destroy is not tried, and is said to be unknown.
  diff_mode:
    support: none
    details:
      - Nothing is changed.
  idempotent:
    support: full
    details:
      - Nothing is changed. Where a bucket guards what is written, the canary stays, hidden, until its lock ends after half an hour, or
        for as long as the bucket's own rules want.
options:
  system:
    description:
      - The system that is looked at. The canary lies below its name.
    type: str
    required: true
  key_repositories:
    description:
      - Where the application's keys go, in the form of O(repositories). They are only compared with the others, never touched.
    type: dict
    default: {}
  encryption:
    description:
      - How backups are sealed, as O(lifeboat.postgres.pg_logical_backup#module:encryption) has it. Not judged when it is not given.
    type: dict
  objective:
    description:
      - What was promised, V(baseline), V(standard), V(strict), or a mapping that overrides single values.
    type: raw
  data_directory:
    description:
      - The database's data directory on this host, to find repositories that lie on the same disk.
    type: path
  purpose:
    description:
      - What the credential is for. With V(write), it should be able to put, list and read, and to destroy nothing; with V(read), as
        drills have it, it should not be able to write.
    type: str
    choices: [write, read]
    default: write
  try_credentials:
    description:
      - Whether to try it with a canary.
    type: bool
    default: true
  report_repository:
    description:
      - The repository of the drill reports, with the options of one item of O(repositories), to hold the last drill against the objective.
    type: dict
  retention_schedule:
    description:
      - How long personal data may be kept in backups, for example V(400d), by the controller's data-retention schedule.
    type: str
requirements:
  - boto3 for repositories of type s3
seealso:
  - module: lifeboat.postgres.backup_prune
  - module: lifeboat.postgres.backup_info
"""

EXAMPLES = r"""
- name: Try what this host could do to its own backups
  lifeboat.postgres.backup_audit:
    system: shop
    repositories: "{{ lifeboat_repositories }}"
    key_repositories: "{{ lifeboat_key_repositories }}"
    encryption: "{{ lifeboat_encryption }}"
    objective: standard
    data_directory: /var/lib/postgresql/17/main
  register: audit

- name: Require that nothing is weak
  ansible.builtin.assert:
    that: audit.good
    fail_msg: "{{ audit.findings | selectattr('verdict', 'eq', 'weak') | map(attribute='detail') | join('; ') }}"

- name: Require on the drill host that its credential only reads
  lifeboat.postgres.backup_audit:
    system: shop
    repositories: "{{ lifeboat_repositories }}"
    purpose: read
  register: audit
  failed_when: audit is failed or not audit.good
"""

RETURN = r"""
findings:
  description: What each rule says, where it applies.
  returned: success
  type: list
  elements: dict
  contains:
    rule:
      description: Which rule, for example V(destroy), V(versions), V(sealed), V(keys-apart), V(objective).
      type: str
    where:
      description: The repository, or what else is meant.
      type: str
    verdict:
      description: V(good), V(weak), or V(unknown) where it could not be found out.
      type: str
    detail:
      description: What was seen.
      type: str
    advice:
      description: What to do about it.
      type: str
  sample:
    - rule: destroy
      where: offsite
      verdict: weak
      detail: "delete the version itself: done. the canary is gone"
      advice: "Take s3:DeleteObjectVersion from it: pruning has a credential of its own."
weak:
  description: How many findings are weak.
  returned: success
  type: int
  sample: 1
unknown:
  description: How many could not be found out.
  returned: success
  type: int
  sample: 0
good:
  description: Whether nothing is weak.
  returned: success
  type: bool
  sample: false
plan:
  description: The objective with every value resolved, in seconds; null when none was given.
  returned: success
  type: dict
  sample: {tier: standard, rpo_seconds: 3600.0, rto_seconds: 3600.0, wal: true}
table:
  description: The same as lines for people.
  returned: success
  type: list
  elements: str
  sample:
    - "tier                  standard"
    - "RPO promised          60 min"
"""

from ansible_collections.lifeboat.postgres.plugins.module_utils._ansible import run_module
from ansible_collections.lifeboat.postgres.plugins.module_utils._argspec import REPOSITORIES_SPEC
from ansible_collections.lifeboat.postgres.plugins.module_utils.audit.rules import PURPOSES
from ansible_collections.lifeboat.postgres.plugins.module_utils.audit.run import run


def main() -> None:
    run_module(
        {
            **REPOSITORIES_SPEC,
            "system": {"type": "str", "required": True},
            "key_repositories": {"type": "dict", "default": {}, "no_log": False},
            "encryption": {"type": "dict"},
            "objective": {"type": "raw"},
            "data_directory": {"type": "path"},
            "purpose": {"type": "str", "choices": list(PURPOSES), "default": PURPOSES[0]},
            "try_credentials": {"type": "bool", "default": True},
            "report_repository": {"type": "dict"},
            "retention_schedule": {"type": "str"},
        },
        run,
    )


if __name__ == "__main__":
    main()

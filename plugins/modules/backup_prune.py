#!/usr/bin/python
# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_prune
short_description: Remove backups that no retention keeps, and only what is proven to be dispensable
version_added: 0.1.0
author:
  - The lifeboat.postgres contributors (@lifeboat-postgres)
description:
  - Decides for every backup in every repository that has C(retention) whether it stays, with the reasons, and removes the others.
    Run it elsewhere than on the database host, with a credential of its own that may delete.
  - Of the newest so many hours, days, weeks, months and years that have a good backup, the newest one of each stays. Periods are
    those of UTC, and of the backups, never of the clock, so weeks without a backup remove nothing. C(max_age) alone asks what time it is.
  - Whatever the retention says, the newest verified backup and the newest good one of every asset stay, and so does what a kept one
    builds on. Where no backup is verified, the newest is read whole first; before that, none goes.
  - Nothing at all goes from a repository whose listing or whose clock cannot be believed. The module then fails, says what is
    wrong, and by which word it can be accepted.
  - What killed runs left is removed after O(orphan_age); the write-ahead log up to the first segment that a kept base backup
    needs. What the store locks waits.
extends_documentation_fragment:
  - lifeboat.postgres.attributes
  - lifeboat.postgres.repositories
attributes:
  check_mode:
    support: full
    details:
      - What would go is found by listings and manifests. A backup that would be read whole first is taken for good.
  diff_mode:
    support: full
    details:
      - The diff lists what goes, and why.
  idempotent:
    support: full
    details:
      - What stayed stays, until a new backup comes or one becomes too old.
options:
  system:
    description:
      - The system whose backups to prune.
    type: str
    required: true
  kind:
    description:
      - Only backups of this kind. The log is then looked at for V(base) only, and uploads that were never completed are not.
    type: str
    choices: [database, globals, base, files, objects, redis, search, keys]
  name:
    description:
      - Only backups of the asset of this name. Needs O(kind).
    type: str
  targets:
    description:
      - Prune only these of the O(repositories).
    type: list
    elements: str
    default: []
  retention:
    description:
      - What a repository keeps that has no C(retention) of its own. Without it, and without O(objective), such a repository is left alone.
    type: dict
    suboptions: &retention
      hourly:
        description: How many hours keep their newest backup.
        type: int
      daily:
        description: How many days.
        type: int
      weekly:
        description: How many weeks, as ISO 8601 counts them.
        type: int
      monthly:
        description: How many months.
        type: int
      yearly:
        description: How many years.
        type: int
      keep:
        description: How many of the newest stay in any case.
        type: int
      max_age:
        description: How old a backup may become, for example V(400d), though a class would keep it.
        type: str
  objective:
    description:
      - What was promised, as one word (V(baseline), V(standard), V(strict)) or as a mapping. Its retention counts where neither a
        repository nor O(retention) says anything.
    type: raw
  overrides:
    description:
      - Assets that keep other numbers, in every repository. What an item does not name is as the repository says.
    type: list
    elements: dict
    default: []
    suboptions:
      kind:
        description: The asset's kind.
        type: str
        choices: [database, globals, base, files, objects, redis, search, keys]
        default: database
      name:
        description: The asset's name.
        type: str
        required: true
      retention:
        description: The numbers that are different for it.
        type: dict
        suboptions: *retention
  data_retention:
    description:
      - The data-retention schedule of the controller. The returned C(document) puts it beside what is configured, and what is kept
        for longer than it allows is warned of.
    type: list
    elements: dict
    default: []
    suboptions:
      data:
        description: Which data, in words.
        type: str
        required: true
      max_age:
        description: How long backups may hold them after they were deleted, for example V(90d).
        type: str
        required: true
      basis:
        description: What that rests on, in words.
        type: str
      assets:
        description: The assets that hold them, as C(database/shop); all when not given.
        type: list
        elements: str
  data_repositories:
    description:
      - Repositories with the data, only to be looked at. Backups of kind C(keys) go by what these, and those that are
        pruned, still need; where that cannot be told, none of them goes.
    type: dict
    default: {}
  report_repository:
    description:
      - Where drill reports lie. A backup is verified when its last drill passed; one whose drill failed takes no place.
    type: dict
  verify_keys:
    description:
      - Public keys of type C(ssh-ed25519), each a line as in a C(.pub) file. With them, a backup counts only when one of them
        signed its manifest, so that forged ones push none out.
    type: list
    elements: str
    default: []
  verify:
    description:
      - What verifies a backup beside a drill. V(digests) reads the newest one whole, where something would go that nothing but
        missing proof keeps, and remembers it in O(state_dir). V(drills) leaves it to drills.
    type: str
    choices: [digests, drills]
    default: digests
  max_remove:
    description:
      - How many backups of one asset may go at once, as a share of those that are there, or as a number.
    type: str
    default: 50%
  accept:
    description:
      - Doubts that were looked into and are none. V(broken), manifests that are none; V(dates), backups that were stored much later than
        they say; V(flood), far more backups in a day than before; V(future), backups dated in the future; V(max_remove), more going than
        O(max_remove) allows; V(orphans), many folders without a manifest; V(stale), ages that count though nothing came for long;
        V(vanished), much less than the last prune left. A clock that is wrong is never accepted.
    type: list
    elements: str
    choices: [broken, dates, flood, future, max_remove, orphans, stale, vanished]
    default: []
  orphan_age:
    description:
      - How old what a killed run left must be, by the store's own dates, before it is removed. Longer than any backup takes.
    type: str
    default: 7d
  wal:
    description:
      - Remove the write-ahead log that no base backup in the same repository needs any more.
    type: bool
    default: true
  state_dir:
    description:
      - Where it is remembered what the last prune left, which the next one is held against. The default is
        C(/var/lib/lifeboat/prune) for root, else a directory of the user's own. Empty, and nothing is remembered.
    type: str
  cache_dir:
    description:
      - Where manifests are kept that were read before. The default is C(/var/cache/lifeboat) for root, else a directory of the user's
        own. Empty, and none are kept.
    type: str
  stall_timeout:
    description:
      - A repository that gives no answer for this long is given up.
    type: str
    default: 2m
  lock_dir:
    description:
      - Directory of the lock files, one per repository. The default is C(/run/lifeboat) for root, else a directory of the user's own.
    type: path
requirements:
  - boto3 for repositories of type s3
  - cryptography for O(verify_keys)
seealso:
  - module: lifeboat.postgres.backup_info
  - module: lifeboat.postgres.restore_drill
"""

EXAMPLES = r"""
- name: Keep seven days, four weeks and twelve months, and nothing for longer than 400 days
  lifeboat.postgres.backup_prune:
    system: shop
    repositories:
      offsite:
        type: s3
        endpoint: https://s3.example.net
        bucket: shop-backups
        credentials_file: /etc/lifeboat/shop/offsite-prune.credentials
        retention: {daily: 7, weekly: 4, monthly: 12, max_age: 400d}
    report_repository:
      type: s3
      endpoint: https://s3.example.net
      bucket: shop-reports
      credentials_file: /etc/lifeboat/shop/reports-read.credentials
    verify_keys:
      - "{{ lookup('ansible.builtin.file', 'shop-db1-signing.pub') }}"

- name: See what a shorter retention would remove
  lifeboat.postgres.backup_prune:
    system: shop
    repositories: "{{ lifeboat_repositories }}"
    retention: {daily: 3}
  check_mode: true
  diff: true
"""

RETURN = r"""
removed:
  description: The backups that were removed; in check mode those that would be.
  returned: success, and on failure where the options could be read
  type: list
  elements: dict
  contains: &backup
    repository:
      description: Where it is, or was.
      type: str
    kind:
      description: What it is a backup of, for example V(database).
      type: str
    name:
      description: The asset's name.
      type: str
    backup_id:
      description: The backup's id.
      type: str
    snapshot_at:
      description: The moment whose state it holds, in UTC.
      type: str
    size_bytes:
      description: What it takes there.
      type: int
    reasons:
      description: Why, in words.
      type: list
      elements: str
  sample:
    - repository: offsite
      kind: database
      name: shop
      backup_id: 20261021T031500Z-1a2b3c4d
      snapshot_at: "2026-10-21T03:15:00.104233Z"
      size_bytes: 104857600
      reasons: ["beyond daily 7, weekly 4, monthly 12"]
kept:
  description: The backups that stay, each with every reason.
  returned: success, and on failure where the options could be read
  type: list
  elements: dict
  contains: *backup
waiting:
  description: The backups, and the remains of killed runs, that would go if the store did not lock them.
  returned: success, and on failure where the options could be read
  type: list
  elements: dict
  contains: *backup
orphans:
  description: The remains of killed runs that were removed.
  returned: success, and on failure where the options could be read
  type: list
  elements: dict
  contains:
    repository:
      description: Where they were.
      type: str
    kind:
      description: What would have been backed up.
      type: str
    name:
      description: The asset's name.
      type: str
    backup_id:
      description: The id of the backup that never came to exist.
      type: str
    objects:
      description: How many files it had.
      type: int
    size_bytes:
      description: What they took.
      type: int
  sample: []
locks:
  description: The backups whose lock was lengthened, because a longer class keeps them now.
  returned: success, and on failure where the options could be read
  type: list
  elements: dict
  contains:
    repository:
      description: Where it is.
      type: str
    kind:
      description: What it is a backup of.
      type: str
    name:
      description: The asset's name.
      type: str
    backup_id:
      description: The backup's id.
      type: str
    until:
      description: Until when it is locked now, in UTC.
      type: str
  sample: []
repositories:
  description: Of each repository that was pruned, in numbers, what became of it.
  returned: success, and on failure where the options could be read
  type: dict
  sample:
    offsite:
      policy: daily 7, weekly 4, monthly 12
      kept: 21
      removed: 1
      waiting: 0
      orphans: 0
      uploads: 0
      wal: {}
      read_whole: []
document:
  description:
    - How long backups are kept, beside the data-retention schedule, as Markdown from what is configured. The same configuration
      gives the same text.
  returned: success, and on failure where the options could be read
  type: str
doubts:
  description: What spoke against believing a listing or a clock, a sentence each, accepted or not.
  returned: success, and on failure where the options could be read
  type: list
  elements: str
  sample: []
problems:
  description: Why the module fails, a sentence each.
  returned: success, and on failure where the options could be read
  type: list
  elements: str
  sample: []
"""

from ansible_collections.lifeboat.postgres.plugins.module_utils._ansible import run_module
from ansible_collections.lifeboat.postgres.plugins.module_utils._argspec import REPOSITORIES_SPEC
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import KINDS
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.doubts import WORDS
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.plan import MAX_REMOVE, ORPHAN_AGE, PROOFS
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.run import run

RETENTION = {
    "type": "dict",
    "options": {
        **{word: {"type": "int"} for word in ("hourly", "daily", "weekly", "monthly", "yearly", "keep")},
        "max_age": {"type": "str"},
    },
}


def main() -> None:
    run_module(
        {
            **REPOSITORIES_SPEC,
            "system": {"type": "str", "required": True},
            "kind": {"type": "str", "choices": list(KINDS)},
            "name": {"type": "str"},
            "targets": {"type": "list", "elements": "str", "default": []},
            "retention": RETENTION,
            "objective": {"type": "raw"},
            "overrides": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "kind": {"type": "str", "choices": list(KINDS), "default": "database"},
                    "name": {"type": "str", "required": True},
                    "retention": RETENTION,
                },
            },
            "data_retention": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "data": {"type": "str", "required": True},
                    "max_age": {"type": "str", "required": True},
                    "basis": {"type": "str"},
                    "assets": {"type": "list", "elements": "str"},
                },
            },
            "data_repositories": {"type": "dict", "default": {}},
            "report_repository": {"type": "dict"},
            "verify_keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "verify": {"type": "str", "choices": list(PROOFS), "default": PROOFS[0]},
            "max_remove": {"type": "str", "default": MAX_REMOVE},
            "accept": {"type": "list", "elements": "str", "choices": list(WORDS), "default": []},
            "orphan_age": {"type": "str", "default": ORPHAN_AGE},
            "wal": {"type": "bool", "default": True},
            "state_dir": {"type": "str"},
            "cache_dir": {"type": "str"},
            "stall_timeout": {"type": "str", "default": "2m"},
            "lock_dir": {"type": "path"},
        },
        run,
        required_by={"name": ["kind"]},
    )


if __name__ == "__main__":
    main()

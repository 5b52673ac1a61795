#!/usr/bin/python
# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_copy
short_description: Copy backups from one repository to another, sealed as they are
version_added: 0.1.0
author:
  - The lifeboat.postgres contributors (@lifeboat-postgres)
description:
  - Copies whole backups into every repository that names another one in C(copy_from), each on its own C(cadence), for example
    weekly into another account and monthly into another region. Nothing is opened, so no key is needed.
  - Of each asset and each period of the cadence, the newest good backup is copied. Where the target holds nothing of an asset
    yet, only the newest period counts; afterwards every period since the newest copy is caught up. Periods are those of UTC.
  - Every volume's digest is compared on the way and confirmed at the target. The manifest is written last, byte for byte, so
    that its signature stays valid. A run that is killed leaves nothing that looks like a backup, and the next one goes on.
  - A broken backup is never copied. When it is the newest of its period or of its asset, the newest good one is copied in its
    place, and the module fails and names the broken one, in every run until it is mended or no longer the newest.
extends_documentation_fragment:
  - lifeboat.postgres.attributes
  - lifeboat.postgres.repositories
attributes:
  check_mode:
    support: full
    details:
      - What would be copied is found by listings, manifests and sizes. A copy of a copy is predicted from what lies there now.
  diff_mode:
    support: full
    details:
      - The diff names the copies.
  idempotent:
    support: full
    details:
      - What a target holds already is not copied again.
options:
  system:
    description:
      - The system whose backups to copy.
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
  backup_id:
    description:
      - Only this backup, whatever its period, unless the target holds it already.
    type: str
  repositories:
    required: false
  targets:
    description:
      - Fill only these of the O(repositories) that have C(copy_from).
    type: list
    elements: str
    default: []
  source:
    description:
      - In place of O(repositories), the repository to copy from, with the options of one item of them.
    type: dict
  target:
    description:
      - The repository to copy O(source) to, with the options of one item of O(repositories); its C(cadence) counts.
    type: dict
  verify_keys:
    description:
      - Public keys of type C(ssh-ed25519), each a line as in a C(.pub) file. With them, a backup is copied only when one of
        them signed its manifest.
    type: list
    elements: str
    default: []
  parallel:
    description:
      - So many volumes of a backup are copied at a time. Each takes memory, at S3 C(part_size) times C(max_threads) and one.
    type: int
    default: 2
  stall_timeout:
    description:
      - A copy fails when its target takes no bytes, or its source gives none, for this long. So does a listing.
    type: str
    default: 2m
  lock_dir:
    description:
      - Directory of the lock files, one per target. The default is C(/run/lifeboat) for root, else a directory of the user's own.
    type: path
requirements:
  - boto3 for repositories of type s3
  - cryptography for O(verify_keys)
seealso:
  - module: lifeboat.postgres.pg_logical_backup
  - module: lifeboat.postgres.backup_info
"""

EXAMPLES = r"""
- name: Fill the repositories that have copy_from
  lifeboat.postgres.backup_copy:
    system: shop
    repositories:
      offsite:
        type: s3
        endpoint: https://s3.example.net
        bucket: shop-backups
        credentials_file: /etc/lifeboat/shop/offsite-read.credentials
      abroad:
        type: s3
        endpoint: https://s3.example.org
        bucket: shop-monthly
        credentials_file: /etc/lifeboat/shop/abroad-write.credentials
        copy_from: offsite
        cadence: monthly
        retention: {monthly: 12}
    verify_keys:
      - "{{ lookup('ansible.builtin.file', 'shop-db1-signing.pub') }}"

- name: Copy one backup onto a disk that goes into the safe
  lifeboat.postgres.backup_copy:
    system: shop
    backup_id: 20261121T031500Z-1a2b3c4d
    source: "{{ lifeboat_repositories.offsite }}"
    target:
      type: posix
      path: /media/safe/lifeboat
"""

RETURN = r"""
copied:
  description: The copies that were made; in check mode those that would be.
  returned: success, and on failure where a copy was made
  type: list
  elements: dict
  contains:
    backup_id:
      description: The backup's id, the same as at the source.
      type: str
    kind:
      description: What it is a backup of, for example V(database).
      type: str
    name:
      description: The asset's name.
      type: str
    source:
      description: The repository that it was copied from.
      type: str
    target:
      description: The repository that it was copied to.
      type: str
    snapshot_at:
      description: The moment whose state it holds, in UTC.
      type: str
    size_bytes:
      description: What it takes in one repository.
      type: int
    moved_bytes:
      description: What was transferred; less where an earlier run had begun. Not in check mode.
      type: int
    seconds:
      description: How long that took. Not in check mode.
      type: float
    bytes_per_second:
      description: How fast that was. Not in check mode.
      type: float
  sample:
    - backup_id: 20261121T031500Z-1a2b3c4d
      kind: database
      name: shop
      source: offsite
      target: abroad
      snapshot_at: "2026-11-21T03:15:00.104233Z"
      size_bytes: 104857600
      moved_bytes: 104857600
      seconds: 9.52
      bytes_per_second: 11014454.0
problems:
  description: What is wrong with backups or places, a sentence each. With one of them the module fails.
  returned: always
  type: list
  elements: str
  sample: []
"""

from ansible_collections.lifeboat.postgres.plugins.module_utils._ansible import run_module
from ansible_collections.lifeboat.postgres.plugins.module_utils.copies.run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import KINDS


def main() -> None:
    run_module(
        {
            "system": {"type": "str", "required": True},
            "kind": {"type": "str", "choices": list(KINDS)},
            "name": {"type": "str"},
            "backup_id": {"type": "str"},
            "repositories": {"type": "dict"},
            "targets": {"type": "list", "elements": "str", "default": []},
            "source": {"type": "dict"},
            "target": {"type": "dict"},
            "verify_keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "parallel": {"type": "int", "default": 2},
            "stall_timeout": {"type": "str", "default": "2m"},
            "lock_dir": {"type": "path"},
        },
        run,
        mutually_exclusive=[("repositories", "source"), ("repositories", "target")],
        required_one_of=[("repositories", "source")],
        required_together=[("source", "target")],
        required_by={"name": ["kind"]},
    )


if __name__ == "__main__":
    main()

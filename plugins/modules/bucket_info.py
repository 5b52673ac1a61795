#!/usr/bin/python
# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: bucket_info
short_description: Look how the buckets of backups are set up, and what they lack of what was promised
version_added: 0.1.0
author:
  - The lifeboat.postgres contributors (@lifeboat-postgres)
description:
  - Derives from repositories and their retention how each bucket should be set up, with versions, object lock, lifecycle, a block of
    public access, encryption at rest and policies, and refuses in one sentence what contradicts the retention.
  - Reads each bucket with an administrator's credential, and says what differs, what its store does not have, and what is a problem.
  - Hands over what is to be set, in the words of C(amazon.aws.s3_bucket) and C(community.aws.s3_lifecycle), and a policy for each
    credential. The role C(store) sets it, and reads it back. This module changes nothing.
  - Never fails for what it finds; RV(good) says whether anything is a problem.
extends_documentation_fragment:
  - lifeboat.postgres.attributes
  - lifeboat.postgres.repositories
attributes:
  check_mode:
    support: full
    details:
      - The module only reads, so check mode changes nothing.
  diff_mode:
    support: full
    details:
      - The difference is the one between each bucket as it is and as it should be.
  idempotent:
    support: full
    details:
      - Nothing is changed.
options:
  key_repositories:
    description:
      - Where the application's keys go, in the form of O(repositories). Their buckets are set up alike, without cold storage and expiry.
    type: dict
    default: {}
  report_repository:
    description:
      - The repository of the drill reports, with the options of one item of O(repositories). It is called V(reports) among the others.
    type: dict
  targets:
    description:
      - Only these repositories. All of type C(s3) when empty.
    type: list
    elements: str
    default: []
  administrators:
    description:
      - The credential that may set a bucket up, as a mapping of names of repositories to C(credentials_file) and C(profile). It takes the
        place of the one in the repository's options, which is the database host's. Without it the chain of the AWS tools applies.
    type: dict
    default: {}
  principals:
    description:
      - Whom the bucket's own policy lets in, as a mapping of names of repositories to lists of principals by purpose, V(write), V(read),
        V(prune), and V(report) and V(read) for V(reports). At Amazon a principal is the ARN of a user or role, at versitygw its access key.
      - Statements of others in the policy stay. Without principals no policy is set.
    type: dict
    default: {}
  retention:
    description:
      - What a repository keeps that has no C(retention) of its own, as O(lifeboat.postgres.backup_prune#module:retention) has it.
    type: dict
  objective:
    description:
      - What was promised, V(baseline), V(standard), V(strict), or a mapping; its retention counts where nothing else says one.
    type: raw
  require:
    description:
      - What a bucket must have. What else its store does not have is said, and is no problem.
      - V(lock) counts for repositories with C(object_lock). What is asked for by name (O(cold_after), O(expire_after), O(principals)) is
        always required.
    type: list
    elements: str
    choices: [versions, lock, lifecycle, public_access, encryption, policy]
    default: [versions, lock]
  cold_after:
    description:
      - Move what is 128 KiB or larger to cold storage after so long, for example V(30d). Not at all when it is not given.
    type: str
  cold_class:
    description:
      - Where to. What lies in V(glacier) and V(deep_archive) has to be thawed before it can be read, by a drill too.
    type: str
    choices: [glacier_ir, standard_ia, onezone_ia, intelligent_tiering, glacier, deep_archive]
    default: glacier_ir
  expire_after:
    description:
      - Let the bucket itself remove backups after so long. Refused when retention keeps one for longer. A bucket asks nobody, so that the
        last good backup goes, too, when no other one came; M(lifeboat.postgres.backup_prune) keeps it.
    type: str
  noncurrent_after:
    description:
      - When what was replaced or deleted goes for good; V(7d) at least.
    type: str
    default: 30d
  abort_after:
    description:
      - When parts of uploads go that were never completed. Longer than the longest backup takes.
    type: str
    default: 7d
  encryption:
    description:
      - What the store encrypts with by itself, where nothing is set. Backups are sealed before they get there.
    type: str
    choices: [AES256, none]
    default: AES256
  public_access_block:
    description:
      - Whether to block public access.
    type: bool
    default: true
  applied:
    description:
      - The buckets were set up, so what is required and still differs is a problem.
    type: bool
    default: false
requirements:
  - boto3
seealso:
  - module: lifeboat.postgres.backup_audit
  - module: lifeboat.postgres.backup_prune
"""

EXAMPLES = r"""
- name: Look what the buckets lack
  lifeboat.postgres.bucket_info:
    repositories: "{{ lifeboat_repositories }}"
    key_repositories: "{{ lifeboat_key_repositories }}"
    administrators:
      offsite: {credentials_file: /root/.aws/backup-admin}
      vault: {profile: vault-admin}
  register: found

- name: Require that they are as they were promised
  ansible.builtin.assert:
    that: found.good
    fail_msg: "{{ found.problems | join('; ') }}"
"""

RETURN = r"""
buckets:
  description: Each bucket, once, whoever shares it.
  returned: success
  type: list
  elements: dict
  contains:
    bucket:
      description: Its name.
      type: str
    endpoint:
      description: Where its store is; null at Amazon.
      type: str
    repositories:
      description: Who lies in it.
      type: list
      elements: str
    reachable:
      description: Whether it could be looked at.
      type: bool
    exists:
      description: Whether there is such a bucket; null when that could not be found out.
      type: bool
    differs:
      description: What can be set and is not as it should be, as in O(require).
      type: list
      elements: str
    lacks:
      description: What its store does not have.
      type: list
      elements: str
    problems:
      description: What is wrong and required, a sentence each.
      type: list
      elements: str
    notes:
      description: What is only said, a sentence each.
      type: list
      elements: str
    before:
      description: How it is, a line for each property.
      type: list
      elements: str
    after:
      description: How it should be.
      type: list
      elements: str
    settings:
      description: What is to be said to C(amazon.aws.s3_bucket) beside the plain switches.
      type: dict
    rules:
      description: What is to be said to C(community.aws.s3_lifecycle), rule by rule.
      type: list
      elements: dict
    connection:
      description: The options with which these modules reach the bucket.
      type: dict
    environment:
      description: The environment in which they find the credential, by its file.
      type: dict
  sample:
    - bucket: shop-backups
      endpoint: https://s3.example.net
      repositories: [offsite]
      reachable: true
      exists: true
      differs: [lifecycle]
      lacks: [public_access]
      problems: []
      notes: ["the store has no block of public access: see to it that no policy opens the bucket"]
good:
  description: Whether nothing is a problem.
  returned: success
  type: bool
  sample: true
differs:
  description: Whether anything can be set.
  returned: success
  type: bool
  sample: true
problems:
  description: The problems of all buckets, each with the bucket's name.
  returned: success
  type: list
  elements: str
notes:
  description: The notes of all buckets.
  returned: success
  type: list
  elements: str
policies:
  description: By repository and purpose, what a credential of this purpose needs, as the policy of an identity.
  returned: success
  type: dict
  sample:
    offsite:
      read:
        Version: "2012-10-17"
        Statement:
          - {Effect: Allow, Action: ["s3:ListBucket"], Resource: ["arn:aws:s3:::shop-backups"]}
          - {Effect: Allow, Action: ["s3:GetObject"], Resource: ["arn:aws:s3:::shop-backups/*"]}
"""

from ansible_collections.lifeboat.postgres.plugins.module_utils._ansible import run_module
from ansible_collections.lifeboat.postgres.plugins.module_utils._argspec import REPOSITORIES_SPEC
from ansible_collections.lifeboat.postgres.plugins.module_utils.store.asked import ENCRYPTIONS, PROPERTIES, REQUIRED
from ansible_collections.lifeboat.postgres.plugins.module_utils.store.lifecycle import COLD_CLASSES
from ansible_collections.lifeboat.postgres.plugins.module_utils.store.run import run


def main() -> None:
    run_module(
        {
            **REPOSITORIES_SPEC,
            "key_repositories": {"type": "dict", "default": {}, "no_log": False},
            "report_repository": {"type": "dict"},
            "targets": {"type": "list", "elements": "str", "default": []},
            "administrators": {"type": "dict", "default": {}},
            "principals": {"type": "dict", "default": {}},
            "retention": {"type": "dict"},
            "objective": {"type": "raw"},
            "require": {"type": "list", "elements": "str", "choices": list(PROPERTIES), "default": list(REQUIRED)},
            "cold_after": {"type": "str"},
            "cold_class": {"type": "str", "choices": list(COLD_CLASSES), "default": COLD_CLASSES[0]},
            "expire_after": {"type": "str"},
            "noncurrent_after": {"type": "str", "default": "30d"},
            "abort_after": {"type": "str", "default": "7d"},
            "encryption": {"type": "str", "choices": list(ENCRYPTIONS), "default": ENCRYPTIONS[0]},
            "public_access_block": {"type": "bool", "default": True},
            "applied": {"type": "bool", "default": False},
        },
        run,
    )


if __name__ == "__main__":
    main()

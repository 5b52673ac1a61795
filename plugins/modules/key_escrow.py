#!/usr/bin/python
# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: key_escrow
short_description: Ship the application's own keys, sealed, to a vault apart from the backups
version_added: 0.1.0
author:
  - The lifeboat.postgres contributors (@lifeboat-postgres)
description:
  - Reads protected keys, exact to the byte, from files, directories, C(.env) files, and the environment of processes and
    containers. Seals each for O(encryption.key_recipients) only, and writes it into every key repository, its manifest last.
  - A key is shipped only when a vault lacks it, holds another one, holds it for other recipients, or holds it damaged. What the host
    remembers is a fingerprint, never the key. Earlier keys stay in the vault, since earlier backups need them.
  - Refuses a key repository that shares an account, a bucket, a directory or a credential with a data repository, whatever it is called.
  - Refuses a key that is empty, all zero, too short, a known default, or a passphrase of the backups. The others are shipped all the
    same, and the module fails and names the one.
  - Leaves the fingerprints to the backups that follow, which write them into their manifests, so that a drill knows which keys a
    backup needs, and finds out whether the vault has them.
  - Runs on the host that has the keys, as a user who may read them. No key is ever in an argument, an environment, a log, a result or
    a file.
extends_documentation_fragment:
  - lifeboat.postgres.attributes
  - lifeboat.postgres.encryption
attributes:
  check_mode:
    support: full
    details:
      - Reads the keys and looks into the vaults. Before the first run there is no salt yet, so fingerprints are empty then.
  diff_mode:
    support: full
    details:
      - Shows names and fingerprints.
  idempotent:
    support: full
    details:
      - A second run ships nothing.
options:
  system:
    description:
      - The system that the keys belong to.
    type: str
    required: true
  keys:
    description:
      - The protected keys. Each comes from exactly one of C(path), C(env_file), C(process) and C(exec).
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: What the key is called in the vault, in manifests and in checks.
        type: str
        required: true
      path:
        description:
          - A file. Or a directory, or a pattern like C(/etc/shop/tls/*.pem), whose files are shipped together. Links are followed.
        type: path
      variable:
        description: The variable that holds the key, with C(env_file), C(process) or C(exec).
        type: str
      env_file:
        description: A C(.env) file of which one variable is the key. To ship such a file whole, give it as C(path).
        type: path
      syntax:
        description:
          - How the application reads C(env_file). V(compose), the default, is as Docker Compose does, with quotes, escapes and comments.
            V(literal) takes everything after the first C(=) to the end of the line.
        type: str
        choices: [compose, literal]
      process:
        description: A running process, from whose environment the variable is taken. Exactly one of its keys.
        type: dict
        suboptions:
          pid:
            description: Its number.
            type: int
          pid_file:
            description: The file that holds its number.
            type: path
          unit:
            description: The systemd unit whose main process it is.
            type: str
      exec:
        description: A container, or a service of Compose, from whose environment the variable is taken.
        type: dict
        suboptions:
          type:
            description: How it is reached.
            type: str
            required: true
            choices: [docker, podman, compose]
          container:
            description: Name of the container, for V(docker) and V(podman).
            type: str
          service:
            description: Name of the service, for V(compose).
            type: str
          project_directory:
            description: Directory of the Compose project.
            type: path
          files:
            description: Compose files other than the usual ones.
            type: list
            elements: path
          project:
            description: Name of the Compose project.
            type: str
          user:
            description: User inside.
            type: str
      encoding:
        description: How the key is written, so that its strength can be judged. Without it hexadecimal and base64 are recognised.
        type: str
        choices: [raw, hex, base64]
      min_bytes:
        description: The least bytes, after decoding with C(encoding). 16 when not given.
        type: int
  key_repositories:
    description:
      - Where the keys go, apart from all data. As O(lifeboat.postgres.pg_logical_backup#module:repositories), with credentials of
        their own.
    type: dict
    required: true
  repositories:
    description:
      - Where the data rest, as in O(lifeboat.postgres.pg_logical_backup#module:repositories). Nothing is read or written there; the key
        repositories are compared with them.
    type: dict
    required: true
  passphrase_files:
    description:
      - Files with further passphrases of backups, beside O(encryption.passphrase_file). A key that is equal to one of them is refused.
    type: list
    elements: path
    default: []
  state_dir:
    description:
      - Where the host keeps the salt of fingerprints (secret) and the fingerprints, below a directory of the system's name. The default
        is C(/var/lib/lifeboat/keys) for root, else a directory of the user's own.
    type: path
  signing_key:
    description:
      - An OpenSSH private key file (Ed25519, without passphrase) that signs the manifests. Without it they are unsigned, which the
        result says.
    type: path
  application_version:
    description:
      - What uses the keys now, as an image's tag or a revision. Recorded with them.
    type: str
  stall_timeout:
    description:
      - A vault that makes no progress for this long is left out, and the run fails in the end.
    type: str
    default: 2m
  lock_dir:
    description:
      - Directory of the lock files. The default is C(/run/lifeboat) for root, and a directory of the user's own otherwise.
    type: path
requirements:
  - boto3 for repositories of type s3
  - C(zstd) and C(age), or the Python libraries zstandard and pyrage
  - cryptography to sign manifests
seealso:
  - module: lifeboat.postgres.restore_drill
  - module: lifeboat.postgres.pg_logical_backup
"""

EXAMPLES = r"""
- name: Ship the shop's keys to the vault, whenever they change
  lifeboat.postgres.key_escrow:
    system: shop
    keys:
      - name: master-key
        path: /data/master.key
      - name: env
        path: /opt/shop/.env
      - name: tls
        path: /etc/shop/tls/*.pem
      - name: app-key
        variable: APP_KEY
        exec:
          type: compose
          service: api
          project_directory: /opt/shop
    key_repositories:
      vault:
        type: s3
        endpoint: https://vault.example.org
        bucket: shop-keys
        credentials_file: /etc/lifeboat/shop/vault-write.credentials
    repositories: "{{ lifeboat_repositories }}"
    encryption: "{{ lifeboat_encryption }}"
    signing_key: /etc/lifeboat/shop/signing_key
  become: true
"""

RETURN = r"""
fingerprints:
  description: The fingerprint of every key that was read, by name. It tells whether two keys are the same, and nothing of the key.
  returned: always, also on failure
  type: dict
  sample: {master-key: "lk1:0f3c8a52d7b94e16a8c0f5d2e7914b36"}
escrowed:
  description: What became of each key, by name.
  returned: always, also on failure
  type: dict
  contains:
    fingerprint:
      description: Its fingerprint.
      type: str
    backup_id:
      description: The backup in the vault, taken now or earlier; empty when there is none.
      type: str
    changed:
      description: Whether it was shipped, or would be.
      type: bool
    because:
      description: For each vault that had to get it, why.
      type: dict
    problems:
      description: For each vault that did not get it, why.
      type: dict
    files:
      description: How many files it is.
      type: int
  sample:
    master-key:
      fingerprint: "lk1:0f3c8a52d7b94e16a8c0f5d2e7914b36"
      backup_id: 20261121T031500Z-1a2b3c4d
      changed: true
      because: {vault: the key changed}
      problems: {}
      files: 1
refused:
  description: Keys that were not shipped, by name, and why. With one of them the module fails.
  returned: always, also on failure
  type: dict
  sample: {}
"""

from ansible_collections.lifeboat.postgres.plugins.module_utils._ansible import run_module
from ansible_collections.lifeboat.postgres.plugins.module_utils._argspec import ENCRYPTION_SPEC
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.run import run

KEY_SPEC = {
    "name": {"type": "str", "required": True},
    "path": {"type": "path"},
    "variable": {"type": "str"},
    "env_file": {"type": "path"},
    "syntax": {"type": "str", "choices": ["compose", "literal"]},
    "process": {"type": "dict", "options": {"pid": {"type": "int"}, "pid_file": {"type": "path"}, "unit": {"type": "str"}}},
    "exec": {
        "type": "dict",
        "options": {
            "type": {"type": "str", "required": True, "choices": ["docker", "podman", "compose"]},
            "container": {"type": "str"},
            "service": {"type": "str"},
            "project_directory": {"type": "path"},
            "files": {"type": "list", "elements": "path"},
            "project": {"type": "str"},
            "user": {"type": "str"},
        },
    },
    "encoding": {"type": "str", "choices": ["raw", "hex", "base64"]},
    "min_bytes": {"type": "int"},
}


def main() -> None:
    run_module(
        {
            **ENCRYPTION_SPEC,
            "system": {"type": "str", "required": True},
            "keys": {"type": "list", "elements": "dict", "required": True, "no_log": False, "options": KEY_SPEC},
            "key_repositories": {"type": "dict", "required": True, "no_log": False},
            "repositories": {"type": "dict", "required": True},
            "passphrase_files": {"type": "list", "elements": "path", "default": [], "no_log": False},
            "state_dir": {"type": "path"},
            "signing_key": {"type": "path"},
            "application_version": {"type": "str"},
            "stall_timeout": {"type": "str", "default": "2m"},
            "lock_dir": {"type": "path"},
        },
        run,
    )


if __name__ == "__main__":
    main()

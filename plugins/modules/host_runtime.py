#!/usr/bin/python
# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: host_runtime
short_description: Install the command lifeboat on a host, so that its jobs run without the control node
version_added: 0.1.0
author:
  - The lifeboat.postgres contributors (@lifeboat-postgres)
description:
  - Brings the library of this collection to a host, at its own import path below O(path), and writes the command C(lifeboat).
    Nothing of Ansible is needed there afterwards.
  - The files travel only where the host has another release than the control node. A release is unpacked beside the old one, compiled,
    and then one link is turned; the release before stays for what still runs from it, older ones are removed.
  - Installs no packages. RV(missing_packages) names those that bring what is not there.
extends_documentation_fragment:
  - lifeboat.postgres.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  path:
    description:
      - Where the runtime lives.
    type: path
    default: /opt/lifeboat
  python:
    description:
      - The Python that runs the jobs, 3.9 or newer, with the libraries that they need.
    type: path
    default: /usr/bin/python3
  libraries:
    description:
      - Python libraries to look for, by the names that they are imported by.
    type: list
    elements: str
    default: []
  programs:
    description:
      - Programs to look for.
    type: list
    elements: str
    default: []
  client_version:
    description:
      - Major version of PostgreSQL whose client programs to look for; V(0) for none.
    type: int
    default: 0
  owner:
    description:
      - Who owns the files.
    type: str
    default: root
  group:
    description:
      - Their group.
    type: str
    default: root
  digest:
    description:
      - The digest of the library, found by the control node. Not given by hand.
    type: str
    required: true
  archive:
    description:
      - The library's files, brought by the control node. Not given by hand.
    type: path
seealso:
  - module: lifeboat.postgres.host_jobs
"""

EXAMPLES = r"""
- name: Install the command lifeboat
  lifeboat.postgres.host_runtime:
    libraries: [psycopg, boto3]
    programs: [age, zstd]
  become: true
  register: runtime

- name: Install what it lacks
  ansible.builtin.package:
    name: "{{ runtime.missing_packages }}"
  become: true
  when: runtime.missing_packages | length > 0
"""

RETURN = r"""
version:
  description: The collection's version, which the host has now.
  returned: success
  type: str
  sample: 0.1.0
release:
  description: The version with the beginning of the library's digest.
  returned: success
  type: str
  sample: 0.1.0-9f86d081884c
previous:
  description: The release that was there before, or an empty text.
  returned: success
  type: str
  sample: 0.1.0-60303ae22b99
program:
  description: The command.
  returned: success
  type: str
  sample: /opt/lifeboat/bin/lifeboat
missing_packages:
  description: Packages of the distribution that bring the libraries and programs that are not there.
  returned: success
  type: list
  elements: str
  sample: [age, python3-psycopg]
removed:
  description: Older releases that were removed.
  returned: when a release was installed
  type: list
  elements: str
  sample: []
"""

from ansible_collections.lifeboat.postgres.plugins.module_utils._ansible import run_module
from ansible_collections.lifeboat.postgres.plugins.module_utils.host.runtime import run


def main() -> None:
    run_module(
        {
            "path": {"type": "path", "default": "/opt/lifeboat"},
            "python": {"type": "path", "default": "/usr/bin/python3"},
            "libraries": {"type": "list", "elements": "str", "default": []},
            "programs": {"type": "list", "elements": "str", "default": []},
            "client_version": {"type": "int", "default": 0},
            "owner": {"type": "str", "default": "root"},
            "group": {"type": "str", "default": "root"},
            "digest": {"type": "str", "required": True},
            "archive": {"type": "path"},
        },
        run,
    )


if __name__ == "__main__":
    main()

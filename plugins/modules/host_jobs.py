#!/usr/bin/python
# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: host_jobs
short_description: Write a host's job files and secrets, and let cron or systemd start the jobs
version_added: 0.1.0
author:
  - The lifeboat.postgres contributors (@lifeboat-postgres)
description:
  - Writes a job file for each of the O(jobs), which C(lifeboat run) runs without the control node, secrets of mode 0600 beside them,
    and what starts them, a file in C(/etc/cron.d) or a timer and a service of systemd for each.
  - Makes the directories that jobs work in, also after a restart of the host.
  - The jobs of one O(part_of) are looked after together. One that is no longer among O(jobs) loses its file and its schedule; those of
    other sets are left alone.
  - Every schedule and every name is looked at before anything is written.
extends_documentation_fragment:
  - lifeboat.postgres.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - Shows every file before and after. Of a secret it shows only that it differs.
  idempotent:
    support: full
options:
  system:
    description:
      - The system that the jobs belong to.
    type: str
    required: true
  part_of:
    description:
      - The set that these jobs are, for example the name of the role. Lower-case letters, digits, C(-) and C(_).
    type: str
    required: true
  user:
    description:
      - The system user who runs the jobs. Secrets belong to this user.
    type: str
    default: postgres
  objective:
    description:
      - What was promised, as one word or as a mapping; see the page on objectives. It gives jobs with the schedule V(objective) theirs.
    type: raw
  scheduler:
    description:
      - What starts the jobs. V(cron) goes by the host's own clock, V(systemd) by UTC. With V(none) only files are written.
    type: str
    choices: [cron, systemd, none]
    default: cron
  jobs:
    description:
      - The jobs of the set, all of them.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description:
          - Name of the job, and of its file.
        type: str
        required: true
      kind:
        description:
          - What it does.
        type: str
        required: true
        choices: [logical, base, copy, prune, keys, verify, drill, reap, heartbeat, catch-up, freshness]
      options:
        description:
          - Its options, those of the module or command of the same purpose. Paths of secrets are among them, never a secret.
        type: dict
        default: {}
      schedule:
        description:
          - When it is due, as V(daily), V(weekly on sunday at 02:30), V(monthly), V(hourly), V(every 15m), or five fields of a crontab.
            V(never) for a job that only a person starts; V(objective) for as often as O(objective) asks.
          - What names no time gets one from a digest of the system, the host and the job, so that hosts do not all come at once.
        type: str
        default: never
      timeout:
        description:
          - A job that takes longer is stopped, and has failed.
        type: str
        default: 24h
      on_failure:
        description:
          - Who is told when it fails.
        type: dict
        suboptions:
          command:
            description:
              - A program, with its whole path, and its arguments. It gets the report as JSON on its standard input.
            type: list
            elements: str
          mail_to:
            description:
              - Addresses that C(sendmail) sends a mail to.
            type: list
            elements: str
          mail_from:
            description:
              - The mail's sender.
            type: str
          webhook_url_file:
            description:
              - A file of mode 0600 with the URL that the report is posted to.
            type: path
          after:
            description:
              - Only from so many failures in a row on.
            type: int
      dead_man_url_file:
        description:
          - A file of mode 0600 with the URL that waits for a sign of life.
        type: path
  secrets:
    description:
      - Files of mode 0600, of O(user), beside the job files, as a mapping of names to what they hold. Keep that in a vault.
    type: dict
    default: {}
  secret_users:
    description:
      - Whose a secret is instead, as a mapping of names among O(secrets) to system users. What only root's job needs is not for postgres.
    type: dict
    default: {}
  wal:
    description:
      - Options of the WAL archive's job file, C(wal.json), as on the page about the WAL archive. With them the scripts C(wal-push) and
        C(wal-fetch) are written too.
    type: dict
  launcher_dir:
    description:
      - Where those scripts are written; C(bin) below the runtime when not given. Give the second system of a host a directory of its own.
    type: path
  directories:
    description:
      - Where things lie, where that is not the usual place.
    type: dict
    suboptions:
      runtime:
        description:
          - The runtime; C(/opt/lifeboat).
        type: path
      config:
        description:
          - Job files and secrets, in a folder per system; C(/etc/lifeboat).
        type: path
      state:
        description:
          - What jobs remember, in a folder per user; C(/var/lib/lifeboat).
        type: path
      log:
        description:
          - What jobs say, in a folder per user; C(/var/log/lifeboat).
        type: path
      run:
        description:
          - Locks, in a folder per user; C(/run/lifeboat).
        type: path
      cron:
        description:
          - Files of cron; C(/etc/cron.d).
        type: path
      units:
        description:
          - Units of systemd; C(/etc/systemd/system).
        type: path
      tmpfiles:
        description:
          - What makes directories below C(/run) when the host starts; C(/etc/tmpfiles.d).
        type: path
  python:
    description:
      - The Python that C(wal-push) and C(wal-fetch) start; that of the runtime when not given.
    type: path
  owner:
    description:
      - Who owns what is not the user's own.
    type: str
    default: root
seealso:
  - module: lifeboat.postgres.host_runtime
"""

EXAMPLES = r"""
- name: Back the shop up every night, and look at the newest backups every week
  lifeboat.postgres.host_jobs:
    system: shop
    part_of: backup
    jobs:
      - name: databases
        kind: logical
        schedule: daily
        timeout: 6h
        options:
          system: shop
          databases: [shop, licences]
          repositories:
            offsite: {type: s3, bucket: shop-backups, credentials_file: /etc/lifeboat/shop/offsite.credentials}
          encryption:
            recipients:
              - age1lvyvwawkr0mcnnnncaghunadrqkmuf9e6507x9y920xxpp866cnql7dp2z
              - age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa
        on_failure:
          mail_to: [ops@example.net]
    secrets:
      offsite.credentials: "{{ vault_offsite_credentials }}"
  become: true

- name: Remove the jobs of this set, and their schedule
  lifeboat.postgres.host_jobs:
    system: shop
    part_of: backup
    jobs: []
  become: true
"""

RETURN = r"""
jobs:
  description: The jobs as they are set up.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Its name.
      type: str
    kind:
      description: What it does.
      type: str
    file:
      description: Its job file.
      type: str
    schedule:
      description: The five fields of a crontab that say when it is due, or an empty text.
      type: str
    zone:
      description: Whose clock those are of, C(UTC) or C(local).
      type: str
    user:
      description: Who runs it.
      type: str
  sample:
    - {name: databases, kind: logical, file: /etc/lifeboat/shop/databases.json, schedule: "17 3 * * *", zone: UTC, user: postgres}
removed:
  description: Jobs that were removed, with their schedule.
  returned: success
  type: list
  elements: str
  sample: [shop/copies]
"""

from ansible_collections.lifeboat.postgres.plugins.module_utils._ansible import run_module
from ansible_collections.lifeboat.postgres.plugins.module_utils.host.job_files import DIRECTORIES
from ansible_collections.lifeboat.postgres.plugins.module_utils.host.jobs import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.jobs.kinds import KINDS


def main() -> None:
    run_module(
        {
            "system": {"type": "str", "required": True},
            "part_of": {"type": "str", "required": True},
            "user": {"type": "str", "default": "postgres"},
            "objective": {"type": "raw"},
            "scheduler": {"type": "str", "choices": ["cron", "systemd", "none"], "default": "cron"},
            "jobs": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "kind": {"type": "str", "required": True, "choices": list(KINDS)},
                    "options": {"type": "dict", "default": {}},
                    "schedule": {"type": "str", "default": "never"},
                    "timeout": {"type": "str", "default": "24h"},
                    "on_failure": {
                        "type": "dict",
                        "options": {
                            "command": {"type": "list", "elements": "str"},
                            "mail_to": {"type": "list", "elements": "str"},
                            "mail_from": {"type": "str"},
                            "webhook_url_file": {"type": "path"},
                            "after": {"type": "int"},
                        },
                    },
                    "dead_man_url_file": {"type": "path"},
                },
            },
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "secret_users": {"type": "dict", "default": {}, "no_log": False},
            "wal": {"type": "dict"},
            "launcher_dir": {"type": "path"},
            "directories": {"type": "dict", "options": {name: {"type": "path"} for name in DIRECTORIES}},
            "python": {"type": "path"},
            "owner": {"type": "str", "default": "root"},
        },
        run,
    )


if __name__ == "__main__":
    main()

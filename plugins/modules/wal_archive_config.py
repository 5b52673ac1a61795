#!/usr/bin/python
# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: wal_archive_config
short_description: Set up WAL archiving of a PostgreSQL server, and prove that it works
version_added: 0.1.0
author:
  - The lifeboat.postgres contributors (@lifeboat-postgres)
description:
  - Sets C(archive_mode), C(archive_command) or C(archive_library), C(wal_level), and on request C(archive_timeout),
    C(restore_command), C(max_wal_senders) and C(summarize_wal).
  - What is good enough already is left as the operator wrote it, wherever that is. C(wal_level), C(max_wal_senders) and
    C(max_replication_slots) are never lowered. A line that would win over what is written is named with its file, and nothing is changed.
  - After writing, the server is asked what it makes of its files. When it cannot take them, they are put back, and it is not reloaded.
  - It is never restarted unless O(restart) says so. Settings that wait for that are in RV(restart_required).
  - An C(archive_command) that loses WAL (C(cp) and its like, C(|| true), anything that can overwrite) is refused with the reason.
  - Run it on the database host, as root or as the user that the server runs as. The login has to be a superuser.
extends_documentation_fragment:
  - lifeboat.postgres.attributes
  - lifeboat.postgres.login
attributes:
  check_mode:
    support: full
    details:
      - Looks at everything that a run looks at, and says what it would change. Nothing is verified.
  diff_mode:
    support: full
    details:
      - Every setting that is looked after, before and after, as PostgreSQL writes it.
  idempotent:
    support: full
    details:
      - O(verify) closes a segment in each run, which changes no configuration and is not counted as a change.
options:
  method:
    description:
      - How WAL leaves the server. Without it only the settings that are given are set.
      - V(native) runs C(lifeboat wal push) through its launcher, into every repository of its job file.
      - V(directory) copies into O(directory), under a temporary name, synced, never over a file that is there. It needs only a shell.
      - V(receive) makes the slots that C(lifeboat wal receive) reads from outside; nothing is archived by the server itself.
      - V(spool) copies like V(directory) into a mounted volume, which C(lifeboat wal ship) empties from outside. What lies only
        there is not archived.
      - V(rclone) copies to O(remote), and refuses another content of the same name.
      - V(pgbackrest), V(wal-g) and V(barman) run these tools, which have to be set up.
      - V(command) runs O(command).
    type: str
    choices: [native, directory, receive, spool, rclone, pgbackrest, wal-g, barman, command]
  launcher:
    description:
      - For V(native), the script that starts our push; C(wal-fetch) lies beside it. It has to exist, and the server's user has to
        be able to run it.
    type: path
    default: /opt/lifeboat/bin/wal-push
  directory:
    description:
      - For V(directory) and V(spool), the directory as the server sees it.
      - A directory gets a file that says which cluster's archive it is. Without it nothing is archived, so that a volume that is not
        mounted is noticed.
    type: path
  slots:
    description:
      - For V(receive), the replication slots, as C(lifeboat wal receive) uses them. Those that are missing are made, and keep WAL
        from then on.
    type: list
    elements: str
    default: [lifeboat_receive, lifeboat_archived]
  remote:
    description:
      - For V(rclone), the remote and the path in it, as V(offsite:shop/wal).
    type: str
  stanza:
    description:
      - For V(pgbackrest), the stanza.
    type: str
  barman_server:
    description:
      - For V(barman), the name of the server there.
    type: str
  barman_host:
    description:
      - For V(barman), the host that Barman runs on, reached by C(barman-wal-archive). Excludes O(barman_url).
    type: str
  barman_url:
    description:
      - For V(barman), the bucket of C(barman-cloud-wal-archive).
    type: str
  barman_endpoint:
    description:
      - With O(barman_url), where an S3 store other than Amazon's answers, for example V(https://s3.example.net).
    type: str
  command:
    description:
      - For V(command), the C(archive_command).
    type: str
  program:
    description:
      - The tool's program, where it is not in the server's PATH.
    type: str
  config_file:
    description:
      - The tool's configuration file.
    type: path
  archive_mode:
    description:
      - V(on) when a method archives and nothing is given; V(always) that is there already is kept then.
    type: str
    choices: ['on', always, 'off']
  archive_library:
    description:
      - A library that archives, in place of O(method) (PostgreSQL 15 and newer). It has to exist; its own settings are left alone.
    type: str
  archive_timeout:
    description:
      - After how long a segment is closed that is not full, for example V(1min). It bounds what a quiet server can lose.
    type: str
  restore_command:
    description:
      - What a recovery or a standby fetches WAL with; V(auto) takes the one that fits O(method).
    type: str
  wal_level:
    description:
      - The least that is wanted; V(replica) when WAL is archived. V(logical) that is there already stays.
    type: str
    choices: [replica, logical]
  max_wal_senders:
    description:
      - The least that is wanted. For V(receive), V(10) when there are fewer than two.
    type: int
  summarize_wal:
    description:
      - Keep summaries of WAL, which incremental base backups need (PostgreSQL 17 and newer).
    type: bool
  place:
    description:
      - Where settings are written. V(system) is C(ALTER SYSTEM).
      - V(file) is a file that the server reads, O(path). Other lines in it stay as they are.
      - V(flags) changes nothing and returns what belongs on the server's command line, as in the C(command) of a Compose file.
    type: str
    choices: [system, file, flags]
    default: system
  path:
    description:
      - For V(file), the file on this host. Without it C(lifeboat.conf) in the directory that C(include_dir) names.
    type: path
  server_path:
    description:
      - The same file as the server sees it, where that differs, as in a container.
    type: path
  reload:
    description:
      - Let the server read its files when something in them is new. Otherwise RV(reload_required) says what waits.
    type: bool
    default: true
  restart:
    description:
      - Restart the server when a setting waits for it.
    type: bool
    default: false
  restart_command:
    description:
      - How to restart it, for example V([systemctl, restart, postgresql@15-main]). Without it C(pg_ctl restart) is used, and only
        for a server on this host that neither a service nor a container was started for.
    type: list
    elements: str
  restart_timeout:
    description:
      - How long a restart may take.
    type: str
    default: 2m
  verify:
    description:
      - Write a restore point, close the segment that holds it, and wait until this very segment is found in its place with the right
        digest.
      - Where the place cannot be read, O(verify_command) is asked, or else C(pg_stat_archiver) is believed, which RV(verification) says.
    type: bool
    default: false
  verify_timeout:
    description:
      - How long the segment may take.
    type: str
    default: 1m
  verify_command:
    description:
      - A program and its arguments, in which C(%f) is the segment; it ends with 0 when the segment is there. Run on this host.
    type: list
    elements: str
  job_file:
    description:
      - The job file that holds the system and the repositories which O(verify) looks into, for V(native), V(receive) and V(spool).
    type: path
    default: /etc/lifeboat/wal.json
  system:
    description:
      - The system whose WAL archive O(verify) looks into, in place of the job file's.
    type: str
  repositories:
    description:
      - The repositories that O(verify) looks into, in place of the job file's. Optional ones are left out.
    type: dict
requirements:
  - psycopg >= 3.1
  - boto3 to verify in repositories of type s3
seealso:
  - module: lifeboat.postgres.restore_drill
  - module: lifeboat.postgres.pg_logical_backup
"""

EXAMPLES = r"""
- name: Archive into the repositories of the job file, and prove it
  lifeboat.postgres.wal_archive_config:
    method: native
    archive_timeout: 1min
    restart: true
    restart_command: [systemctl, restart, postgresql@15-main]
    verify: true
    login_unix_socket: /var/run/postgresql
  become: true
  become_user: postgres

- name: Keep pgBackRest, in a file of its own
  lifeboat.postgres.wal_archive_config:
    method: pgbackrest
    stanza: shop
    place: file
    path: /etc/postgresql/15/main/conf.d/lifeboat.conf
    restore_command: auto
  register: archiving
  notify: Restart PostgreSQL

- name: A server in Compose whose conf.d is mounted, and whose spool is emptied from outside
  lifeboat.postgres.wal_archive_config:
    login_host: 127.0.0.1
    login_password: "{{ postgres_password }}"
    method: spool
    directory: /spool
    place: file
    path: /opt/shop/postgres/conf.d/lifeboat.conf
    server_path: /etc/postgresql/conf.d/lifeboat.conf
    restart: true
    restart_command: [docker, compose, --project-directory, /opt/shop, restart, postgres]

- name: Say what belongs into the command of a Compose file
  lifeboat.postgres.wal_archive_config:
    login_host: 127.0.0.1
    login_password: "{{ postgres_password }}"
    method: receive
    place: flags
"""

RETURN = r"""
settings:
  description: Every setting that is looked after, by name.
  returned: success
  type: dict
  contains:
    before:
      description: What held before, by the files or the command line.
      type: str
    after:
      description: What holds in the end.
      type: str
    running:
      description: What the server runs with now.
      type: str
    where:
      description: Where it stands, with the line.
      type: str
    applies_by:
      description: C(reload) or C(restart).
      type: str
  sample:
    archive_mode: {before: "off", after: "on", running: "off", where: ALTER SYSTEM, applies_by: restart}
restart_required:
  description: Settings whose value waits for a restart.
  returned: success
  type: list
  elements: str
  sample: [archive_mode]
reload_required:
  description: Settings whose value waits for a reload, with O(reload=false).
  returned: success
  type: list
  elements: str
  sample: []
reloaded:
  description: Whether the server was told to read its files.
  returned: success
  type: bool
  sample: true
restarted:
  description: Whether it was restarted.
  returned: success
  type: bool
  sample: false
file:
  description: The file that was written.
  returned: when a file was written
  type: str
  sample: /etc/postgresql/15/main/conf.d/lifeboat.conf
flags:
  description: What belongs on the server's command line, word by word.
  returned: with O(place=flags)
  type: list
  elements: str
  sample: ["-c", "wal_level=replica", "-c", "archive_mode=on"]
compose_command:
  description: The same as a line of a Compose file, which an image's entry point takes.
  returned: with O(place=flags)
  type: str
  sample: 'command: ["postgres", "-c", "wal_level=replica"]'
slots:
  description: The replication slots.
  returned: with O(method=receive)
  type: dict
  contains:
    names:
      description: Their names.
      type: list
      elements: str
    made:
      description: Those that were made now.
      type: list
      elements: str
    active:
      description: Whether somebody received when they were looked at.
      type: bool
    retained_bytes:
      description: The most that the server keeps for one of them.
      type: int
  sample: {names: [lifeboat_receive, lifeboat_archived], made: [], active: true, retained_bytes: 16384}
verification:
  description: What was proven. On failure also C(problem), C(archiver), C(oldest_ready) and C(log).
  returned: with O(verify=true)
  type: dict
  contains:
    segment:
      description: The segment that holds the restore point.
      type: str
    restore_point:
      description: The name of the restore point.
      type: str
    lsn:
      description: Its position.
      type: str
    digest:
      description: The digest of the segment, of the kind that RV(verification.by) says.
      type: str
    seconds:
      description: From the restore point until it was found everywhere.
      type: float
    by:
      description: How it was recognised, C(sha256), C(sha1), C(verify_command), or only by C(pg_stat_archiver).
      type: str
    places:
      description: Where it was found.
      type: list
      elements: str
  sample:
    segment: "0000000100000000000000A1"
    restore_point: lifeboat verify 1f2e3d4c
    lsn: 0/A1000110
    digest: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    seconds: 0.4
    by: sha256
    places: [here, offsite]
"""

from ansible_collections.lifeboat.postgres.plugins.module_utils._ansible import run_module
from ansible_collections.lifeboat.postgres.plugins.module_utils._argspec import LOGIN_SPEC
from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.run import run


def main() -> None:
    run_module(
        {
            **LOGIN_SPEC,
            "method": {
                "type": "str",
                "choices": ["native", "directory", "receive", "spool", "rclone", "pgbackrest", "wal-g", "barman", "command"],
            },
            "launcher": {"type": "path", "default": "/opt/lifeboat/bin/wal-push"},
            "directory": {"type": "path"},
            "slots": {"type": "list", "elements": "str", "default": ["lifeboat_receive", "lifeboat_archived"]},
            "remote": {"type": "str"},
            "stanza": {"type": "str"},
            "barman_server": {"type": "str"},
            "barman_host": {"type": "str"},
            "barman_url": {"type": "str"},
            "barman_endpoint": {"type": "str"},
            "command": {"type": "str"},
            "program": {"type": "str"},
            "config_file": {"type": "path"},
            "archive_mode": {"type": "str", "choices": ["on", "always", "off"]},
            "archive_library": {"type": "str"},
            "archive_timeout": {"type": "str"},
            "restore_command": {"type": "str"},
            "wal_level": {"type": "str", "choices": ["replica", "logical"]},
            "max_wal_senders": {"type": "int"},
            "summarize_wal": {"type": "bool"},
            "place": {"type": "str", "default": "system", "choices": ["system", "file", "flags"]},
            "path": {"type": "path"},
            "server_path": {"type": "path"},
            "reload": {"type": "bool", "default": True},
            "restart": {"type": "bool", "default": False},
            "restart_command": {"type": "list", "elements": "str"},
            "restart_timeout": {"type": "str", "default": "2m"},
            "verify": {"type": "bool", "default": False},
            "verify_timeout": {"type": "str", "default": "1m"},
            "verify_command": {"type": "list", "elements": "str"},
            "job_file": {"type": "path", "default": "/etc/lifeboat/wal.json"},
            "system": {"type": "str"},
            "repositories": {"type": "dict"},
        },
        run,
    )


if __name__ == "__main__":
    main()

#!/usr/bin/python
# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: wal_archive_info
short_description: Say how far the WAL archive of a system reaches, and what is missing
version_added: 0.1.0
author:
  - The lifeboat.postgres contributors (@lifeboat-postgres)
description:
  - Reads the listing of each repository's WAL archive once, and the manifests of its base backups. No segment is opened, and
    nothing is written.
  - Says from when to when one can recover, which segments are missing between the base backups and now, which timelines there
    are, how much it takes, and what lies there that should not.
  - With a login it also asks the server, and says how far each archive is behind it, in segments and in seconds, and whether
    everything that the server was told is archived can be found.
extends_documentation_fragment:
  - lifeboat.postgres.attributes
  - lifeboat.postgres.login
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
      - The system whose WAL archive to look at.
    type: str
    required: true
  login_user:
    description:
      - The role to log in as. Any role will do; one with C(pg_monitor) also sees which files wait to be archived.
    type: str
    default: postgres
  login_db:
    description:
      - The database, by default V(postgres). The server is asked when this, O(login_url), O(login_url_file), O(login_host) or
        O(login_unix_socket) is given.
    type: str
  verify_keys:
    description:
      - Public keys of type C(ssh-ed25519), each a line as in a C(.pub) file. With them, a base backup counts only when one of
        them signed its manifest.
    type: list
    elements: str
    default: []
  identity_file:
    description:
      - The identity that opens what is archived. Only the histories of timelines are opened with it. Without it, where a
        timeline began is told from the names of its segments.
    type: path
  passphrase_file:
    description:
      - The same for an archive that is sealed with a passphrase.
    type: path
  cache_dir:
    description:
      - Directory in which manifests that were read are kept. An empty text keeps nothing. The default is
        C(/var/cache/lifeboat) for root, else C(lifeboat) in the user's cache directory.
    type: str
requirements:
  - boto3 for repositories of type s3
  - psycopg 3.1 or newer to ask the server
  - cryptography for O(verify_keys)
seealso:
  - module: lifeboat.postgres.backup_info
  - module: lifeboat.postgres.restore_drill
"""

EXAMPLES = r"""
- name: Look at the WAL archive of the shop beside its server
  lifeboat.postgres.wal_archive_info:
    system: shop
    repositories: "{{ lifeboat_repositories }}"
    login_unix_socket: /var/run/postgresql
  become: true
  become_user: postgres
  register: wal

- name: Fail when something is missing, or when more than ten minutes would be lost
  ansible.builtin.assert:
    that:
      - wal.good
      - wal.archives.offsite.lag.seconds is not none
      - wal.archives.offsite.lag.seconds < 600

- name: Look at the archive alone, from a host that cannot reach the server
  lifeboat.postgres.wal_archive_info:
    system: shop
    repositories:
      offsite:
        type: s3
        endpoint: https://s3.example.net
        bucket: shop-backups
        credentials_file: /etc/lifeboat/shop/offsite-read.credentials
  register: wal

- name: Show from when to when the shop can be recovered
  ansible.builtin.debug:
    msg: "{{ wal.archives.offsite.window['from'] }} to {{ wal.archives.offsite.window.until_at_most }}"
  when: wal.archives.offsite.window
"""

RETURN = r"""
archives:
  description: What each repository holds, by its name. Repositories that are filled by copies hold no WAL and are left out.
  returned: success
  type: dict
  contains:
    cluster:
      description: Whose archive it is (C(system_identifier), C(server_version_num), C(segment_bytes)), or null when nobody said so.
      type: dict
    files:
      description: Number of WAL files, of all kinds.
      type: int
    segments:
      description: Number of whole segments.
      type: int
    size_bytes:
      description: What they take.
      type: int
    newest:
      description: The segment that was stored last, with C(name), C(stored_at) and C(age_seconds), or null.
      type: dict
    lag:
      description: How far the archive is behind the server; null without a login.
      type: dict
      contains:
        segments:
          description: Segments that the server has finished and the archive does not hold yet.
          type: int
        seconds:
          description: For how long changes have been made that are not in the archive, what the loss of the server would cost.
          type: float
        seconds_are:
          description: V(exact), or V(at least) where the server does not tell when it finished the last archived segment.
          type: str
        last_archived:
          description: The newest segment of the server's timeline in the archive.
          type: str
    timelines:
      description:
        - The timelines, each with C(timeline), C(parent), C(begins_at), C(known_from) (V(history) or V(names)), C(history)
          (whether its history file is there), C(segments), C(size_bytes), C(first), C(last), C(gaps) and C(partials).
      type: list
      elements: dict
    base_backups:
      description:
        - The base backups in the repository, oldest first, each with C(backup_id), C(moment), C(timeline), C(stop_lsn),
          C(restorable) (whether the WAL that belongs to it is there), C(reaches_timeline), C(reaches_lsn), C(gaps) up to now
          (at most 100, each with C(timeline), C(first), C(last), C(segments)), C(gap_count) and C(missing_segments).
      type: list
      elements: dict
    windows:
      description:
        - The spans that one can recover to, oldest first. One ends where a segment is missing.
      type: list
      elements: dict
      contains:
        from:
          description: The earliest moment, the end of the earliest base backup, in UTC.
          type: str
        from_lsn:
          description: The same as a position.
          type: str
        from_backup:
          description: That base backup.
          type: str
        until_lsn:
          description: The end of the last segment before the first one that is missing.
          type: str
        until_at_most:
          description: When that segment was stored. What was committed later is not in it.
          type: str
        timeline:
          description: The timeline of that segment.
          type: int
        last_segment:
          description: Its name.
          type: str
        base_backups:
          description: How many base backups lead there.
          type: int
        current:
          description: Whether it reaches the newest segment of its timeline.
          type: bool
    window:
      description: The one of RV(archives[].windows) that is current, or null.
      type: dict
    conflicts:
      description: Names under which two different contents lie, at most 100; RV(archives[].conflict_count) has the number.
      type: list
      elements: str
    conflict_count:
      description: How many there are.
      type: int
    foreign:
      description: Keys that are not of ours, at most 100; RV(archives[].foreign_count) has the number.
      type: list
      elements: str
    foreign_count:
      description: How many there are.
      type: int
    acknowledged_missing:
      description: Files that the server was told are archived, and that are not there; at most 100. Empty without a login.
      type: list
      elements: str
    problems:
      description: What is wrong, in sentences.
      type: list
      elements: str
    good:
      description: Whether nothing is.
      type: bool
  sample:
    offsite:
      cluster: {system_identifier: "7412345678901234567", server_version_num: 180000, segment_bytes: 16777216}
      files: 2881
      segments: 2879
      size_bytes: 5876543210
      newest: {name: 000000010000000B000000A1, stored_at: "2026-11-21T03:15:00.000000Z", age_seconds: 31.2}
      lag: {segments: 0, seconds: 33.9, seconds_are: exact, last_archived: 000000010000000B000000A1}
      timelines: []
      base_backups: []
      windows: []
      window:
        from: "2026-11-14T01:00:12.000000Z"
        from_lsn: 9/2A000120
        from_backup: 20261114T010000Z-1a2b3c4d
        until_lsn: B/A2000000
        until_at_most: "2026-11-21T03:15:00.000000Z"
        timeline: 1
        last_segment: 000000010000000B000000A1
        base_backups: 7
        current: true
      conflicts: []
      conflict_count: 0
      foreign: []
      foreign_count: 0
      acknowledged_missing: []
      problems: []
      good: true
server:
  description: What the server says of its log and its archiver; null without a login.
  returned: success
  type: dict
  contains:
    system_identifier:
      description: Which cluster it is; empty where the role may not know.
      type: str
    version_num:
      description: The server's version.
      type: int
    standby:
      description: Whether it is a standby.
      type: bool
    timeline:
      description: The timeline it writes, or follows.
      type: int
    lsn:
      description: How far its log is.
      type: str
    segment:
      description: The segment that is being written.
      type: str
    segment_bytes:
      description: The size of its segments.
      type: int
    archive_mode:
      description: The setting.
      type: str
    wal_level:
      description: The setting.
      type: str
    archive_timeout_seconds:
      description: The setting. 0 means that a segment is archived only once it is full.
      type: int
    archiver:
      description:
        - The view C(pg_stat_archiver). A command that ends above 125 or by a signal is not counted there, so look at
          RV(server.oldest_waiting).
      type: dict
    waiting:
      description: How many files are finished and not archived; null where the role may not look (C(pg_monitor) may).
      type: int
    oldest_waiting:
      description: The one that has waited longest, with C(name), C(since) and C(age_seconds), or null.
      type: dict
  sample:
    system_identifier: "7412345678901234567"
    timeline: 1
    lsn: B/A2145678
    segment: 000000010000000B000000A2
    waiting: 0
    oldest_waiting: null
good:
  description: Whether every repository could be listed and nothing is wrong in any of them.
  returned: success
  type: bool
  sample: true
unreachable_repositories:
  description: Repositories that could not be listed, by name, each with the reason.
  returned: success
  type: dict
  sample: {}
"""

from ansible_collections.lifeboat.postgres.plugins.module_utils._ansible import run_module
from ansible_collections.lifeboat.postgres.plugins.module_utils._argspec import LOGIN_SPEC, REPOSITORIES_SPEC
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.info import archive_info


def main() -> None:
    run_module(
        {
            **LOGIN_SPEC,
            **REPOSITORIES_SPEC,
            "system": {"type": "str", "required": True},
            "verify_keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "identity_file": {"type": "path"},
            "passphrase_file": {"type": "path", "no_log": False},
            "cache_dir": {"type": "str"},
        },
        lambda options, check_mode: archive_info(options),
    )


if __name__ == "__main__":
    main()

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  repositories:
    description:
      - Where backups live. Each key is the repository's name in results and reports, each value its options; an unknown one
        is refused with the nearest known one named.
      - "V(posix) is a directory: C(type: posix), and C(path), absolute. Every directory in it is made with mode 0700, every
        file with 0600."
      - "V(s3) is a bucket of S3 or of a store that speaks like it: C(type: s3), C(bucket), and where needed C(prefix),
        C(endpoint), C(region), C(path_style) (the default with an endpoint), C(ca_file), C(credentials_file) in the format of
        the AWS tools with C(profile), C(connect_timeout) (V(10s)), C(read_timeout) (V(60s)), C(part_size) (V(8MiB)),
        C(max_threads) (V(3)), C(object_lock) (V(none), V(governance) or V(compliance)) with C(object_lock_days)."
      - "V(sftp) is a directory behind SFTP: C(type: sftp), C(host), C(user), C(path) as the account sees it, C(identity_file), and
        the server's public key as C(host_key) or in C(known_hosts_file), without which no server is trusted; C(port) (V(22)),
        C(connect_timeout), C(read_timeout)."
      - "V(rclone) is a remote of rclone: C(type: rclone), C(remote) as in V(name:path), and C(config_file) with that remote and its
        credential; C(program), C(connect_timeout), C(read_timeout). Remotes that wrap others are looked through."
      - "Every type also takes C(copy_from), the name of the repository that copies come from, with C(cadence) (C(hourly),
        C(daily), C(weekly), C(monthly), C(yearly), C(every) with a duration as in C(every 10d), or C(every backup), the
        default), and C(retention), the numbers to keep by C(hourly), C(daily), C(weekly), C(monthly), C(yearly) and C(keep),
        with C(max_age), beyond which none stays; M(lifeboat.postgres.backup_prune) acts on it, nothing else does.
        A repository with C(copy_from) is not written by a backup but filled by M(lifeboat.postgres.backup_copy)."
      - "C(optional: true) is for the WAL archive: a file counts as archived without this repository, and is sent there afterwards.
        One repository at least is not optional."
      - Credentials are never options. They come from C(credentials_file), C(identity_file) or C(config_file), the environment, or the
        machine's own identity.
    type: dict
    required: true
"""

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What rclone, or the remote behind it, refused: one sentence each, with the next step. Pure.

Remotes speak for themselves through rclone, each in its own words; here are those that mean the same everywhere.
"""

from __future__ import annotations

import re

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import AccessDenied, ObjectMissing, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.rclone_options import RcloneOptions, split_remote

__all__ = ["fault", "plain", "root_missing"]

# Pattern in rclone's words: what it means, next step, class.
_WORDS: tuple[tuple[str, str, str, type[RepositoryError]], ...] = (
    (
        r"didn't find section in config file",
        "config_file has no remote of that name",
        "rclone listremotes --config FILE shows those that it has.",
        RepositoryError,
    ),
    (
        r"no space left|insufficient storage|storage ?quota|quota ?exceeded|over quota|disk full|storage ?full",
        "the place behind the remote is full, or its quota used up",
        "Free space there, or prune old backups; nothing of this object is visible.",
        RepositoryError,
    ),
    (
        r"invalid_grant|token (has )?expired|fetch token|InvalidAccessKeyId|SignatureDoesNotMatch|\b401\b|unauthorized|authenticat",
        "the remote does not accept the credential in config_file",
        "Renew it: rclone config reconnect NAME: --config FILE, or correct the key.",
        AccessDenied,
    ),
    (
        r"permission denied|access ?denied|forbidden|\b403\b|not permitted|insufficient (permissions|scope)|read.?only",
        "the credential may not do that",
        "Allow it to read and to write there; a reader's writes nothing by design.",
        AccessDenied,
    ),
    (
        r"no such host|connection refused|network is unreachable|no route to host|couldn't connect",
        "the place behind the remote cannot be reached",
        "Look at the remote's address in config_file, the name service and the network.",
        RepositoryError,
    ),
    (
        r"i/o timeout|deadline exceeded|timed? ?out",
        "the place behind the remote did not answer in time",
        "Is it up, and is the way to it open (firewall, proxy)?",
        RepositoryError,
    ),
    (
        r"x509|certificate",
        "the certificate of the place behind the remote is not trusted",
        "Correct the remote's address, or name its authority in the remote's options.",
        RepositoryError,
    ),
    (
        r"corrupted on transfer",
        "the bytes that arrived were not those that were sent",
        "Something on the way damages data: memory, network card, proxy?",
        RepositoryError,
    ),
    (r"object not found", "the remote holds no object of that key", "", ObjectMissing),
    (
        r"directory not found",
        "the repository's directory or bucket does not exist",
        "Create it once (rclone mkdir); it is never created silently.",
        RepositoryError,
    ),
)


def fault(given: RcloneOptions, doing: str, key: str, words: str) -> RepositoryError:
    """What rclone's words mean."""
    for pattern, what, next_step, kind in _WORDS:
        if re.search(pattern, words, re.IGNORECASE):
            return kind(f"repository {given.name!r}: {doing} failed: {what}", given.place(key), next_step)
    said = plain(words) or "without a word"
    return RepositoryError(f"repository {given.name!r}: {doing} failed: rclone says {said}", given.place(key), "Look at the remote itself.")


def root_missing(given: RcloneOptions) -> RepositoryError:
    _name, path = split_remote(given.remote)
    what = "directory or bucket" if path else "remote"
    return RepositoryError(
        f"the repository's {what} does not exist",
        given.place(),
        f"Create it once: rclone mkdir {given.remote} --config {given.config_file}. It is never created silently, so that a disk that"
        " is not mounted there does not fill the one below it.",
    )


def plain(words: str) -> str:
    """Printable, short, and without a credential that an address might carry."""
    words = re.sub(r"(\w+://)[^/\s@]*@", r"\1…@", words)
    words = re.sub(r"([?&][\w.-]*(?:token|key|secret|sig|password|credential)[\w.-]*=)[^&\s\"']*", r"\1…", words, flags=re.IGNORECASE)
    words = "".join(character if character.isprintable() else " " for character in words)
    return " ".join(words.split())[:200]

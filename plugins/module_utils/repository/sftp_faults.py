# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an SFTP server, or `ssh` on the way to it, refused: one sentence each, with the next step. Pure."""

from __future__ import annotations

import re

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import AccessDenied, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_options import SftpOptions
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_wire import Status

__all__ = ["ConnectionLost", "Refused", "fault", "not_sftp", "root_missing", "unconnected"]


class Refused(Exception):
    """A STATUS other than OK: the server's code, and its own word for it."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code} {message}")
        self.code, self.message = code, message


class ConnectionLost(RepositoryError):
    """The connection broke after it was made."""

    def __init__(self, given: SftpOptions, words: str = "") -> None:
        said = _plain(words)
        super().__init__(
            f"repository {given.name!r}: the connection to the server broke" + (f" ({said})" if said else ""),
            given.place(),
            "Look at the network, and at the server's own log.",
        )


_KEY_FACTS = "Ask whoever runs the server for its public host key (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub there) and compare."

# What ssh says (OpenSSH 8 to 10): what it means, next step, and whether a credential was refused.
_WORDS: tuple[tuple[str, str, str, bool], ...] = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|HOST IDENTIFICATION",
        "the server's host key is not the one that was pinned; nothing was sent to it",
        f"Another machine may stand in its place. {_KEY_FACTS}",
        False,
    ),
    (r"REVOKED HOST KEY", "the server's host key is marked as revoked; nothing was sent to it", _KEY_FACTS, False),
    (
        r"Host key verification failed|No \S+ host key is known",
        "no host key is pinned for this server; nothing was sent to it",
        f"It is not trusted because it answered. {_KEY_FACTS} Then give it as host_key, or in known_hosts_file.",
        False,
    ),
    (
        r"no matching (host key type|key exchange method|cipher|MAC)",
        "this host's ssh and the server have no algorithm in common, or host_key is of a type that the server does not have",
        "Pin a key of the type that the server offers (ssh-keyscan shows them), or bring the older side up to date.",
        False,
    ),
    (
        r"Permission denied \(|Too many authentication failures|No more authentication methods",
        "the server lets in neither this user nor this key (it does not say which)",
        "Does the user exist there, and does its authorized_keys hold the public half of identity_file?",
        True,
    ),
    (r"Connection refused", "nothing answers on that port", "Correct host and port, or start the server there.", False),
    (
        r"timed out|Timeout, server|not responding",
        "the server did not answer in time",
        "Is it up, and is the way to it open (firewall)?",
        False,
    ),
    (
        r"Could not resolve hostname|Name or service not known|Temporary failure in name resolution",
        "the name service does not know the host",
        "Correct host, or look at the name service.",
        False,
    ),
    (r"No route to host|Network is unreachable", "the host cannot be reached from here", "Look at the network and at host.", False),
    (
        r"subsystem request failed",
        "the server offers this account no SFTP",
        "Set Subsystem sftp internal-sftp (or ForceCommand internal-sftp) in its sshd_config.",
        False,
    ),
    (
        r"(?:Load key|identity file).*(?:denied|invalid|libcrypto|No such file|bad permissions)|UNPROTECTED PRIVATE KEY",
        "ssh cannot use identity_file",
        "It must be a private key that this user alone can read (chmod 0600).",
        True,
    ),
    (
        r"kex_exchange_identification|ssh_exchange_identification|banner exchange|Connection (?:closed|reset)|Broken pipe",
        "the server closed the connection before it let anybody in",
        "Is that port SSH? Does it take so many connections (MaxStartups), or block this address? Is the chroot directory root's own?",
        False,
    ),
    (
        r"[Bb]ad (?:owner|configuration)|Unsupported option|Bad configuration option|command-line",
        "this host's ssh does not take its options",
        "OpenSSH 8.0 or newer is needed.",
        False,
    ),
)


def unconnected(given: SftpOptions, status: int, words: str) -> RepositoryError:
    """Why there is no connection, from what ssh said and how it ended."""
    place, plain = given.place(), _plain(words)
    for pattern, what, next_step, denied in _WORDS:
        if re.search(pattern, words):
            kind = AccessDenied if denied else RepositoryError
            return kind(f"repository {given.name!r}: {what}", place, next_step)
    if status == 0 or not plain:
        return RepositoryError(
            f"repository {given.name!r}: the server ended the connection without a word of SFTP",
            place,
            "Does this account get SFTP there (ForceCommand internal-sftp), and is its chroot directory root's own?",
        )
    return RepositoryError(f"repository {given.name!r}: no connection ({plain})", place, "Look at the server's own log.")


def not_sftp(given: SftpOptions, seen: str) -> RepositoryError:
    return RepositoryError(
        f"repository {given.name!r}: the account answers, but not with SFTP ({_plain(seen)})",
        given.place(),
        "Its shell must print nothing when nobody is there to read it; better: ForceCommand internal-sftp.",
    )


def root_missing(given: SftpOptions) -> RepositoryError:
    return RepositoryError(
        "the repository's directory does not exist",
        given.place(),
        "Create it once on the server, as a directory of this account's own. It is never created silently, so that a disk that is"
        " not mounted there does not fill the one below it.",
    )


def fault(given: SftpOptions, doing: str, key: str, refused: Refused, free_bytes: int | None = None) -> RepositoryError:
    """What a refusal means. `free_bytes`: what the server says is left on that disk, where it was asked."""
    kind: type[RepositoryError] = RepositoryError
    if refused.code == Status.PERMISSION_DENIED:
        kind, what = AccessDenied, "the account may not do that"
        next_step = "Give it the directory (chown, mode 0700); a read-only account (internal-sftp -R) writes nothing by design."
    elif refused.code == Status.OP_UNSUPPORTED:
        what, next_step = "the server cannot do that", "Another server program, or another type of repository, can."
    elif refused.code == Status.NO_SUCH_FILE:
        what, next_step = "it is not there any more", "Does something else work in this directory?"
    elif refused.code == Status.FAILURE and free_bytes is not None and free_bytes < 1024 * 1024:
        what, next_step = "no space left on the server's disk", "Free space there, or prune old backups; nothing of this object is visible."
    elif refused.code == Status.FAILURE and free_bytes is not None:
        what = "the server failed, and its disk is not full: perhaps a quota is used up"
        next_step = "Raise the quota, prune old backups, or look at the server's log; nothing of this object is visible."
    else:
        said = _plain(refused.message)
        what, next_step = f"the server refused it ({said or refused.code})", "Look at the server's log."
    return kind(f"repository {given.name!r}: {doing} failed: {what}", given.place(key), next_step)


def _plain(words: str) -> str:
    words = "".join(character if character.isprintable() else " " for character in words)
    return " ".join(words.split())[:200]

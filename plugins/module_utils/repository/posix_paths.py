# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways below a repository's root that no link, `..` or odd name can bend, and what the system's refusals mean.

Every component is opened by itself, relative to the directory before it and without following links, so that a link
planted between a check and its use changes nothing. The root itself is the operator's word and may be a link.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import AccessDenied, RepositoryError, UnsafeName
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.keys import check_object_key

__all__ = [
    "DIRECTORY_MODE",
    "FILE_MODE",
    "directory",
    "fault",
    "link_inside",
    "set_mode",
    "split_key",
    "sync_directory",
]

FILE_MODE = 0o600
DIRECTORY_MODE = 0o700

_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_NEXT_STEPS = {
    errno.ENOSPC: "Free space there, or prune old backups; nothing of this object is visible.",
    errno.EDQUOT: "The quota is used up: raise it, or prune old backups; nothing of this object is visible.",
    errno.EFBIG: "The file system takes no files of that size: set a smaller volume_size.",
    errno.EACCES: "Give the user that runs this job access to the directory (owner, mode 0700).",
    errno.EPERM: "Give the user that runs this job access to the directory (owner, mode 0700; no immutable attribute).",
    errno.EROFS: "The file system is mounted read-only: mount it writable, and look in the kernel's log whether it failed.",
    errno.EIO: "The disk or the network file system fails: look in the kernel's log before trusting what lies there.",
    errno.ESTALE: "The network file system lost its server: mount it again.",
    errno.ENAMETOOLONG: "Shorten the name of the system or of the asset.",
    errno.EMFILE: "Raise the limit of open files (ulimit -n).",
}


def split_key(key: str) -> tuple[tuple[str, ...], str]:
    """A key as its directories and its file name; raises `UnsafeName`."""
    components = check_object_key(key).split("/")
    return tuple(components[:-1]), components[-1]


@contextlib.contextmanager
def directory(root: str, components: Sequence[str], create: bool = False) -> Iterator[int]:
    """A file descriptor of the directory `components` below `root`; with `create`, missing ones are made durably (0700).

    Raises `FileNotFoundError` for a missing one (with `create`: for one that another run removed just now, when it was
    empty; then try again), `UnsafeName` for a link, `RepositoryError` when the root itself is
    missing: a root is never made, because a missing one is more often a disk that is not mounted.
    """
    descriptor = _open_root(root)
    try:
        for depth, component in enumerate(components):
            inner = _open_component(descriptor, component, "/".join([root, *components[: depth + 1]]), create)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def set_mode(descriptor: int, mode: int) -> None:
    """Neither the umask nor an inherited ACL decides who may look inside.

    FAT and SMB have no modes and refuse; what lies there is sealed.
    """
    with contextlib.suppress(OSError):
        os.fchmod(descriptor, mode)


def sync_directory(descriptor: int) -> None:
    """Make the names in a directory survive a power cut. A file system that cannot sync directories is let off, as PostgreSQL does."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF):
            raise


def link_inside(path: str) -> UnsafeName:
    """The refusal to go through a symbolic link."""
    return UnsafeName(
        "a symbolic link lies inside the repository", path, "Links are never followed there: replace it by what it points to."
    )


def fault(error: OSError, doing: str, repository: str, path: str) -> RepositoryError:
    """What the operating system refused, as an error of the repository with its next step."""
    kind = AccessDenied if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) else RepositoryError
    reason = os.strerror(error.errno).lower() if error.errno else str(error)
    return kind(f"repository {repository!r}: {doing} failed: {reason}", path, _NEXT_STEPS.get(error.errno or 0, ""))


def _open_root(root: str) -> int:
    try:
        return os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise RepositoryError(
            "the repository's directory does not exist",
            root,
            "Mount the disk that holds it, or create it once: install -d -m 0700 -o USER DIRECTORY."
            " It is never created silently, so that a disk that is not mounted does not fill the one below it.",
        ) from None
    except NotADirectoryError:
        raise RepositoryError("the repository's path is not a directory", root, "Name a directory.") from None


def _open_component(parent: int, component: str, path: str, create: bool) -> int:
    try:
        return os.open(component, _DIRECTORY_FLAGS, dir_fd=parent)
    except FileNotFoundError:
        if not create:
            raise
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise _not_a_directory(parent, component, path, create) from None
        raise
    with contextlib.suppress(FileExistsError):  # another run makes it at this same moment
        _make_directory(parent, component)
    return os.open(component, _DIRECTORY_FLAGS, dir_fd=parent)


def _make_directory(parent: int, component: str) -> None:
    os.mkdir(component, DIRECTORY_MODE, dir_fd=parent)
    descriptor = os.open(component, _DIRECTORY_FLAGS, dir_fd=parent)
    try:
        set_mode(descriptor, DIRECTORY_MODE)
    finally:
        os.close(descriptor)
    sync_directory(parent)


def _not_a_directory(parent: int, component: str, path: str, create: bool) -> Exception:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISLNK(os.stat(component, dir_fd=parent, follow_symlinks=False).st_mode):
            return link_inside(path)
        if create:
            return RepositoryError("a file lies where the repository needs a directory", path, "Move it away.")
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

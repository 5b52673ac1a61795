# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Walking a tree of directories somewhere else, in the order of keys, several directories per request. Pure.

An entry is kept as one text of bytes that sorts as the keys do, so that a directory of a million names takes some 150 MB.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Optional

from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.keys import is_foreign

__all__ = ["FILE", "FOLDER", "LINK", "OTHER", "Folder", "Found", "ReadFolders", "folder_of", "hidden_files", "packed", "unpacked", "walk"]

FILE, FOLDER, LINK, OTHER = 0, 1, 2, 3

Folder = tuple[str, ...]
"""The directories on the way to one, from the repository's root on."""

Found = tuple[str, int, int, int]
"""Key, sort, size in bytes and second of change."""

ReadFolders = Callable[[Sequence[Folder]], list[list[bytes]]]
"""What lies in each of these directories, packed and sorted; a missing one is empty, as it may be removed meanwhile."""

_FACTS = struct.Struct(">BQI")


def packed(name: str, sort: int, size_bytes: int, modified: int, hidden: str = "") -> Optional[bytes]:
    """One entry; None for a name that can be no part of a key, unless it begins with `hidden`."""
    if "/" in name or (is_foreign(name) and not (hidden and name.startswith(hidden))):
        return None
    slash = b"/" if sort == FOLDER else b""
    return name.encode() + slash + b"\0" + _FACTS.pack(sort, max(0, size_bytes), max(0, modified))


def unpacked(entry: bytes) -> Found:
    """Name, sort, size in bytes and second of change of an entry."""
    end = len(entry) - _FACTS.size
    sort, size_bytes, modified = _FACTS.unpack_from(entry, end)
    return entry[: end - 1].removesuffix(b"/").decode(), sort, size_bytes, modified


def folder_of(entry: bytes) -> str:
    """The name of an entry that is a directory, "" for any other."""
    end = len(entry) - _FACTS.size - 2
    return entry[:end].decode() if entry[end : end + 1] == b"/" else ""


def walk(read: ReadFolders, start: Folder, stem: str, at_once: int) -> Iterator[Found]:
    """Every file and link below `start` whose path from there begins with `stem`, in the order of keys."""
    yield from _walk(read, start, stem, at_once, {})


def hidden_files(read: ReadFolders, start: Folder, prefix: str, at_once: int) -> Iterator[Found]:
    """Every file below `start` whose name begins with `prefix`, in no order; `read` has to give such names."""
    waiting = [start]
    while waiting:
        some, waiting = waiting[:at_once], waiting[at_once:]
        for folder, entries in zip(some, read(some)):
            inside = "".join(f"{component}/" for component in folder)
            for entry in entries:
                name, sort, size_bytes, modified = unpacked(entry)
                if sort == FILE and name.startswith(prefix):
                    yield inside + name, sort, size_bytes, modified
                elif sort == FOLDER and not is_foreign(name) and _is_listed(name, "", folder):
                    waiting.append((*folder, name))


def _walk(read: ReadFolders, folder: Folder, stem: str, at_once: int, ahead: dict[Folder, list[bytes]]) -> Iterator[Found]:
    """`ahead` holds what lies in directories that come later, read together with an earlier one."""
    inside = "".join(f"{component}/" for component in folder)
    entries = ahead.pop(folder, None)
    if entries is None:
        entries = read([folder])[0]
    folders = [(*folder, name) for name in map(folder_of, entries) if name and _is_listed(name, stem, folder)]
    passed = 0
    for entry in entries:
        name, sort, size_bytes, modified = unpacked(entry)
        if not _is_listed(name, stem, folder):
            continue
        if sort != FOLDER:
            yield inside + name, sort, size_bytes, modified
            continue
        if (*folder, name) not in ahead:
            some = folders[passed : passed + at_once]
            ahead.update(zip(some, read(some)))
        passed += 1
        yield from _walk(read, (*folder, name), "", at_once, ahead)


def _is_listed(name: str, stem: str, folder: Folder) -> bool:
    # lost+found is the file system's own, and closed to everyone but root.
    return name.startswith(stem) and (name != "lost+found" or bool(folder))

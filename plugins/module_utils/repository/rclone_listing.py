# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One directory of a remote as rclone lists it, taken entry by entry: a million names never are one JSON document in memory."""

from __future__ import annotations

import contextlib
import datetime as dt
import http.client
import json
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.rclone_daemon import Daemon
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.rclone_faults import fault
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.rclone_options import RcloneOptions
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.walk import FILE, FOLDER, packed

__all__ = ["read_entries", "seconds_of"]

_READ_BYTES = 256 * 1024
_MISSING = "directory not found"


def read_entries(daemon: Daemon, given: RcloneOptions, folder: str, hidden: str = "") -> list[bytes]:
    """What lies in the directory, packed and sorted; nothing where it does not exist. Raises `RepositoryError`, never ends early."""
    wanted = {"fs": given.remote, "remote": folder, "opt": {"noMimeType": True, "recurse": False}}
    answer = daemon.request("POST", "/operations/list", "listing", folder, json.dumps(wanted).encode())
    with contextlib.closing(answer), daemon.broken("listing", folder):
        if answer.status != 200:
            words = answer.read().decode(errors="replace")
            if _MISSING in words:
                return []
            raise fault(given, "listing", folder, words)
        found = []
        for item in _items(answer, given, folder):
            entry = packed(str(item["Name"]), FOLDER if item.get("IsDir") else FILE, int(item["Size"]), seconds_of(item), hidden)
            if entry is not None:
                found.append(entry)
    found.sort()
    return found


def seconds_of(item: Mapping[str, Any]) -> int:
    """The whole second of an entry's last change (RFC 3339 with up to nanoseconds, which Python cannot read)."""
    text = str(item.get("ModTime") or "")
    with contextlib.suppress(ValueError):
        moment = dt.datetime.strptime(text[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=dt.timezone.utc)
        zone = text[19:].lstrip(".0123456789")
        if zone[:1] in ("+", "-"):
            offset = dt.timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
            moment += -offset if zone[0] == "+" else offset
        return max(0, int(moment.timestamp()))
    return 0


def _items(answer: http.client.HTTPResponse, given: RcloneOptions, folder: str) -> Iterator[Mapping[str, Any]]:
    """The entries of `{"list": [{…}, …]}`, each as soon as it is here."""
    decoder, text, position, begun = json.JSONDecoder(), "", 0, False
    pending = b""
    while True:
        data = answer.read(_READ_BYTES)
        pending += data
        # A character may be cut in two; rclone ends lines, which are whole.
        whole = pending.rfind(b"\n") + 1 if data else len(pending)
        text, position, pending = text[position:] + pending[:whole].decode(), 0, pending[whole:]
        if not begun and "[" in text:
            begun, position = True, text.index("[") + 1
        while begun:
            while position < len(text) and text[position] in ", \r\n\t":
                position += 1
            if position < len(text) and text[position] == "]":
                return
            try:
                item, position = decoder.raw_decode(text, position)
            except ValueError:
                break
            yield item
        if not data:
            if not begun and '"list": null' in text:
                return
            raise RepositoryError(
                f"repository {given.name!r}: rclone's listing ended early", given.place(folder), "A list cut short is not used: try again."
            )

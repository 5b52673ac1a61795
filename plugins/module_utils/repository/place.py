# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a repository really lies, whatever its options call it, and why two of them are one place (law 4).

    overlap(place_of("vault", vault), place_of("offsite", offsite))     "both lie in the bucket 'shop' at s3.example.net"

Links, mounts, other names of one host, and remotes of rclone that wrap others are looked through. Nothing is written,
and no store is asked: options, credential files, the mount table and the name service are all that is read.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import place_credentials, place_mounts

__all__ = ["Place", "inner_places", "local_place", "overlap", "place_of", "s3_place", "same_disk", "sftp_place"]

AMAZON = "amazonaws.com"
"""The host of every bucket at Amazon: their names are unique over all regions."""


@dataclass(frozen=True)
class Place:
    """One canonical place.

    `kind`: `posix`, `s3`, `sftp`, or `rclone:<backend>`. `host`: the machine or service that holds it, "" for this machine.
    `root`: the real path there, or the bucket with its prefix. `credential_fingerprint`: the same text for the same
    credential, "" where none is needed or it cannot be read; nothing can be computed back from it. `account`: who is
    let in there, where that can be told. `detail`: the place in words, for messages. `chain`: device and inode of a local
    directory and of all above it, so that a directory mounted twice is known again. `inside`: what lies underneath a
    remote that wraps or joins others; such a place has no root of its own.
    """

    kind: str
    host: str
    root: str
    credential_fingerprint: str = ""
    detail: str = ""
    account: str = ""
    chain: tuple[str, ...] = ()
    inside: tuple[Place, ...] = ()


def place_of(name: str, spec: Mapping[str, Any]) -> Place:
    """The place of a repository's options; raises `ConfigurationError` for options that are wrong, `MissingTool` without rclone."""
    from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import validate

    validate(name, spec)
    kind = spec["type"]
    if kind == "posix":
        return local_place(str(spec["path"]))
    if kind == "s3":
        from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_options import parse_s3

        given = parse_s3(name, spec)
        key = place_credentials.access_key(given)
        return s3_place(given.endpoint, given.bucket, given.prefix, key)
    if kind == "sftp":
        account = str(spec.get("user") or "")
        fingerprint = place_credentials.of_key_file(str(spec.get("identity_file") or ""))
        return sftp_place(str(spec["host"]), account, str(spec["path"]), fingerprint)
    from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.rclone_place import rclone_place

    return rclone_place(name, spec)


def local_place(path: str) -> Place:
    """The place of a directory on this machine: the server's when it is mounted from one. It need not exist."""
    real = os.path.realpath(path)
    mounted = place_mounts.served_by(real)
    if mounted is not None:
        return Place("posix", _plain_host(mounted.host), mounted.path, detail=f"{path}, from {mounted.host}", chain=_chain(real))
    return Place("posix", "", real, detail=path if path == real else f"{path}, really {real}", chain=_chain(real))


def s3_place(endpoint: str | None, bucket: str, prefix: str, access_key_id: str) -> Place:
    """The place of a bucket. `access_key_id` is no secret by itself; only a digest of it is kept."""
    host = _plain_host(urlsplit(endpoint).hostname or "") if endpoint else AMAZON
    account = ""
    if host == AMAZON or host.endswith("." + AMAZON):
        host, account = AMAZON, place_credentials.amazon_account(access_key_id)
    fingerprint = place_credentials.digest("s3", access_key_id)
    return Place("s3", host, f"{bucket}/{prefix}".rstrip("/"), fingerprint, f"s3://{bucket}/{prefix} at {endpoint or AMAZON}", account)


def sftp_place(host: str, user: str, path: str, fingerprint: str) -> Place:
    """The place of a directory behind SFTP. The port is left out: one host often has several, before the same disk."""
    root = os.path.normpath("/" + path.lstrip("/"))
    return Place("sftp", _plain_host(host), root, fingerprint, f"{root} at {host}", f"{user} at {_plain_host(host)}" if user else "")


def inner_places(place: Place) -> Iterable[Place]:
    """The places that something written to this one really lies in."""
    if not place.inside:
        yield place
    for inner in place.inside:
        yield from inner_places(inner)


def overlap(one: Place, other: Place) -> str | None:
    """Why two places are not apart, as a sentence without its end, or None when nothing shows that they share anything."""
    for left in inner_places(one):
        for right in inner_places(other):
            reason = _overlap(left, right)
            if reason:
                return reason
    # The wrapping remote's own credential counts as well as the one underneath.
    return _same_credential(one, other)


def same_disk(one: Place, other: Place) -> bool:
    """Whether both lie on one file system of this machine, so that one broken disk takes both."""
    first, second = ({inner.chain[0].partition(":")[0] for inner in inner_places(place) if inner.chain} for place in (one, other))
    return bool(first & second)


def _overlap(one: Place, other: Place) -> str | None:
    if one.chain and other.chain and (one.chain[0] in other.chain or other.chain[0] in one.chain):
        shorter, longer = sorted((one.root, other.root), key=len)
        return f"both lie in the directory {shorter}" if shorter == longer else f"{longer} and {shorter} lie one within the other"
    if one.kind == other.kind == "s3":
        if _bucket(one) == _bucket(other) and _one_host(one.host, other.host):
            return f"both lie in the bucket {_bucket(one)!r} at {one.host}"
    elif _has_paths(one) and _has_paths(other):
        if _nested(one.root, other.root) and _one_host(one.host, other.host):
            shorter, longer = sorted((one.root, other.root), key=len)
            where = one.host or other.host or "this machine"
            inside = f"lie in {shorter}" if shorter == longer else f"lie in {shorter}, one of them in {longer}"
            return f"both {inside} on the host {where}"
    elif (one.kind, one.host) == (other.kind, other.host) and _nested("/" + one.root, "/" + other.root):
        # With two credentials that are known to differ, one path may well be two: it is counted from each account's own top.
        known = one.credential_fingerprint and other.credential_fingerprint
        if not known:
            return f"both lie in {one.detail}"
    if one.account and one.account == other.account:
        return f"both belong to the account {one.account}"
    return _same_credential(one, other)


def _same_credential(one: Place, other: Place) -> str | None:
    if one.credential_fingerprint and one.credential_fingerprint == other.credential_fingerprint:
        return "the same credential lets into both"
    return None


def _bucket(place: Place) -> str:
    return place.root.partition("/")[0]


def _has_paths(place: Place) -> bool:
    return place.kind in ("posix", "sftp")


def _nested(one: str, other: str) -> bool:
    return any(inner == outer or inner.startswith(outer.rstrip("/") + "/") for inner, outer in ((one, other), (other, one)))


def _plain_host(host: str) -> str:
    return host.strip("[]").rstrip(".").casefold()


def _one_host(one: str, other: str) -> bool:
    """Whether two names mean one machine: the same name, an address in common, or both this machine."""
    if one == other:
        return True
    left, right = _addresses(one), _addresses(other)
    return bool(left & right) or (_is_this_machine(one, left) and _is_this_machine(other, right))


def _addresses(host: str) -> set[str]:
    if not host:
        return set()
    with contextlib.suppress(OSError, UnicodeError):
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    return set()


def _is_this_machine(host: str, addresses: set[str]) -> bool:
    return not host or any(_is_own(address) for address in addresses)


def _is_own(address: str) -> bool:
    """Only an address of this machine can be bound to."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind((address, 0))
        return True
    return False


def _chain(real: str) -> tuple[str, ...]:
    """`device:inode/rest` of the directory and of each above it; `rest` is what of the path does not exist yet."""
    chain, path = [], real
    while True:
        chain.append(_identity(path))
        above = os.path.dirname(path)
        if above == path:
            return tuple(chain)
        path = above


def _identity(path: str) -> str:
    rest = ""
    while True:
        with contextlib.suppress(OSError):
            status = os.stat(path)
            return f"{status.st_dev}:{status.st_ino}/{rest}"
        path, name = os.path.split(path)
        rest = f"{name}/{rest}"

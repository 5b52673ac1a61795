# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What only who prunes asks of a bucket: all versions, the end of a lock, uploads that were never completed, and the store's clock.

Versions are removed one request each: not every store takes many in one, and each refusal has its own reason.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ObjectLocked, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Erased, Leftover, StoredVersion
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_client import S3Client, in_utc
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_faults import Refusal

__all__ = ["clock", "discard", "erase", "leftovers", "lengthen_lock", "locked_until", "locks_at_all", "versions"]

FOR_EVER = dt.datetime.max.replace(tzinfo=dt.timezone.utc)
"""A legal hold has no end."""
_PAGE = 1000


def versions(client: S3Client, prefix: str) -> Iterator[StoredVersion] | None:
    """Every version below `prefix`, or None where this store or this credential shows none."""
    first = client.ask("list_object_versions", "listing versions", Prefix=client.options.prefix + prefix, MaxKeys=_PAGE)
    if isinstance(first, Refusal):
        if first.denied or first.not_implemented:
            return None
        raise first.error
    return _pages(client, prefix, first)


def _pages(client: S3Client, prefix: str, page: dict[str, Any]) -> Iterator[StoredVersion]:
    root = client.options.prefix
    while True:
        found = [(entry, False) for entry in page.get("Versions") or ()] + [(entry, True) for entry in page.get("DeleteMarkers") or ()]
        for entry, marker in sorted(found, key=lambda pair: str(pair[0]["Key"])):
            yield StoredVersion(
                str(entry["Key"])[len(root) :],
                int(entry.get("Size") or 0),
                in_utc(entry.get("LastModified")),
                str(entry.get("VersionId") or ""),
                bool(entry.get("IsLatest")),
                marker,
            )
        if not page.get("IsTruncated"):
            return
        marks = {"KeyMarker": page.get("NextKeyMarker"), "VersionIdMarker": page.get("NextVersionIdMarker")}
        if not marks["KeyMarker"]:
            raise RepositoryError(f"repository {client.options.name!r}: the store's listing does not go on", client.options.place(prefix))
        given = {name: mark for name, mark in marks.items() if mark}
        page = client.call("list_object_versions", "listing versions", Prefix=root + prefix, MaxKeys=_PAGE, **given)


def erase(client: S3Client, chosen: Iterable[StoredVersion]) -> Erased:
    """Older versions first, then what readers see: a run that is killed leaves nothing that has come back."""
    wanted = list(chosen)
    answers: list[str] = []
    locked: list[str] = []
    for latest in (False, True):
        some = [version for version in wanted if version.latest is latest]
        with ThreadPoolExecutor(max_workers=client.options.max_threads) as pool:
            for version, answer in zip(some, pool.map(lambda version: _erase_one(client, version), some)):
                answers.append(answer)
                if answer == "locked":
                    locked.append(version.key)
    return Erased(answers.count("removed"), answers.count("hidden"), tuple(dict.fromkeys(locked)))


def _erase_one(client: S3Client, version: StoredVersion) -> str:
    named: dict[str, Any] = {"VersionId": version.version} if version.version else {}
    answer = client.ask("delete_object", "deleting", version.key, **named)
    if isinstance(answer, Refusal) and named and answer.denied and not isinstance(answer.error, ObjectLocked):
        # The credential may not remove versions; perhaps it may hide the object. An older version is hidden already.
        if not version.latest or version.marker:
            return "hidden"
        answer = client.ask("delete_object", "deleting", version.key)
        if not isinstance(answer, Refusal):
            return "hidden"
    if not isinstance(answer, Refusal):
        return "removed"
    if isinstance(answer.error, ObjectLocked):
        return "locked"
    if answer.missing:
        return "gone"
    raise answer.error


def leftovers(client: S3Client, prefix: str) -> Iterator[Leftover]:
    """Multipart uploads that were begun, and neither completed nor aborted; none where the store cannot say."""
    root = client.options.prefix
    parameters: dict[str, Any] = {"Prefix": root + prefix, "MaxUploads": _PAGE}
    page = client.ask("list_multipart_uploads", "listing unfinished uploads", **parameters)
    while True:
        if isinstance(page, Refusal):
            if page.not_implemented or page.missing or page.code == "NoSuchUpload":  # in rclone's words: there are none
                return
            raise page.error
        for entry in page.get("Uploads") or ():
            begun = in_utc(entry.get("Initiated"))
            # Not every store minds the prefix here.
            if begun is not None and str(entry["Key"]).startswith(root + prefix):
                yield Leftover(str(entry["Key"])[len(root) :], begun, str(entry["UploadId"]))
        if not page.get("IsTruncated") or not page.get("NextKeyMarker"):
            return
        marks = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page.get("NextUploadIdMarker") or ""}
        page = client.ask("list_multipart_uploads", "listing unfinished uploads", **parameters, **marks)


def discard(client: S3Client, leftover: Leftover) -> None:
    answer = client.ask("abort_multipart_upload", "removing an unfinished upload", leftover.key, UploadId=leftover.mark)
    if isinstance(answer, Refusal) and not answer.missing and answer.code != "NoSuchUpload":
        raise answer.error


def clock(client: S3Client) -> dt.datetime | None:
    answer = client.call("list_objects_v2", "asking for the time", MaxKeys=1, Prefix=client.options.prefix)
    headers = (answer.get("ResponseMetadata") or {}).get("HTTPHeaders") or {}
    try:
        return in_utc(parsedate_to_datetime(str(headers["date"])))
    except (KeyError, ValueError, TypeError):
        return None


def locks_at_all(client: S3Client) -> bool:
    """Whether objects here can be locked; True where that may not be asked."""
    if client.options.object_lock != "none":
        return True
    answer = client.ask("get_object_lock_configuration", "looking whether the bucket locks", attempts=2)
    if isinstance(answer, Refusal):
        return answer.denied
    return (answer.get("ObjectLockConfiguration") or {}).get("ObjectLockEnabled") == "Enabled"


def locked_until(head: dict[str, Any]) -> dt.datetime | None:
    """By HEAD's answer; a credential that may not see locks sees none."""
    if head.get("ObjectLockLegalHoldStatus") == "ON":
        return FOR_EVER
    return in_utc(head.get("ObjectLockRetainUntilDate")) if head.get("ObjectLockMode") else None


def lengthen_lock(client: S3Client, key: str, head: dict[str, Any], until: dt.datetime) -> None:
    mode = str(head.get("ObjectLockMode") or client.options.object_lock).upper()
    held = locked_until(head)
    if mode == "NONE" or (held is not None and held >= until):
        return
    named = {"VersionId": head["VersionId"]} if head.get("VersionId") else {}
    client.call("put_object_retention", "lengthening a lock", key, Retention={"Mode": mode, "RetainUntilDate": until}, **named)

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bucket and prefix as a repository, at Amazon or at any store that speaks S3."""

from __future__ import annotations

import datetime as dt
import functools
import io
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import AccessDenied, ObjectMissing, RepositoryError, UnsafeName
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import (
    Capabilities,
    Erased,
    Leftover,
    ObjectInfo,
    Repository,
    StoredVersion,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.keys import check_object_key, check_prefix
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_client import S3Client, in_utc
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_faults import Refusal
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_options import MAX_PARTS, S3Options, parse_s3
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_reader import S3Body

if TYPE_CHECKING:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.harm import Harm, Rules
    from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_parts import Md5Check
    from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_upload import S3Upload

__all__ = ["S3Repository", "open_s3"]

_READ_BUFFER_BYTES = 1024 * 1024
_PAGE = 1000


def open_s3(name: str, spec: Mapping[str, Any], read_only: bool = False) -> Repository:
    return S3Repository(parse_s3(name, spec), read_only)


class S3Repository(Repository):
    """Connects with the first request. `read_only` refuses to write here; what the credential may is another question (`can_write`).

    What writes and what probes is loaded when it is asked for: most runs of a module only look.
    """

    type = "s3"

    def __init__(self, options: S3Options, read_only: bool = False) -> None:
        self.name = options.name
        self.read_only = read_only
        self.client = S3Client(options)
        self.max_object_bytes = options.part_bytes * (MAX_PARTS)
        self.conditional = True
        """Whether to send conditions: until the store says that it does not know them."""
        self._bucket_seen = False
        self._shows_versions = True
        """Until the store, or the credential, says that it does not."""

    @functools.cached_property
    def md5_check(self) -> Md5Check:
        """What this store does with a wrong checksum."""
        from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_parts import Md5Check

        return Md5Check()

    def start_upload(self, key: str) -> S3Upload:
        from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_upload import S3Upload

        self._refuse_when_read_only(key)
        return S3Upload(self, check_object_key(key))

    def open(self, key: str) -> BinaryIO:
        return cast(BinaryIO, io.BufferedReader(S3Body(self.client, check_object_key(key)), _READ_BUFFER_BYTES))

    def stat(self, key: str) -> ObjectInfo | None:
        head = self.head(key)
        if head is None:
            return None
        return ObjectInfo(key, int(head["ContentLength"]), in_utc(head.get("LastModified")))

    def head(self, key: str) -> dict[str, Any] | None:
        """HEAD's answer, or None where there is no object; a bucket that does not exist is not "no object"."""
        answer = self.client.ask("head_object", "looking at an object", check_object_key(key))
        if not isinstance(answer, Refusal):
            self._bucket_seen = True
            return answer
        if not self._bucket_seen:
            # HEAD's answer has no body that could name the cause: no bucket, or a wrong key of the credential.
            listing = self.client.ask("list_objects_v2", "looking for the bucket", MaxKeys=1, Prefix=self.client.options.prefix)
            if isinstance(listing, Refusal) and not listing.denied:
                raise listing.error
            self._bucket_seen = True
        if not answer.missing:
            raise answer.error
        return None

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return self._list(check_prefix(prefix))

    def delete(self, key: str) -> None:
        self._refuse_when_read_only(key)
        # S3 answers the same whether there was something or not.
        if self.stat(key) is None:
            raise ObjectMissing(f"repository {self.name!r} holds no object of that key", self.client.options.place(key))
        self.client.call("delete_object", "deleting", key)

    def capabilities(self, probe_prefix: str) -> Capabilities:
        from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import s3_probe

        return s3_probe.capabilities(self.client, probe_prefix, self.can_write)

    def can_write(self, probe_prefix: str) -> bool:
        from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import s3_probe

        return s3_probe.can_write(self.client, probe_prefix)

    def try_harm(self, probe_prefix: str) -> tuple[Harm, ...]:
        from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import s3_harm

        self._refuse_when_read_only(probe_prefix)
        return s3_harm.on_canary(self.client, probe_prefix)

    def rules(self) -> Rules:
        from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import s3_harm

        return s3_harm.rules(self.client)

    def unguarded(self, key: str) -> str:
        head = self.head(key) or {}
        if head.get("ObjectLockMode") or head.get("VersionId", "null") != "null":
            return ""
        return "the store keeps neither versions nor locks of it"

    def everything(self, prefix: str) -> Iterator[StoredVersion]:
        from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import s3_prune

        found = s3_prune.versions(self.client, check_prefix(prefix)) if self._shows_versions else None
        if found is None:
            self._shows_versions = False
            return super().everything(prefix)
        return (version for version in found if _is_key(version.key))

    def erase(self, versions: Iterable[StoredVersion]) -> Erased:
        from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import s3_prune

        self._refuse_when_read_only("")
        return s3_prune.erase(self.client, versions)

    def leftovers(self, prefix: str) -> Iterator[Leftover]:
        from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import s3_prune

        return s3_prune.leftovers(self.client, check_prefix(prefix))

    def discard(self, leftover: Leftover) -> None:
        from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import s3_prune

        self._refuse_when_read_only(leftover.key)
        s3_prune.discard(self.client, leftover)

    def clock(self) -> dt.datetime | None:
        from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import s3_prune

        return s3_prune.clock(self.client)

    def locked_until(self, key: str) -> dt.datetime | None:
        from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import s3_prune

        return s3_prune.locked_until(self.head(key) or {}) if self._locks else None

    def lengthen_lock(self, key: str, until: dt.datetime) -> None:
        from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import s3_prune

        self._refuse_when_read_only(key)
        if self._locks:
            s3_prune.lengthen_lock(self.client, key, self.head(key) or {}, until)

    @functools.cached_property
    def _locks(self) -> bool:
        """Whether this bucket locks anything at all: asked once, so that no lock is looked for where there is none."""
        from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import s3_prune

        return s3_prune.locks_at_all(self.client)

    def description(self) -> dict[str, str]:
        options = self.client.options
        facts = {
            "type": self.type,
            "bucket": options.bucket,
            "prefix": options.prefix,
            "endpoint": options.endpoint,
            "region": options.region,
        }
        return {name: value for name, value in facts.items() if value}

    def close(self) -> None:
        self.client.close()

    def _list(self, prefix: str) -> Iterator[ObjectInfo]:
        root = self.client.options.prefix
        parameters: dict[str, Any] = {"Prefix": root + prefix, "MaxKeys": _PAGE}
        while True:
            page = self.client.call("list_objects_v2", "listing", **parameters)
            self._bucket_seen = True
            for entry in page.get("Contents") or ():
                key = str(entry["Key"])[len(root) :]
                if _is_key(key):
                    modified, etag = in_utc(entry.get("LastModified")), str(entry.get("ETag") or "")
                    mark = f"{etag} {modified.timestamp()}" if etag and modified else ""
                    yield ObjectInfo(key, int(entry["Size"]), modified, mark=mark)
            if not page.get("IsTruncated"):
                return
            token = page.get("NextContinuationToken")
            if not token or token == parameters.get("ContinuationToken"):
                raise RepositoryError(
                    f"repository {self.name!r}: the store's listing does not go on",
                    self.client.options.place(prefix),
                    "The store is broken: a list cut short is not used.",
                )
            parameters["ContinuationToken"] = token

    def _refuse_when_read_only(self, key: str) -> None:
        if self.read_only:
            raise AccessDenied(f"repository {self.name!r} was opened read-only", self.client.options.place(key), "Nothing was written.")


def _is_key(key: str) -> bool:
    """Whether this can be one of ours: consoles leave empty objects called `folder/`, rclone shows unfinished uploads as hidden ones."""
    try:
        return bool(check_object_key(key))
    except UnsafeName:
        return False

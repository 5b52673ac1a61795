# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a bucket and its credential can do, found by doing it with small objects; a name or a header proves nothing.

Stores exist that accept a condition and overwrite, that echo a lock and delete, that guard a lock's object and let its
end be moved. Each is looked for here, and what was seen is said.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Capabilities
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.keys import probe_key
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_client import Answer, S3Client
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_faults import Refusal
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_parts import checked_body, md5
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_upload import lock_parameters

__all__ = ["PROBE_LOCK", "can_write", "capabilities"]

_FIRST = b"lifeboat probe, first\n"
_SECOND = b"lifeboat probe, second\n"
PROBE_LOCK = dt.timedelta(minutes=30)
"""How long a probe stays locked. Longer than the 15 minutes that clocks may differ at S3, so never already over."""


def can_write(client: S3Client, prefix: str) -> bool:
    """Whether a put succeeds. Raises for everything that is neither a success nor a refusal of this credential."""
    key = probe_key(prefix)
    answer = client.ask("put_object", "trying to write", key, attempts=3, **checked_body(_FIRST, md5(_FIRST)))
    if not isinstance(answer, Refusal):
        _delete(client, key, answer.get("VersionId"))
        return True
    if answer.denied:
        return False
    if answer.status == 500:
        # rclone's read-only server says no in this way. Only where reading works at the same moment is it taken for one.
        client.call("list_objects_v2", "listing", MaxKeys=1, Prefix=client.options.prefix)
        head = client.ask("head_object", "looking at an object", key)
        if isinstance(head, Refusal) and head.missing:
            return False
    raise answer.error


def capabilities(client: S3Client, prefix: str, try_write: Callable[[str], bool]) -> Capabilities:
    """All of it, each with what was seen. Where object lock works a locked probe stays; the rest is removed if that is allowed."""
    if not try_write(prefix):
        seen = "not tried: this credential cannot write"
        return Capabilities(False, False, False, True, tuple((name, seen) for name in ("no_clobber", "versioning", "object_lock")))
    trial = _Trial(client, probe_key(prefix))
    try:
        no_clobber, how_no_clobber = trial.no_clobber()
        versioning, how_versioning = trial.versioning()
        may_delete = trial.clean()
        object_lock, how_object_lock = _object_lock(client, probe_key(prefix), may_delete, trial.locked_by_default)
    finally:
        trial.clean()
    detail = (("no_clobber", how_no_clobber), ("versioning", how_versioning), ("object_lock", how_object_lock))
    return Capabilities(no_clobber, versioning, object_lock, False, detail)


class _Trial:
    """One probe object, written several times."""

    def __init__(self, client: S3Client, key: str) -> None:
        self._client = client
        self._key = key
        self._versions: list[str | None] = []
        self._first = self._keep(client.call("put_object", "trying to write", key, **checked_body(_FIRST, md5(_FIRST))))
        head = client.ask("head_object", "looking at an object", key)
        self.locked_by_default = not isinstance(head, Refusal) and bool(head.get("ObjectLockMode"))

    def no_clobber(self) -> tuple[bool, str]:
        """Both ways of publishing an object have to honour the condition."""
        put = self._put(_SECOND, IfNoneMatch="*")
        multipart = self._complete_on_top()
        verdicts = {"a single put": put, "a multipart upload": multipart}
        replaced = [way for way, answer in verdicts.items() if not isinstance(answer, Refusal)]
        unknown = [way for way, answer in verdicts.items() if isinstance(answer, Refusal) and not answer.exists]
        instead = "the key is looked at before writing instead, which two runs at once could defeat"
        if replaced:
            return False, f"If-None-Match is ignored by {' and '.join(replaced)}: {instead}"
        if unknown:
            return False, f"If-None-Match is not known to {' and '.join(unknown)}: {instead}"
        if self._content(self._first) != _FIRST:
            return False, "the store refused to replace an object and did so all the same"
        return True, "If-None-Match is honoured by single puts and multipart uploads"

    def versioning(self) -> tuple[bool, str]:
        if self._first in (None, "null"):
            return False, "the store gives no version to what is written"
        answer = self._put(_SECOND)
        if isinstance(answer, Refusal) and not answer.denied:
            return False, f"not found out: {answer.error.what}"
        if self._content(self._first) != _FIRST:
            return False, "an older version could not be read back"
        if isinstance(answer, Refusal):
            return True, "replacing is refused to this credential"
        return True, "an older version was read back after it was replaced"

    def clean(self) -> bool:
        """Remove every version that was made; whether this credential may."""
        allowed = [_delete(self._client, self._key, version) for version in self._versions]
        self._versions = []
        return bool(allowed) and all(allowed)

    def _put(self, data: bytes, **parameters: Any) -> Answer:
        answer = self._client.ask("put_object", "trying to write", self._key, **checked_body(data, md5(data)), **parameters)
        if not isinstance(answer, Refusal):
            self._keep(answer)
        return answer

    def _complete_on_top(self) -> Answer:
        upload_id = self._client.call("create_multipart_upload", "trying a multipart upload", self._key)["UploadId"]
        body = checked_body(_SECOND, md5(_SECOND))
        part = self._client.call("upload_part", "trying a multipart upload", self._key, UploadId=upload_id, PartNumber=1, **body)
        parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        answer = self._client.ask(
            "complete_multipart_upload", "trying a multipart upload", self._key, UploadId=upload_id, MultipartUpload=parts, IfNoneMatch="*"
        )
        if isinstance(answer, Refusal):
            self._client.ask("abort_multipart_upload", "aborting", self._key, UploadId=upload_id)
        else:
            self._keep(answer)
        return answer

    def _content(self, version: str | None) -> bytes | None:
        return _content(self._client, self._key, version)

    def _keep(self, answer: dict[str, Any]) -> str | None:
        version = answer.get("VersionId")
        if version is not None or not self._versions:
            self._versions.append(version)
        return version


def _object_lock(client: S3Client, key: str, may_delete: bool, by_default: bool) -> tuple[bool, str]:
    """Lock a probe, then try to delete it, to replace it, and to move the end of its lock forward.

    A refusal counts only when this credential is allowed the same on something unlocked (`may_delete`), or may move the
    end backward: otherwise it may be the credential's, not the lock's.
    """
    mode = client.options.object_lock
    if mode == "none" and not by_default:
        return False, "not tried: object_lock is not asked for, and what is written carries no lock by itself"
    until = dt.datetime.now(dt.timezone.utc) + PROBE_LOCK
    put = client.ask("put_object", "trying object lock", key, **checked_body(_FIRST, md5(_FIRST)), **lock_parameters(mode, until))
    if isinstance(put, Refusal):
        return False, f"refused: {put.error.what}. {put.error.next_step}".strip()
    version = put.get("VersionId")
    head = client.ask("head_object", "looking at an object", key, **_versioned(version))
    held = {} if isinstance(head, Refusal) else head
    if not held.get("ObjectLockMode") or not held.get("ObjectLockRetainUntilDate"):
        return False, "the object carries no lock, or this credential may not see it (s3:GetObjectRetention)"
    mode, until = str(held["ObjectLockMode"]), held["ObjectLockRetainUntilDate"]

    overwritten = client.ask("put_object", "trying object lock", key, **checked_body(_SECOND, md5(_SECOND)))
    if not isinstance(overwritten, Refusal) and overwritten.get("VersionId") not in (None, version):
        _delete(client, key, overwritten["VersionId"])
    if _content(client, key, version) != _FIRST:
        return False, "the store shows a lock, and let the locked object be replaced"
    if _delete(client, key, version) or _content(client, key, version) != _FIRST:
        return False, "the store shows a lock, and let the locked object be deleted"
    later = _retain(client, key, version, mode, until + dt.timedelta(seconds=5))
    earlier = _retain(client, key, version, mode, until - dt.timedelta(seconds=60))
    if not isinstance(earlier, Refusal):
        return False, "the store guards a locked object, and let the end of its lock be moved forward"
    _delete(client, key, None)  # a marker that hides the probe from lists; it goes when a lifecycle rule takes it
    if may_delete:
        return True, f"a {mode.lower()} lock was tried: deleting, replacing and shortening were refused"
    if not isinstance(later, Refusal):
        return True, f"a {mode.lower()} lock was tried: it can be lengthened, not shortened; this credential may delete nothing anyhow"
    return (
        False,
        "not proven: this credential may neither delete nor lengthen a lock, so a refusal says nothing; try with the one that prunes",
    )


def _retain(client: S3Client, key: str, version: str | None, mode: str, until: dt.datetime) -> Answer:
    retention = {"Mode": mode, "RetainUntilDate": until}
    return client.ask("put_object_retention", "trying object lock", key, Retention=retention, **_versioned(version))


def _delete(client: S3Client, key: str, version: str | None) -> bool:
    return not isinstance(client.ask("delete_object", "removing a probe", key, **_versioned(version)), Refusal)


def _content(client: S3Client, key: str, version: str | None) -> bytes | None:
    answer = client.ask("get_object", "reading a probe", key, **_versioned(version))
    if isinstance(answer, Refusal):
        return None
    data = client.read_chunk(answer["Body"], 1024, key)
    return None if isinstance(data, Refusal) else data


def _versioned(version: str | None) -> dict[str, Any]:
    return {"VersionId": version} if version else {}

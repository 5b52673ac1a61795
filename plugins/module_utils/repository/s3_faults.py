# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an S3 store, or the way to it, refused: one sentence each, with the next step, and whether trying again can help.

Pure: it reads the exceptions of botocore by name and fields, and imports nothing of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import (
    AccessDenied,
    ObjectLocked,
    ObjectMissing,
    RepositoryError,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_options import S3Options

__all__ = ["Refusal", "explain", "malformed"]

_PERMISSIONS = {
    "put_object": "s3:PutObject",
    "create_multipart_upload": "s3:PutObject",
    "upload_part": "s3:PutObject",
    "complete_multipart_upload": "s3:PutObject",
    "abort_multipart_upload": "s3:AbortMultipartUpload",
    "get_object": "s3:GetObject",
    "head_object": "s3:GetObject and s3:ListBucket",
    "list_objects_v2": "s3:ListBucket",
    "delete_object": "s3:DeleteObject and s3:DeleteObjectVersion",
    "list_object_versions": "s3:ListBucketVersions",
    "list_multipart_uploads": "s3:ListBucketMultipartUploads",
    "put_object_retention": "s3:PutObjectRetention",
    "get_bucket_versioning": "s3:GetBucketVersioning",
}

_CREDENTIAL = "Look at credentials_file and profile (or the environment), and whether endpoint is the store that gave this key."

# code: what happened, next step. {bucket}, {endpoint} are filled in.
_REFUSED = {
    "NoSuchBucket": ("bucket {bucket!r} does not exist", "Create it (the playbook store does), or correct bucket, endpoint and region."),
    "NoSuchUpload": (
        "the store no longer knows the upload",
        "Does a lifecycle rule or another program abort unfinished uploads too early?",
    ),
    "EntityTooLarge": ("the object is too large for the store", "Set a smaller volume_size."),
    "EntityTooSmall": ("a part is too small for the store", "Set a larger part_size."),
    "QuotaExceeded": ("the quota is used up", "Raise it, or prune old backups."),
    "InsufficientStorage": ("the store is full", "Free space there, or prune old backups."),
    "XMinioStorageFull": ("the store is full", "Free space there, or prune old backups."),
    "InvalidObjectState": ("the object lies in cold storage", "Restore (thaw) it in the store first."),
    "InvalidBucketName": ("{bucket!r} is no bucket's name for this store", "Correct bucket."),
    "NoSuchKey": ("the store holds no object of that key", ""),
    "NoSuchVersion": ("the store holds no such version of that key", ""),
}
_CREDENTIAL_CODES = {
    "InvalidAccessKeyId": ("the store does not know the access key", _CREDENTIAL),
    "UnrecognizedClientException": ("the store does not know the access key", _CREDENTIAL),
    "SignatureDoesNotMatch": ("the secret key does not belong to the access key", _CREDENTIAL),
    "ExpiredToken": ("the temporary credential has expired", "Renew it."),
    "ExpiredTokenException": ("the temporary credential has expired", "Renew it."),
    "TokenRefreshRequired": ("the temporary credential has expired", "Renew it."),
    "InvalidToken": ("the session token is not valid", "Renew it, or leave it out for a permanent key."),
    "RequestTimeTooSkewed": (
        "the clock of this host and the store's differ too much",
        "Set the clock right (timedatectl, chronyc tracking), on this host first.",
    ),
}
_NOT_S3 = ("the endpoint answered, but not as an S3 store", "Is endpoint the store's S3 address, not its console?")
_DENIED = frozenset(
    ("AccessDenied", "AllAccessDisabled", "AccountProblem", "Forbidden", "MethodNotAllowed", "403", "401", "405", "Unauthorized")
)
_OTHER_REGION = frozenset(
    ("PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301", "307")
)
_DAMAGED_ON_THE_WAY = frozenset(("BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "IncompleteBody"))
_BUSY = frozenset(
    (
        "SlowDown",
        "ServiceUnavailable",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "RequestLimitExceeded",
        "BandwidthLimitExceeded",
    )
)
_TRY_AGAIN_CODES = _BUSY | _DAMAGED_ON_THE_WAY | {"InternalError", "RequestTimeout", "OperationAborted", "ConditionalRequestConflict"}
_TRY_AGAIN_STATUS = frozenset((429, 500, 502, 503, 504))


@dataclass(frozen=True)
class Refusal:
    """A request that got no good answer. `code` is S3's word, or botocore's class of exception when no answer came."""

    code: str
    status: int
    error: RepositoryError
    transient: bool

    @property
    def missing(self) -> bool:
        return self.code in ("NoSuchKey", "NoSuchVersion") or (self.status == 404 and self.code in ("404", "NotFound"))

    @property
    def denied(self) -> bool:
        """The credential is known, and may not do this."""
        return self.code in _DENIED

    @property
    def exists(self) -> bool:
        """A condition did not hold: the key is taken."""
        return self.code == "PreconditionFailed" or self.status == 412

    @property
    def not_implemented(self) -> bool:
        """The store knows the header or the request, and says that it cannot."""
        return self.code in ("NotImplemented", "InvalidArgument") or self.status == 501


def explain(error: Exception, operation: str, doing: str, place: str, options: S3Options, secrets: tuple[str, ...] = ()) -> Refusal:
    """What an exception of botocore means. `secrets` are blotted out of whatever the store said."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return _answered(response, operation, doing, place, options, secrets)
    return _unanswered(error, doing, place, options, secrets)


def malformed(doing: str, place: str, options: S3Options) -> Refusal:
    """An answer with a good status that says nothing an S3 store would say."""
    what, next_step = _NOT_S3
    return Refusal("MalformedAnswer", 200, RepositoryError(f"repository {options.name!r}: {doing} failed: {what}", place, next_step), True)


def _answered(response: dict[str, Any], operation: str, doing: str, place: str, options: S3Options, secrets: tuple[str, ...]) -> Refusal:
    details = response.get("Error") or {}
    code = str(details.get("Code") or "")
    status = int((response.get("ResponseMetadata") or {}).get("HTTPStatusCode") or 0)
    message = _plain(str(details.get("Message") or ""), secrets)
    # A good status is none when an error came with it: a store that began to answer before it was done (completion).
    transient = code in _TRY_AGAIN_CODES or status in _TRY_AGAIN_STATUS or 200 <= status < 300
    kind: type[RepositoryError] = RepositoryError
    if code in _CREDENTIAL_CODES:
        kind = AccessDenied
        what, next_step = _CREDENTIAL_CODES[code]
    elif code in _REFUSED:
        kind = ObjectMissing if code in ("NoSuchKey", "NoSuchVersion") else RepositoryError
        what, next_step = _REFUSED[code][0].format(bucket=options.bucket), _REFUSED[code][1]
    elif "worm protected" in message.lower() or (code in _DENIED and "object lock" in message.lower()):
        kind = ObjectLocked
        what, next_step = "object lock protects this version", "It can go when its retention has passed."
    elif "objectlock" in message.replace(" ", "").lower():
        what, next_step = "the bucket does not take object locks", "Create it with object lock enabled, or set object_lock: none."
    elif code in _DENIED:
        kind = AccessDenied
        wanted = _PERMISSIONS.get(operation, operation)
        if options.object_lock != "none" and operation in ("put_object", "create_multipart_upload"):
            wanted += " and s3:PutObjectRetention"
        what, next_step = "the credential may not do that", f"Allow it {wanted} on the bucket."
    elif code in _OTHER_REGION:
        region = str(details.get("Region") or _region_header(response))
        what = f"bucket {options.bucket!r} lies in another region"
        next_step = f"Set region: {region}." if region else "Set region to the bucket's, and endpoint to that region's."
    elif code in _DAMAGED_ON_THE_WAY:
        what, next_step = (
            "the bytes that arrived were not those that were sent",
            "Something on the way damages data: memory, network card, proxy?",
        )
    elif code in _BUSY or status == 429:
        what, next_step = "the store asks to slow down", "Lower max_threads, or run at another time."
    elif 200 <= status < 300 and not code:
        what, next_step = _NOT_S3
    elif transient or status >= 500:
        what, next_step = f"the store failed ({code or status})", "Look at the store's own logs and status."
    elif status == 404:
        kind, what, next_step = ObjectMissing, "the store holds no object of that key", ""
    else:
        shown = f"{code or status}: {message}" if message else code or str(status)
        what, next_step = f"the store refused it ({shown})", ""
    return Refusal(code, status, kind(f"repository {options.name!r}: {doing} failed: {what}", place, next_step), transient)


def _unanswered(error: Exception, doing: str, place: str, options: S3Options, secrets: tuple[str, ...]) -> Refusal:
    code = type(error).__name__
    reason = _plain(str(error), secrets)
    kind: type[RepositoryError] = RepositoryError
    transient = False
    if code in ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "ConfigParseError", "ConfigNotFound"):
        kind = AccessDenied
        what, next_step = (
            "no usable credential was found",
            "Name a credentials_file, or a profile that exists, or set the AWS_… environment variables.",
        )
    elif code in (
        "CredentialRetrievalError",
        "TokenRetrievalError",
        "SSOTokenLoadError",
        "UnauthorizedSSOTokenError",
        "RefreshWithMFAUnsupportedError",
    ):
        kind = AccessDenied
        what, next_step = f"the credential could not be renewed ({reason})", "Renew it."
    elif code == "SSLError" and re.search(r"certificate|hostname|self.signed", reason, re.IGNORECASE):
        why = re.search(r"certificate verify failed: ([^(\[]*)", reason)
        what = f"the store's certificate is not trusted ({why.group(1).strip() if why else 'it does not fit the endpoint'})"
        next_step = "Name the authority that signed it by ca_file, or correct endpoint. It is never ignored."
    elif code == "SSLError" and "wrong version number" in reason.lower():
        what, next_step = "the endpoint does not speak TLS", "Is it http:// rather than https://?"
    elif code in ("ConnectTimeoutError", "ReadTimeoutError"):
        transient = True
        seconds = options.connect_timeout_seconds if code == "ConnectTimeoutError" else options.read_timeout_seconds
        what, next_step = f"the store did not answer within {seconds:g} s", "Is it up, and is the way to it open (firewall, proxy)?"
    elif code in ("EndpointConnectionError", "ProxyConnectionError"):
        transient = True
        what, next_step = (
            "the endpoint cannot be reached",
            "Correct endpoint, or look whether the store, the name service and the firewall let you through.",
        )
    elif code in ("ResponseParserError", "XMLParseError"):
        transient = True
        what, next_step = _NOT_S3
    elif code in ("ParamValidationError", "InvalidRegionError", "UnknownEndpointError", "NoRegionError"):
        what, next_step = f"an option cannot be used ({reason})", "Correct region, bucket or endpoint."
    else:
        # Connection cut, protocol broken, TLS torn down in between: the way failed, not the request.
        transient = True
        what, next_step = "the connection to the store broke", "Look at the network, a proxy in between, and the store's own logs."
    return Refusal(code, 0, kind(f"repository {options.name!r}: {doing} failed: {what}", place, next_step), transient)


def _region_header(response: dict[str, Any]) -> str:
    headers = (response.get("ResponseMetadata") or {}).get("HTTPHeaders") or {}
    return str(headers.get("x-amz-bucket-region") or "")


def _plain(text: str, secrets: tuple[str, ...]) -> str:
    for secret in secrets:
        text = text.replace(secret, "…")
    text = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(text.split())[:200]

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a store's refusal means: one sentence, the next step, and whether trying again can help."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import AccessDenied, ObjectMissing, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_faults import Refusal, explain
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_options import parse_s3

OPTIONS = parse_s3("offsite", {"type": "s3", "bucket": "backups"})


class Answered(Exception):
    """As botocore's ClientError: what came back, in `response`."""

    def __init__(self, code: str, status: int, message: str = "", headers: dict[str, str] | None = None, **details: str) -> None:
        super().__init__(message)
        metadata = {"HTTPStatusCode": status, "HTTPHeaders": headers or {}}
        self.response = {"Error": {"Code": code, "Message": message, **details}, "ResponseMetadata": metadata}


def refusal(error: Exception, operation: str = "put_object", options: Any = OPTIONS, secrets: tuple[str, ...] = ()) -> Refusal:
    return explain(error, operation, "publishing", "s3://backups/k", options, secrets)


@pytest.mark.parametrize(
    ("code", "status", "kind", "said"),
    [
        ("NoSuchBucket", 404, RepositoryError, "bucket 'backups' does not exist"),
        ("AccessDenied", 403, AccessDenied, "Allow it s3:PutObject"),
        ("403", 403, AccessDenied, "may not do that"),
        ("InvalidAccessKeyId", 403, AccessDenied, "does not know the access key"),
        ("SignatureDoesNotMatch", 403, AccessDenied, "does not belong to the access key"),
        ("RequestTimeTooSkewed", 403, AccessDenied, "Set the clock right"),
        ("ExpiredToken", 400, AccessDenied, "has expired"),
        ("InvalidToken", 400, AccessDenied, "session token"),
        ("EntityTooLarge", 400, RepositoryError, "smaller volume_size"),
        ("QuotaExceeded", 403, RepositoryError, "quota"),
        ("XMinioStorageFull", 507, RepositoryError, "store is full"),
        ("InvalidObjectState", 403, RepositoryError, "thaw"),
        ("NoSuchUpload", 404, RepositoryError, "lifecycle rule"),
        ("NoSuchKey", 404, ObjectMissing, "no object of that key"),
        ("404", 404, ObjectMissing, "no object of that key"),
        ("SomethingNew", 400, RepositoryError, "SomethingNew: in its own words"),
    ],
)
def test_lasting_refusals(code: str, status: int, kind: type[RepositoryError], said: str) -> None:
    found = refusal(Answered(code, status, "in its own words"))
    assert type(found.error) is kind
    assert said in str(found.error)
    assert not found.transient
    assert str(found.error).startswith("repository 'offsite': publishing failed: ")
    assert "(s3://backups/k)" in str(found.error)


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("SlowDown", 503, "slow down"),
        ("TooManyRequests", 429, "slow down"),
        ("InternalError", 500, "the store failed (InternalError)"),
        ("", 502, "the store failed (502)"),
        ("InternalError", 200, "the store failed (InternalError)"),
        ("", 200, "not as an S3 store"),
        ("BadDigest", 400, "not those that were sent"),
        ("RequestTimeout", 400, "RequestTimeout"),
    ],
)
def test_passing_refusals(code: str, status: int, said: str) -> None:
    found = refusal(Answered(code, status))
    assert found.transient
    assert said in str(found.error)


@pytest.mark.parametrize(
    "error",
    [
        Answered("PermanentRedirect", 301, headers={"x-amz-bucket-region": "eu-central-1"}),
        Answered("AuthorizationHeaderMalformed", 400, Region="eu-central-1"),
    ],
)
def test_another_region_is_named(error: Exception) -> None:
    assert "Set region: eu-central-1." in str(refusal(error).error)


@pytest.mark.parametrize(
    ("name", "text", "transient", "said"),
    [
        ("EndpointConnectionError", "", True, "cannot be reached"),
        ("ConnectTimeoutError", "", True, "within 10 s"),
        ("ReadTimeoutError", "", True, "within 60 s"),
        ("ConnectionClosedError", "", True, "connection to the store broke"),
        ("IncompleteReadError", "", True, "connection to the store broke"),
        (
            "SSLError",
            "certificate verify failed: self-signed certificate (_ssl.c:1)",
            False,
            "self-signed certificate",
        ),
        ("SSLError", "hostname 'x' doesn't match", False, "does not fit the endpoint"),
        ("SSLError", "EOF occurred in violation of protocol", True, "connection to the store broke"),
        ("SSLError", "[SSL: WRONG_VERSION_NUMBER] wrong version number", False, "http:// rather than https://"),
        ("NoCredentialsError", "", False, "no usable credential"),
        ("ProfileNotFound", "", False, "no usable credential"),
        ("TokenRetrievalError", "it is over", False, "could not be renewed"),
        ("ResponseParserError", "", True, "not as an S3 store"),
        ("ParamValidationError", "bad region", False, "bad region"),
    ],
)
def test_what_never_got_an_answer(name: str, text: str, transient: bool, said: str) -> None:
    error = type(name, (Exception,), {})(text)
    found = refusal(error)
    assert found.transient is transient
    assert said in str(found.error)


def test_a_secret_in_the_stores_own_words_is_blotted_out() -> None:
    found = refusal(Answered("Odd", 400, "key AKIA and\nsecret Zq7-secret are odd"), secrets=("Zq7-secret", "AKIA"))
    assert "Zq7" not in str(found.error)
    assert "AKIA" not in str(found.error)
    assert "\n" not in str(found.error)


def test_a_store_cannot_flood_the_log() -> None:
    assert len(str(refusal(Answered("Odd", 400, "x" * 100_000)).error)) < 500


def test_object_lock_is_named() -> None:
    locked = refusal(Answered("AccessDenied", 403, "Access Denied because object protected by object lock."), "delete_object")
    assert "object lock protects" in str(locked.error)
    assert "object lock protects" in str(
        refusal(Answered("InvalidRequest", 400, "Object is WORM protected and cannot be overwritten")).error
    )
    missing = refusal(Answered("InvalidRequest", 400, "Bucket is missing ObjectLockConfiguration"))
    assert "Create it with object lock enabled" in str(missing.error)
    options = parse_s3("offsite", {"type": "s3", "bucket": "backups", "object_lock": "governance", "object_lock_days": 1})
    assert "s3:PutObjectRetention" in str(refusal(Answered("AccessDenied", 403), options=options).error)


def test_what_a_refusal_tells_of() -> None:
    assert refusal(Answered("404", 404)).missing
    assert not refusal(Answered("NoSuchBucket", 404)).missing
    assert refusal(Answered("AccessDenied", 403)).denied
    assert not refusal(Answered("InvalidAccessKeyId", 403)).denied
    assert refusal(Answered("PreconditionFailed", 412)).exists
    assert refusal(Answered("412", 412)).exists
    assert refusal(Answered("NotImplemented", 501)).not_implemented

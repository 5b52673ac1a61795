# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first looks into a bucket, without botocore: loading it takes longer than all else that a run does which finds a young backup.

Only what went well is answered here: a listing or an object, with status 200 and everything in its place. Whatever else
happens is no answer, and botocore asks again: it knows redirects, proxies and all ways to a credential, and its errors are
those that `s3_faults.py` explains. Requests are signed as "Signature Version 4" of the S3 API reference says.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import http.client
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote_plus, urlsplit

from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_options import Credential, S3Options
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import VERSION

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

__all__ = ["can_look", "look", "signed_headers"]

_LISTING_BYTES = 8 * 1024 * 1024
"""A page of a listing is a thousand keys; what is larger is none."""
_EMPTY = hashlib.sha256(b"").hexdigest()
_QUERY = {"Prefix": "prefix", "MaxKeys": "max-keys", "ContinuationToken": "continuation-token"}


def can_look(options: S3Options) -> bool:
    """Whether the plain way leads there: to the endpoint that was named, with the credential of the file that was named."""
    proxied = any(name.lower().endswith("_proxy") and name.lower() != "no_proxy" for name in os.environ)
    return options.endpoint is not None and options.path_style and options.credentials_file is not None and not proxied


def look(options: S3Options, credential: Credential, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    """The answer of `list_objects_v2` or `get_object` as botocore gives it, as far as it is used here; None: ask botocore."""
    path = "/" + options.bucket
    if operation == "list_objects_v2" and set(parameters) <= set(_QUERY):
        query = {"list-type": "2", "encoding-type": "url", **{_QUERY[name]: str(value) for name, value in parameters.items()}}
    elif operation == "get_object" and set(parameters) == {"Key"}:
        path, query = f"{path}/{parameters['Key']}", {}
    else:
        return None
    try:
        answer = _get(options, credential, path, query)
        if answer is None:
            return None
        return _listing(answer.read(_LISTING_BYTES + 1)) if query else _object(answer)
    except (OSError, http.client.HTTPException, ValueError, LookupError):
        return None


def signed_headers(
    options: S3Options, credential: Credential, path: str, query: Mapping[str, str], moment: dt.datetime
) -> tuple[str, dict[str, str]]:
    """The target of a GET request, and its headers with their signature."""
    parts = urlsplit(options.endpoint or "")
    stamp, region = moment.strftime("%Y%m%dT%H%M%SZ"), options.region or "us-east-1"
    headers = {"host": parts.netloc, "x-amz-content-sha256": _EMPTY, "x-amz-date": stamp}
    if credential.session_token:
        headers["x-amz-security-token"] = credential.session_token
    target = quote(parts.path + path, safe="/~")
    words = "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in sorted(query.items()))
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    request = f"GET\n{target}\n{words}\n{lines}\n{names}\n{_EMPTY}"
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    signed = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{credential.secret_key}".encode()
    for word in scope.split("/"):
        key = hmac.digest(key, word.encode(), "sha256")
    signature = hmac.digest(key, signed.encode(), "sha256").hex()
    headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={credential.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    return target + (f"?{words}" if words else ""), headers


def _get(options: S3Options, credential: Credential, path: str, query: Mapping[str, str]) -> http.client.HTTPResponse | None:
    """An answer with status 200, its body still to be read. Its connection is its own and ends with it."""
    parts = urlsplit(options.endpoint or "")
    host, timeout = parts.hostname or "", options.connect_timeout_seconds
    connection = http.client.HTTPConnection(host, parts.port, timeout=timeout)
    if parts.scheme == "https":
        import ssl

        context = ssl.create_default_context(cafile=options.ca_file or os.environ.get("AWS_CA_BUNDLE"))
        connection = http.client.HTTPSConnection(host, parts.port, timeout=timeout, context=context)
    target, headers = signed_headers(options, credential, path, query, dt.datetime.now(dt.timezone.utc))
    kept = False
    try:
        connection.connect()
        connection.sock.settimeout(options.read_timeout_seconds)
        connection.request("GET", target, headers={**headers, "connection": "close", "user-agent": f"lifeboat/{VERSION}"})
        answer = connection.getresponse()
        kept = answer.status == 200
        return answer if kept else None
    finally:
        if not kept:
            connection.close()


def _object(answer: http.client.HTTPResponse) -> dict[str, Any] | None:
    length, etag = answer.getheader("content-length"), answer.getheader("etag")
    # Whatever is packed on its way has another length than the object.
    if length is None or etag is None or answer.getheader("content-encoding"):
        answer.close()
        return None
    found = {"Body": _Body(answer), "ContentLength": int(length), "ETag": etag}
    version = answer.getheader("x-amz-version-id")
    return found if version is None else {**found, "VersionId": version}


class _Body:
    """Bytes of an object, read as botocore's are."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self._answer = answer

    def read(self, size: int) -> bytes:
        """The next bytes; b"" at the end, or where the connection broke. Raises `OSError`."""
        try:
            return self._answer.read(size)
        except http.client.HTTPException as error:
            raise OSError(f"the connection broke: {type(error).__name__}") from None

    def close(self) -> None:
        self._answer.close()


def _listing(document: bytes) -> dict[str, Any] | None:
    if len(document) > _LISTING_BYTES or b"<!DOCTYPE" in document:
        return None
    from xml.etree import ElementTree

    try:
        root = ElementTree.fromstring(document)  # noqa: S314 - it declares nothing, which was looked at
    except ElementTree.ParseError:
        return None
    if _name(root) != "ListBucketResult":
        return None
    page = _texts(root)
    decoded = unquote_plus if page.get("EncodingType") == "url" else str
    found: dict[str, Any] = {"IsTruncated": {"true": True, "false": False}[page["IsTruncated"]], "Contents": []}
    for entry in root:
        if _name(entry) == "Contents":
            texts = _texts(entry)
            found["Contents"].append(
                {
                    "Key": decoded(texts["Key"]),
                    "Size": int(texts["Size"]),
                    "ETag": texts.get("ETag", ""),
                    "LastModified": dt.datetime.fromisoformat(texts["LastModified"].replace("Z", "+00:00")),
                }
            )
    if page.get("NextContinuationToken"):
        found["NextContinuationToken"] = page["NextContinuationToken"]
    return found


def _texts(element: Element) -> dict[str, str]:
    return {_name(child): child.text or "" for child in element}


def _name(element: Element) -> str:
    """Without its namespace: not every store writes one."""
    return element.tag.rpartition("}")[2]

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A request of our own is signed as botocore signs it."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_look import can_look, signed_headers
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_options import Credential, S3Options, parse_s3


def options(**more: Any) -> S3Options:
    given = {"type": "s3", "bucket": "backups", "endpoint": "http://127.0.0.1:9000", "credentials_file": "/c", **more}
    return parse_s3("offsite", given)


@pytest.mark.needs("library:botocore")
@pytest.mark.parametrize("token", [None, "session/token+1="])
@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9000", "https://s3.example.net", "https://gate.example.net:8443/at/s3"])
@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/backups/some/where/shop/database/shop/20261121T031500Z-1a2b3c4d/database.dump.zst.age", {}),
        ("/backups/ein System/Größe~%2F+(1)&=?/x", {}),
        (
            "/backups",
            {"list-type": "2", "encoding-type": "url", "prefix": "a b/ü&=+~", "max-keys": "1000", "continuation-token": "a/b+c=="},
        ),
    ],
)
def test_the_signature_is_the_one_that_botocore_makes(path: str, query: dict[str, str], endpoint: str, token: str | None) -> None:
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    def ours(moment: dt.datetime) -> tuple[str, dict[str, str]]:
        return signed_headers(options(endpoint=endpoint), Credential("AKID", "secret", token), path, query, moment)

    request = AWSRequest("GET", endpoint.partition("/at/")[0] + ours(dt.datetime.now(dt.timezone.utc))[0])
    S3SigV4Auth(Credentials("AKID", "secret", token), "s3", "us-east-1").add_auth(request)
    _target, headers = ours(dt.datetime.strptime(f"{request.headers['X-Amz-Date']}+0000", "%Y%m%dT%H%M%SZ%z"))
    assert request.headers["Authorization"] == headers["authorization"]
    assert all(request.headers[name] == value for name, value in headers.items() if name != "host")


def test_only_the_plain_way_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert can_look(options())
    assert not can_look(options(credentials_file=None))
    assert not can_look(options(path_style=False))
    assert not can_look(parse_s3("offsite", {"type": "s3", "bucket": "backups", "credentials_file": "/c"}))
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.net:3128")
    assert not can_look(options())

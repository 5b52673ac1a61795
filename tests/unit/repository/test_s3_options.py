# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of S3, and the file that a credential comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_options import S3Options, parse_s3, read_credential

CREDENTIALS = """
[default]
aws_access_key_id = AKIADEFAULT
aws_secret_access_key = Zq7-secret/of+the%default

[backups]
aws_access_key_id = AKIABACKUPS
aws_secret_access_key = Zq7-secret-of-backups
aws_session_token = Zq7-token
"""


def given(**options: Any) -> S3Options:
    return parse_s3("offsite", {"type": "s3", "bucket": "backups", **options})


@pytest.fixture
def credentials_file(tmp_path: Path) -> Path:
    path = tmp_path / "credentials"
    path.write_text(CREDENTIALS)
    path.chmod(0o600)
    return path


def test_has_defaults_that_bound_memory_and_time() -> None:
    options = given()
    assert options.part_bytes * (options.max_threads + 1) == 32 * 1024 * 1024
    assert options.deadline_seconds == 210
    assert options.object_lock == "none"


def test_puts_the_bucket_into_the_path_for_a_private_endpoint_only() -> None:
    assert not given().path_style
    assert given(endpoint="http://10.0.0.5:9000").path_style
    assert not given(endpoint="https://s3.example.net", path_style=False).path_style


@pytest.mark.parametrize(("prefix", "kept"), [("", ""), ("/", ""), ("shop", "shop/"), ("/shop/eu/", "shop/eu/")])
def test_takes_a_prefix_with_or_without_slashes(prefix: str, kept: str) -> None:
    assert given(prefix=prefix).prefix == kept


def test_says_its_place() -> None:
    assert given(prefix="shop").place() == "s3://backups/shop/"
    assert given(endpoint="http://10.0.0.5:9000").place("a/b") == "s3://backups/a/b at http://10.0.0.5:9000"


def test_reads_the_profile_that_is_named(credentials_file: Path) -> None:
    credential = read_credential(given(credentials_file=str(credentials_file)))
    assert credential is not None
    assert (credential.access_key, credential.secret_key) == ("AKIADEFAULT", "Zq7-secret/of+the%default")
    credential = read_credential(given(credentials_file=str(credentials_file), profile="backups"))
    assert credential is not None
    assert (credential.access_key, credential.session_token) == ("AKIABACKUPS", "Zq7-token")


def test_shows_nothing_of_a_credential(credentials_file: Path) -> None:
    credential = read_credential(given(credentials_file=str(credentials_file), profile="backups"))
    for shown in (repr(credential), str(credential), f"{credential}"):
        assert shown == "Credential(…)"


def test_has_none_where_no_file_is_named() -> None:
    assert read_credential(given()) is None


@pytest.mark.parametrize(
    ("content", "mode", "profile", "said"),
    [
        (CREDENTIALS, 0o604, None, "open to every user"),
        (CREDENTIALS, 0o600, "nobody", "lacks 'nobody' for the profile 'nobody'"),
        ("[default]\naws_access_key_id = Zq7\n", 0o600, None, "lacks 'aws_secret_access_key'"),
        ("Zq7-secret without a section", 0o600, None, "not in the AWS credentials format"),
        ("[default]\nZq7-secret and no equals sign", 0o600, None, "not in the AWS credentials format"),
        (b"\xff\xfeZq7", 0o600, None, "not in the AWS credentials format"),
    ],
)
def test_names_what_is_wrong_with_a_file_and_quotes_nothing_of_it(
    tmp_path: Path, content: str | bytes, mode: int, profile: str | None, said: str
) -> None:
    path = tmp_path / "credentials"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    with pytest.raises(ConfigurationError) as caught:
        read_credential(given(credentials_file=str(path), profile=profile))
    assert said in str(caught.value)
    assert "Zq7" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_names_a_file_that_is_not_there() -> None:
    with pytest.raises(ConfigurationError, match="/nonexistent/s3: no such file"):
        read_credential(given(credentials_file="/nonexistent/s3"))


def test_a_group_may_read_the_file(credentials_file: Path) -> None:
    credentials_file.chmod(0o640)
    assert read_credential(given(credentials_file=str(credentials_file))) is not None

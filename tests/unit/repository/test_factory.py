# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of repositories: each mistake is one sentence that names the repository and the option."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import TYPES, open_repository, validate

S3 = {"type": "s3", "bucket": "backups"}
POSIX = {"type": "posix", "path": "/var/backups/lifeboat"}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({}, "type is required"),
        ({"type": "ftp"}, "Did you mean 'sftp'"),
        ({"type": "tape-in-the-attic"}, "Known are: posix, s3, sftp, rclone"),
        ({"type": "posx"}, "Did you mean 'posix'"),
        ("/var/backups", "expected a mapping"),
        ({"type": "posix"}, "path is required"),
        ({**POSIX, "path": "backups"}, "path 'backups' is not absolute"),
        ({**POSIX, "path": "/"}, "the whole machine"),
        ({**POSIX, "path": "/var/.."}, "the whole machine"),
        ({**POSIX, "pth": "/x"}, "Did you mean 'path'"),
        ({"type": "s3"}, "bucket is required"),
        ({**S3, "bucket": "s3://backups/x"}, "without s3://"),
        ({**S3, "bukcet": "x"}, "Did you mean 'bucket'"),
        ({**S3, "prefx": "x"}, "Did you mean 'prefix'"),
        ({**S3, "prefix": "a/../b"}, "prefix 'a/../b' is not a safe key"),
        ({**S3, "endpoint": "s3.example.net"}, "endpoint 's3.example.net' is not a URL"),
        ({**S3, "endpoint": "https://s3.example.net:port"}, "endpoint is not a URL"),
        ({**S3, "endpoint": "https://key:secret@s3.example.net"}, "endpoint holds a credential"),
        ({**S3, "path_style": "maybe"}, "path_style: expected true or false"),
        ({**S3, "ca_file": "ca.pem"}, "ca_file 'ca.pem' is not absolute"),
        ({**S3, "credentials_file": "~/.aws/credentials"}, "credentials_file '~/.aws/credentials' is not absolute"),
        ({**S3, "connect_timeout": "soon"}, "connect_timeout: expected a duration"),
        ({**S3, "read_timeout": 0}, "read_timeout is 0 seconds"),
        ({**S3, "part_size": "1MiB"}, "part_size is 1048576, the least is 5242880"),
        ({**S3, "part_size": "128MiB"}, "more than 256 MiB"),
        ({**S3, "max_threads": 0}, "max_threads is 0, the least is 1"),
        ({**S3, "object_lock": "complianc"}, "Did you mean 'compliance'"),
        ({**S3, "object_lock": "compliance"}, "belong together"),
        ({**S3, "object_lock_days": 30}, "belong together"),
        ({**S3, "object_lock": "governance", "object_lock_days": 0}, "object_lock_days is 0, the least is 1"),
    ],
)
def test_names_the_mistake(spec: Any, said: str) -> None:
    for use in (validate, open_repository):
        with pytest.raises(ConfigurationError) as caught:
            use("offsite", spec)
        assert said in str(caught.value)
        assert "repository 'offsite'" in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["access_key", "secret_key", "aws_secret_access_key", "session_token", "password"])
def test_refuses_a_secret_among_the_options_and_does_not_repeat_it(key: str) -> None:
    with pytest.raises(ConfigurationError, match="credentials_file") as caught:
        validate("offsite", {**S3, key: "Zq7-the-secret"})
    assert "Zq7" not in str(caught.value)


def test_does_not_repeat_the_credential_in_an_endpoint() -> None:
    with pytest.raises(ConfigurationError) as caught:
        validate("offsite", {**S3, "endpoint": "https://key:Zq7-the-secret@s3.example.net"})
    assert "Zq7" not in str(caught.value)


@pytest.mark.parametrize(
    "spec",
    [
        POSIX,
        S3,
        {
            **S3,
            "prefix": "/shop/",
            "endpoint": "https://s3.example.net/",
            "region": "eu-central-1",
            "path_style": "yes",
            "ca_file": "/etc/ssl/private-ca.pem",
            "credentials_file": "/etc/lifeboat/s3",
            "profile": "backups",
            "connect_timeout": "5s",
            "read_timeout": 30,
            "part_size": "16MiB",
            "max_threads": 4,
            "object_lock": "compliance",
            "object_lock_days": 30,
        },
    ],
)
def test_takes_what_is_right_and_touches_nothing(spec: dict[str, Any]) -> None:
    validate("offsite", spec)
    with open_repository("offsite", spec) as repository:
        assert repository.name == "offsite"
        assert repository.type == spec["type"]
        assert repository.description()["type"] == spec["type"]


def test_knows_its_types() -> None:
    assert TYPES == ("posix", "s3", "sftp", "rclone")


def test_describes_the_place_with_its_prefix() -> None:
    repository = open_repository("offsite", {**S3, "prefix": "/shop/", "endpoint": "https://s3.example.net/"})
    assert repository.description() == {"type": "s3", "bucket": "backups", "prefix": "shop/", "endpoint": "https://s3.example.net"}


def test_says_how_large_an_object_may_be() -> None:
    assert open_repository("here", POSIX).max_object_bytes is None
    assert open_repository("offsite", S3).max_object_bytes == 10_000 * 8 * 1024 * 1024
    assert open_repository("offsite", {**S3, "part_size": "5MiB"}).max_object_bytes == 10_000 * 5 * 1024 * 1024

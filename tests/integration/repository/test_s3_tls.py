# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""S3 over TLS: a private authority works, and nothing that is not trusted is talked to."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from support.parts import require
from support.store_fixtures import Bucket
from support.stores import Store, rclone_s3, versitygw

pytestmark = pytest.mark.usefixtures("no_ambient_aws")

MIB = 1024 * 1024


@pytest.fixture(scope="module", params=["rclone", "versitygw"])
def tls_store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    require("program:rclone" if request.param == "rclone" else "store:versitygw", "library:cryptography")
    with (rclone_s3 if request.param == "rclone" else versitygw)(tmp_path_factory.mktemp("tls"), tls=True) as store:
        yield store


def test_works_with_a_private_authority(tls_store: Store) -> None:
    bucket = Bucket(tls_store)
    data = os.urandom(11 * MIB)
    repository = open_repository("offsite", bucket.spec())
    repository.put("large", data)
    assert repository.read("large") == data


def test_an_unknown_authority_is_refused_with_the_way_out(tls_store: Store) -> None:
    spec = {key: value for key, value in tls_store.spec().items() if key != "ca_file"}
    with pytest.raises(RepositoryError, match=r"not trusted .*ca_file"):
        open_repository("offsite", spec).put("a", b"1")


def test_a_certificate_for_another_name_is_refused(tls_store: Store) -> None:
    spec = tls_store.spec(endpoint=tls_store.endpoint.replace("127.0.0.1", "localhost"))
    with pytest.raises(RepositoryError, match="not trusted"):
        open_repository("offsite", spec).put("a", b"1")


def test_plain_http_to_a_tls_port_is_said(tls_store: Store) -> None:
    plain = tls_store.endpoint.replace("https", "http")
    with pytest.raises(RepositoryError, match="repository 'offsite'"):
        open_repository("offsite", tls_store.spec(endpoint=plain, read_timeout=0.3, connect_timeout=0.3)).put("a", b"1")


def test_tls_to_a_plain_port_is_said(rclone_server: Store) -> None:
    with pytest.raises(RepositoryError, match="does not speak TLS"):
        open_repository("offsite", rclone_server.spec(endpoint=rclone_server.endpoint.replace("http", "https"))).put("a", b"1")


def test_a_missing_ca_file_is_said(tls_store: Store) -> None:
    with pytest.raises(ConfigurationError, match="ca_file /nonexistent"):
        open_repository("offsite", tls_store.spec(ca_file="/nonexistent")).put("a", b"1")

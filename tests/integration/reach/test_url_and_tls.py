# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server over TLS, by its URL: backed up whole when everything is right, refused by name when it is not; and poolers."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import DatabaseError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import open_connection
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.pooler import refuse_pooler
from support.certificates import Certificates, make_certificates
from support.clusters import Server, account
from support.modules import run_module
from support.parts import require
from support.poolers import pgbouncer

PASSWORD = "s3c/ret@word: %41"

HBA = """local all all trust
hostnossl all all 127.0.0.1/32 reject
hostssl all backup,certified 127.0.0.1/32 cert
hostssl all all 127.0.0.1/32 scram-sha-256
"""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def tls_server(certificates: Certificates) -> Iterator[Server]:
    """PostgreSQL 15 that lets nobody in without TLS, `certified` only with a certificate of its own, for the client `backup`."""
    require("postgresql:15")
    with Server(15, tcp=True) as server:
        for name, file in (("server.crt", certificates.certificate), ("server.key", certificates.key), ("root.crt", certificates.ca)):
            shutil.copy(file, server.data / name)
            (server.data / name).chmod(0o600)
            owner = account()
            if owner is not None:
                os.chown(server.data / name, owner.pw_uid, owner.pw_gid)
        (server.data / "pg_hba.conf").write_text(HBA)
        server.halt()
        server.settings.update(ssl="on", ssl_cert_file="server.crt", ssl_key_file="server.key", ssl_ca_file="root.crt")
        server.start()
        with server.connect() as connection:
            connection.execute("CREATE DATABASE shop")
            secret = connection.pgconn.encrypt_password(PASSWORD.encode(), b"keeper", b"scram-sha-256").decode()
            connection.execute(f"CREATE ROLE keeper LOGIN IN ROLE pg_read_all_data PASSWORD '{secret}'")
            connection.execute("CREATE ROLE backup LOGIN IN ROLE pg_read_all_data; CREATE ROLE certified LOGIN IN ROLE pg_read_all_data")
        server.execute("CREATE TABLE t AS SELECT generate_series(1, 100) AS n", "shop")
        yield server


def url(server: Server, host: str = "127.0.0.1", password: str = PASSWORD, **parameters: object) -> str:
    query = "&".join(f"{name}={quote(str(value), '')}" for name, value in parameters.items())
    return f"postgresql://keeper:{quote(password, '')}@{host}:{server.port}/shop?{query}"


def test_a_url_with_verified_tls_is_all_that_a_backup_needs(
    tls_server: Server, certificates: Certificates, asked: Callable[..., dict[str, Any]]
) -> None:
    """Both pg_dump and the session that counts log in with the password and the authority of the URL, and with TLS only."""
    result = run(asked(login_url=url(tls_server, sslmode="verify-full", sslrootcert=certificates.ca), bin_dir=str(tls_server.bin_dir)))
    assert result["changed"]
    assert result["evidence"] == {**result["evidence"], "tables": 1, "uncounted": 0}
    manifest = next(Path(asked()["repositories"]["here"]["path"]).glob("shop/manifests/database/shop/*.json"))
    assert "s3c" not in manifest.read_text()


def test_a_client_certificate_is_a_login(tls_server: Server, certificates: Certificates, asked: Callable[..., dict[str, Any]]) -> None:
    given = asked(
        login_host="127.0.0.1",
        login_port=tls_server.port,
        login_user="backup",
        login_db="shop",
        ssl_mode="verify-ca",
        ca_cert=str(certificates.ca),
        ssl_cert=str(certificates.client_certificate),
        ssl_key=str(certificates.client_key),
        bin_dir=str(tls_server.bin_dir),
    )
    assert run(given)["changed"]


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Of an authority that the server does not know."""
    return make_certificates(tmp_path_factory.mktemp("strangers"))


REFUSALS: Mapping[str, tuple[Callable[[Server, Certificates, Certificates], dict[str, Any]], str]] = {
    "another authority": (
        lambda server, _ours, other: {"login_url": url(server, sslmode="verify-full", sslrootcert=other.ca)},
        "not signed by an authority that ca_cert names",
    ),
    "another name": (
        lambda server, ours, _other: {"login_url": url(server, "localhost", sslmode="verify-full", sslrootcert=ours.ca)},
        "certificate is for another name than login_host",
    ),
    "no file of authorities": (
        lambda server, _ours, _other: {"login_url": url(server, sslmode="verify-full")},
        "no file of authorities.*ca_cert",
    ),
    "without TLS": (
        lambda server, _ours, _other: {"login_url": url(server, sslmode="disable")},
        r"refus|no pg_hba\.conf entry",
    ),
    "without a certificate": (
        lambda server, _ours, _other: {"login_host": "127.0.0.1", "login_port": server.port, "login_user": "certified", "login_db": "shop"},
        "wants a client certificate.*ssl_cert",
    ),
    "a stranger's certificate": (
        lambda server, _ours, other: {
            "login_host": "127.0.0.1", "login_port": server.port, "login_user": "certified", "login_db": "shop", "ssl_mode": "require",
            "ssl_cert": str(other.client_certificate), "ssl_key": str(other.client_key),
        },
        "wants a client certificate that it knows",
    ),
    "another's certificate": (
        lambda server, ours, _other: {
            "login_host": "127.0.0.1", "login_port": server.port, "login_user": "certified", "login_db": "shop", "ssl_mode": "require",
            "ssl_cert": str(ours.client_certificate), "ssl_key": str(ours.client_key),
        },
        "refused the login of 'certified'",
    ),
    "a wrong password": (
        lambda server, _ours, _other: {"login_url": url(server, password="wrong-s3cret", sslmode="require")},
        "refused the login of 'keeper'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_what_is_wrong_with_tls_is_said_by_name(
    name: str, tls_server: Server, certificates: Certificates, strangers: Certificates, asked: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setenv("HOME", str(tmp_path))  # no ~/.postgresql of a person's own
    way, words = REFUSALS[name]
    with pytest.raises(DatabaseError, match=words) as caught:
        run(asked(**way(tls_server, certificates, strangers), bin_dir=str(tls_server.bin_dir)))
    assert "s3c" not in str(caught.value)


def test_the_module_hides_the_url_and_names_what_contradicts_it(
    tls_server: Server, asked: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    given = asked(login_url=url(tls_server, sslmode="require"), bin_dir=str(tls_server.bin_dir))
    result = run_module("pg_logical_backup", given, tmp_path, check=True)
    assert (result["failed"], result["changed"]) == (False, True), result
    assert "s3c" not in json.dumps(result)
    refused = run_module("pg_logical_backup", {**given, "login_host": "elsewhere"}, tmp_path)
    assert "login_host and the connection URL say different things" in refused["msg"]
    assert "s3c" not in json.dumps(refused)


@pytest.mark.needs("program:pgbouncer")
def test_a_pool_that_shares_sessions_out_is_refused_and_the_direct_connection_named(postgres18: Server, asked: Callable[..., Any]) -> None:
    with postgres18.database() as name, pgbouncer(postgres18, "transaction") as login:
        given = asked(login_host=login.host, login_port=login.port, login_db=name, bin_dir=str(postgres18.bin_dir))
        with pytest.raises(DatabaseError, match=r"connection pooler stands before the server.*direct connection"):
            run(given)
        with pytest.raises(DatabaseError, match="connection pooler"):
            run(given, check_mode=True)


@pytest.mark.needs("program:pgbouncer")
def test_a_pool_of_whole_sessions_is_no_hindrance(postgres18: Server, asked: Callable[..., Any]) -> None:
    with postgres18.database() as name, pgbouncer(postgres18, "session") as login:
        assert run(asked(login_host=login.host, login_port=login.port, login_db=name, bin_dir=str(postgres18.bin_dir), globals="false"))[
            "changed"
        ]
    with open_connection(postgres18.login(), application_name="direct") as connection:
        refuse_pooler(connection, postgres18.login())

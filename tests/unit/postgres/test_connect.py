# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A login: read from options, written as a connection string, refused in one sentence."""

from __future__ import annotations

import os

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import Login
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.credentials import client_credentials
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.faults import connection_fault
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.login import read_login
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict


def test_options_are_spelled_as_community_postgresql_spells_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGPASSWORD", raising=False)
    given_options = {"login_host": "db1", "login_port": "5433", "login_user": "backup", "login_password": "geheim", "login_db": "shop"}
    login = read_login(given_options)
    assert login == Login(host="db1", port=5433, user="backup", password="geheim", dbname="shop", ssl_mode="prefer")
    assert "geheim" not in repr(login)
    assert read_login({"login_db": "shop"}) == Login(dbname="shop", ssl_mode="prefer")
    assert read_login({"login_db": "shop", "login_host": "localhost", "login_unix_socket": "/s"}) == Login(
        unix_socket="/s", dbname="shop", ssl_mode="prefer"
    )
    with pytest.raises(ConfigurationError, match="two servers"):
        read_login({"login_db": "shop", "login_host": "db1", "login_unix_socket": "/s"})
    with pytest.raises(ConfigurationError, match="login_db"):
        read_login({})


def test_a_password_of_the_environment_is_taken_for_every_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "geheim")
    login = read_login({"login_db": "shop"})
    assert login.password == "geheim"
    with client_credentials(login) as credentials:
        assert "PGPASSWORD" not in credentials.env


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40))
def test_any_name_stays_a_name_in_the_connection_string(name: str) -> None:
    parsed = conninfo_to_dict(Login(host="db1", user=name, dbname=name).conninfo(name))
    assert (parsed["host"], parsed["dbname"], parsed["user"], parsed["application_name"]) == ("db1", name, name, name)
    assert "password" not in parsed


def test_the_password_file_has_no_name_and_escapes_what_it_must() -> None:
    if not hasattr(os, "memfd_create"):
        with client_credentials(Login(password="geheim")) as credentials:
            assert credentials.env["PGPASSWORD"] == "geheim"
        return
    with client_credentials(Login(password="a:b\\c")) as credentials:
        (descriptor,) = credentials.pass_fds
        assert os.pread(descriptor, 100, 0) == b"*:*:*:*:a\\:b\\\\c\n"
        assert os.fstat(descriptor).st_mode & 0o777 == 0o600
        assert credentials.env["PGPASSFILE"] == f"/proc/self/fd/{descriptor}"
        assert "a:b" not in repr(credentials)
    with pytest.raises(OSError):
        os.fstat(descriptor)


def test_a_password_with_a_line_break_is_refused_with_its_likely_cause() -> None:
    with pytest.raises(ConfigurationError, match=r"line break.*newline"), client_credentials(Login(password="geheim\n")):
        pass


def test_variables_that_lead_elsewhere_do_not_reach_the_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGHOSTADDR", "PGSERVICE", "PGOPTIONS", "PGDATABASE"):
        monkeypatch.setenv(name, "evil")
    monkeypatch.setenv("PGSSLROOTCERT", "/ca")
    with client_credentials(Login()) as credentials:
        assert {name for name in credentials.env if name.startswith("PG")} <= {"PGSSLROOTCERT", "PGPASSFILE"}
        assert credentials.env["LC_ALL"] == "C"


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ('connection to server at "10.0.0.1", port 5432 failed: Connection refused', "no server answers there"),
        (
            'connection to server on socket "/s/.s.PGSQL.5432" failed: No such file or directory\n\tIs the server running',
            "no server answers",
        ),
        ('FATAL:  password authentication failed for user "b"', "password is wrong"),
        ('FATAL:  Peer authentication failed for user "b"', "this host's user may not be that role"),
        ("fe_sendauth: no password supplied", "asks for a password"),
        ('FATAL:  database "shop" does not exist', "there is no database 'shop'"),
        ('FATAL:  role "b" does not exist', "there is no role 'b'"),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.9", user "b", database "shop", no encryption', "no pg_hba.conf entry"),
        ("FATAL:  sorry, too many clients already", "takes no more connections"),
        ('FATAL:  too many connections for role "b"', "takes no more connections"),
        ("FATAL:  the database system is starting up", "starting up or recovering"),
        ("FATAL:  the database system is not yet accepting connections", "starting up or recovering"),
        ("FATAL:  the database system is shutting down", "shutting down"),
        ('FATAL:  role "b" is not permitted to log in', "has no LOGIN"),
        ("server does not support SSL, but SSL was required", "encrypted connection"),
        ("failed to resolve host 'db9': [Errno -2] Name or service not known", "name is not known"),
        ("connection timeout expired", "nothing answered in time"),
        ("FATAL:  etwas anderes", "the server refused the connection: FATAL:  etwas anderes"),
    ],
)
def test_a_refused_login_says_what_to_do(said: str, what: str) -> None:
    error = connection_fault(Exception(said), "database 'shop' on db1:5432", "b", "shop")
    assert what in error.what
    assert error.next_step or "anderes" in said

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A connection URL: read as libpq reads it, contradicted by nothing, refused in one sentence that shows nothing of it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, SealError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import Login
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.login import read_login
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.url import parse_url
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
MANAGED = "postgresql://backup:s3cret@db.example.net:6543/shop?sslmode=require&channel_binding=require&options=endpoint%3Dep-1"


@given(WORDS, WORDS, WORDS, st.integers(1, 65535))
def test_a_url_is_read_as_libpq_reads_it(user: str, password: str, dbname: str, port: int) -> None:
    url = f"postgresql://{quote(user, '')}:{quote(password, '')}@db1:{port}/{quote(dbname, '')}?sslmode=require"
    ours, libpq = parse_url(url), conninfo_to_dict(url)
    assert (ours.user, ours.password, ours.host, str(ours.port), ours.dbname, ours.ssl_mode) == tuple(
        libpq[word] for word in ("user", "password", "host", "port", "dbname", "sslmode")
    )


@pytest.mark.parametrize(
    "url",
    [
        "postgres://u@[::1]:5433/d",
        "postgresql://",
        "postgresql:///d?host=/var/run/postgresql&user=u",
        "postgresql://u@h/d?sslrootcert=/ca.pem&sslcert=%2Fc.pem&sslkey=/k.pem",
        "postgresql://h",
    ],
)
def test_every_form_of_a_url_is_read_as_libpq_reads_it(url: str) -> None:
    ours = parse_url(url)
    libpq = {"host": ours.host, "port": str(ours.port or ""), "user": ours.user, "dbname": ours.dbname, "sslrootcert": ours.ca_cert}
    libpq |= {"sslcert": ours.ssl_cert, "sslkey": ours.ssl_key}
    assert {name: value for name, value in libpq.items() if value} == conninfo_to_dict(url)


def test_a_url_is_a_whole_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGPASSWORD", raising=False)
    login = read_login({"login_url": MANAGED, "login_port": 5432, "login_user": "postgres", "ssl_mode": "prefer"})
    assert (login.host, login.port, login.user, login.password, login.dbname) == ("db.example.net", 6543, "backup", "s3cret", "shop")
    parsed = conninfo_to_dict(login.conninfo("test"))
    assert (parsed["sslmode"], parsed["channel_binding"], parsed["options"]) == ("require", "require", "endpoint=ep-1")
    assert "s3cret" not in login.conninfo("test") + repr(login)
    # What the URL leaves open, an option may say; what both say alike is no contradiction.
    assert read_login({"login_url": "postgresql://u@h", "login_db": "d", "login_password": "p"}).dbname == "d"
    assert read_login({"login_url": MANAGED, "login_db": "shop", "login_host": "db.example.net"}) == login


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("login_host", "elsewhere"),
        ("login_port", 5433),
        ("login_user", "other"),
        ("login_password", "other"),
        ("login_unix_socket", "/run/postgresql"),
        ("login_db", "licences"),
        ("ssl_mode", "disable"),
    ],
)
def test_an_option_that_says_another_thing_than_the_url_is_named(option: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"{option} and the connection URL say different things") as caught:
        read_login({"login_url": MANAGED, option: value})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("db.example.net/shop", "no connection URL"),
        ("mysql://u:s3cret@h/d", "another kind"),
        ("postgresql+asyncpg://u:s3cret@h/d", "SQLAlchemy"),
        ("postgresql://u:s3cret@h1,h2/d", "several hosts"),
        ("postgresql://u:s3/cret@h/d", "port is not a number.*%2F"),
        ("postgresql://u:s3cret@h:99999/d", "port is not a number"),
        ("postgresql://u:s3#cret@h/d", "malformed.*%40"),
        ("postgresql://u:s3cret@[::1/d", "malformed"),
        ("postgresql://u:s3cret@h/d?sslmode=verify_full", "sslmode is unknown.*'verify-full'"),
        ("postgresql://u:s3cret@h/d?sslmod=require", "unknown parameter 'sslmod'.*'sslmode'"),
        ("postgresql://u:s3cret@h/d?pgbouncer=true", "connection pooler.*direct"),
        ("postgresql://u:s3cret@h/d?schema=public", "'schema' is for an application's library"),
        ("postgresql://u:s3cret@h/d?application_name=x", "a backup decides itself"),
        ("postgresql://u:s3cret@h/d?options=-c%20search_path%3Dx", "settings of the session"),
        ("postgresql://u:s3cret@h/d?user=v", "'user' twice"),
        ("postgresql://u:s3cret@h/d?channel_binding=maybe", "channel_binding"),
        ("postgresql://u:s3cret@h", "login_db is required.*URL"),
    ],
)
def test_a_url_that_cannot_be_is_answered_in_one_sentence_without_its_secret(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        read_login({"login_url": url})
    assert "s3" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_url_can_lie_in_a_file_that_nobody_else_can_read(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(f"{MANAGED}\n")
    file.chmod(0o600)
    assert read_login({"login_url_file": str(file)}).password == "s3cret"
    with pytest.raises(ConfigurationError, match="both given"):
        read_login({"login_url_file": str(file), "login_url": MANAGED})
    file.chmod(0o644)
    with pytest.raises(SealError, match=r"others can read it.*chmod 600") as caught:
        read_login({"login_url_file": str(file)})
    assert "s3cret" not in str(caught.value)
    file.chmod(0o600)
    file.write_text(f"{MANAGED}\n{MANAGED}\n")
    with pytest.raises(ConfigurationError, match="not one line"):
        read_login({"login_url_file": str(file)})


def test_files_for_tls_are_looked_at_before_anything_runs(tmp_path: Path) -> None:
    here = tmp_path / "client.pem"
    here.write_text("x")
    here.chmod(0o644)
    base = {"login_db": "shop", "login_host": "db1"}
    with pytest.raises(ConfigurationError, match=r"ca_cert is not a file.*/nowhere"):
        read_login({**base, "ca_cert": "/nowhere"})
    with pytest.raises(ConfigurationError, match="ssl_cert is given without ssl_key"):
        read_login({**base, "ssl_cert": str(here)})
    with pytest.raises(ConfigurationError, match=r"ssl_key can be read by others \(mode 0644\).*chmod 600"):
        read_login({**base, "ssl_cert": str(here), "ssl_key": str(here)})
    with pytest.raises(ConfigurationError, match="ssl_mode: unknown value 'verify'"):
        read_login({**base, "ssl_mode": "verify"})
    here.chmod(0o600)
    login = read_login({**base, "ssl_cert": str(here), "ssl_key": str(here), "ca_cert": "system"})
    assert login == Login(
        host="db1", dbname="shop", ssl_mode="prefer", ca_cert="system", ssl_cert=str(here), ssl_key=str(here), password=login.password
    )

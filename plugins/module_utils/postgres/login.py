# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A login, read from options: the words of community.postgresql, or one connection URL in their place.

A URL and an option that say the same thing differently are refused: which of the two was meant is not for us to guess.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import SSL_MODES, Login
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.secret_file import read_secret_file

if TYPE_CHECKING:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.url import ConnectionUrl

__all__ = ["LOGIN_KEYS", "read_login"]

# What counts as not said: a module fills these in for everybody.
_DEFAULTS: Mapping[str, str] = {
    "login_host": "", "login_port": "5432", "login_user": "postgres", "login_password": "", "login_unix_socket": "", "login_db": "",
    "ssl_mode": "prefer", "ca_cert": "", "ssl_cert": "", "ssl_key": "",
}  # fmt: skip

LOGIN_KEYS = (*_DEFAULTS, "login_url", "login_url_file", "login_password_file")
"""The options that say who logs in where, and how the way there is protected."""


def read_login(given: Mapping[str, Any], where: str = "login", *, default_db: str = "") -> Login:
    """Read `login_url` or `login_url_file`, or `login_host`, `login_port`, `login_user`, `login_password` or
    `login_password_file`, `login_unix_socket` and `login_db`; and `ssl_mode`, `ca_cert`, `ssl_cert`, `ssl_key`.

    `login_db` must be there, in the URL or apart, unless there is a `default_db`. A password in the environment
    (`PGPASSWORD`) is taken when none is given, so that psycopg and the client programs log in alike. Raises
    `ConfigurationError`, and `SealError` for a file of a URL or a password that others can read.
    """
    words = {name: options.text(given, name, where, default) for name, default in _DEFAULTS.items() if name != "login_port"}
    port = options.integer(given, "login_port", where, 5432, minimum=1, maximum=65535)
    options.choice(given, "ssl_mode", where, SSL_MODES, "prefer")
    words["login_password"] = _password(given, words["login_password"], where)
    url = _url(given, where)
    if url is not None:
        words, port = _merged(words, port, url, where)
    host, unix_socket = words["login_host"], words["login_unix_socket"]
    if unix_socket and host not in ("", "localhost"):
        raise ConfigurationError("login_host and login_unix_socket name two servers", where, "Give the one that the database is on.")
    dbname = words["login_db"] or default_db
    if not dbname:
        raise ConfigurationError(
            "login_db is required", where, "Name the database, in login_db or in the URL." if url else "Name the database."
        )
    login = Login(
        host="" if unix_socket else host,
        port=port,
        user=words["login_user"],
        password=words["login_password"] or os.environ.get("PGPASSWORD", ""),
        unix_socket=unix_socket,
        dbname=dbname,
        ssl_mode=words["ssl_mode"],
        ca_cert=words["ca_cert"],
        ssl_cert=words["ssl_cert"],
        ssl_key=words["ssl_key"],
        channel_binding=url.channel_binding if url else "",
        server_options=url.options if url else "",
    )
    _check_files(login, where)
    return login


def _password(given: Mapping[str, Any], said: str, where: str) -> str:
    """The password that was given, or the one line of its file. Secret."""
    file = options.text(given, "login_password_file", where, "")
    if not file:
        return said
    if said:
        raise ConfigurationError("login_password and login_password_file are both given", where, "Give one of them.")
    file = os.path.expanduser(file)
    lines = read_secret_file(file, file).splitlines()
    if len(lines) != 1 or not lines[0]:
        raise ConfigurationError(
            "login_password_file holds not one line, the password", file, "Write the password into it, and nothing else."
        )
    return lines[0]


def _url(given: Mapping[str, Any], where: str) -> ConnectionUrl | None:
    text = options.text(given, "login_url", where, "")
    file = options.text(given, "login_url_file", where, "")
    if text and file:
        raise ConfigurationError("login_url and login_url_file are both given", where, "Give one of them.")
    if not text and not file:
        return None
    from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.url import parse_url

    if file:
        file = os.path.expanduser(file)
        lines = [line.strip() for line in read_secret_file(file, file).splitlines() if line.strip()]
        if len(lines) != 1:
            raise ConfigurationError(
                "login_url_file holds not one line, the URL", file, "Write the connection URL into it, and nothing else."
            )
        return parse_url(lines[0], file)
    return parse_url(text)


def _merged(words: Mapping[str, str], port: int, url: ConnectionUrl, where: str) -> tuple[dict[str, str], int]:
    """The options with what the URL says in their place; raises `ConfigurationError` naming what is said twice and differently."""
    is_socket = url.host.startswith("/")
    said = {
        "login_host": "" if is_socket else url.host,
        "login_unix_socket": url.host if is_socket else "",
        "login_user": url.user,
        "login_password": url.password,
        "login_db": url.dbname,
        "ssl_mode": url.ssl_mode,
        "ca_cert": url.ca_cert,
        "ssl_cert": url.ssl_cert,
        "ssl_key": url.ssl_key,
    }
    if port not in (5432, url.port or 5432):
        raise _contradiction("login_port", where)
    merged = dict(words)
    for name, value in said.items():
        apart = words[name] if words[name] != _DEFAULTS[name] else ""
        # Where the URL names a server, another way to a server is a contradiction, even if the URL has not that word.
        server = name in ("login_host", "login_unix_socket") and bool(url.host)
        if apart and apart != value and (value or server):
            raise _contradiction(name, where)
        merged[name] = value or words[name]
    return merged, url.port or port


def _contradiction(name: str, where: str) -> ConfigurationError:
    if name == "login_db":
        hint = "For several databases of one server, leave the database out of the URL."
    else:
        hint = f"Leave out {name}, or let the URL say it."
    return ConfigurationError(f"{name} and the connection URL say different things", where, hint)


def _check_files(login: Login, where: str) -> None:
    """TLS files that are missing, or a key that others can read: said now, and not by libpq in the middle of a login."""
    if bool(login.ssl_cert) != bool(login.ssl_key):
        named, other = ("ssl_cert", "ssl_key") if login.ssl_cert else ("ssl_key", "ssl_cert")
        raise ConfigurationError(f"{named} is given without {other}", where, "A client certificate and its key belong together.")
    for name, path in (("ca_cert", login.ca_cert), ("ssl_cert", login.ssl_cert), ("ssl_key", login.ssl_key)):
        if not path or (name, path) == ("ca_cert", "system"):
            continue
        if not Path(path).is_file() or not os.access(path, os.R_OK):
            raise ConfigurationError(f"{name} is not a file that can be read", path, "Name the PEM file on this host.")
    if login.ssl_key:
        # As libpq judges it: ours and nobody else's, or root's and readable for our group.
        facts = os.stat(login.ssl_key)
        if facts.st_mode & (0o027 if facts.st_uid == 0 and os.geteuid() != 0 else 0o077):
            mode = f"{stat.S_IMODE(facts.st_mode):04o}"
            raise ConfigurationError(f"ssl_key can be read by others (mode {mode})", login.ssl_key, f"chmod 600 {login.ssl_key}")

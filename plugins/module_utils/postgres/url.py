# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A connection URL, as managed servers give it out, taken apart (libpq's manual, "Connection URIs"). Pure.

It holds a password, so no message repeats any of it but names of parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.options import nearest
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import SSL_MODES

__all__ = ["ConnectionUrl", "parse_url"]

# Parameter of the URL -> field of ConnectionUrl.
_KNOWN = {
    "host": "host", "port": "port", "user": "user", "password": "password", "dbname": "dbname", "sslmode": "ssl_mode",
    "sslrootcert": "ca_cert", "sslcert": "ssl_cert", "sslkey": "ssl_key", "channel_binding": "channel_binding", "options": "options",
}  # fmt: skip
# What libpq knows, and a backup decides itself.
_OURS = ("application_name", "fallback_application_name", "client_encoding", "connect_timeout", "keepalives", "keepalives_idle")
_OF_POOLERS = ("pgbouncer", "pool_mode", "workaround")
_OF_ADAPTERS = ("schema", "connection_limit", "pool_timeout", "socket_timeout", "sslaccept", "statement_cache_size", "sslidentity", "ssl")


@dataclass(frozen=True)
class ConnectionUrl:
    """The parts that were there, decoded; "" and 0 are what was not. `host` that begins with a slash is a socket's directory."""

    host: str = ""
    port: int = 0
    user: str = ""
    password: str = field(default="", repr=False)
    dbname: str = ""
    ssl_mode: str = ""
    ca_cert: str = ""
    ssl_cert: str = ""
    ssl_key: str = ""
    channel_binding: str = ""
    options: str = ""


def parse_url(url: str, where: str = "login_url") -> ConnectionUrl:
    """Take a `postgresql://user:password@host:port/db?sslmode=…` apart; raises `ConfigurationError` in one sentence."""
    text = url.strip()
    scheme, separator, _rest = text.partition("://")
    if not separator:
        raise ConfigurationError(
            "this is no connection URL", where, "It begins with postgresql:// and goes on as user:password@host/database."
        )
    if scheme not in ("postgresql", "postgres"):
        driver = scheme.partition("+")[0] in ("postgresql", "postgres")
        hint = "Leave out what follows the plus sign, which is for SQLAlchemy only." if driver else "It begins with postgresql://."
        raise ConfigurationError("the URL is of another kind than postgresql://", where, hint)
    try:
        parts = urlsplit(text)
    except ValueError:
        raise _malformed(where) from None
    if parts.fragment or any(character.isspace() for character in text):
        raise _malformed(where)
    given = _given(parts.query, where)
    authority, at, hosts = parts.netloc.rpartition("@")
    user, colon, password = authority.partition(":") if at else ("", "", "")
    host, port = _host_and_port(hosts, where)
    for name, value in (("user", unquote(user)), ("password", unquote(password) if colon else ""), ("host", unquote(host)), ("port", port)):
        _put(given, name, value, where)
    _put(given, "dbname", unquote(parts.path.removeprefix("/")), where)
    _check(given, where)
    values = {_KNOWN[name]: value for name, value in given.items() if name != "port"}
    return ConnectionUrl(port=_port(given.get("port", ""), where), **values)


def _given(query: str, where: str) -> dict[str, str]:
    """The parameters behind the question mark; each is known, and there once."""
    found: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        name, _equals, value = pair.partition("=")
        name = unquote(name)
        if name in _KNOWN:
            _put(found, name, unquote(value), where)
        elif name in _OF_POOLERS:
            raise ConfigurationError(
                f"the URL's parameter {name!r} says that it leads to a connection pooler", where, "Use the direct connection's URL."
            )
        elif name in _OURS:
            raise ConfigurationError(f"the URL sets {name!r}, which a backup decides itself", where, "Leave it out of the URL.")
        elif name in _OF_ADAPTERS:
            raise ConfigurationError(
                f"the URL's parameter {name!r} is for an application's library, PostgreSQL's own do not know it", where, "Leave it out."
            )
        else:
            meant = nearest(name, _KNOWN)
            hint = f"Did you mean {meant!r}?" if meant else f"Known are: {', '.join(sorted(_KNOWN))}."
            raise ConfigurationError(f"unknown parameter {_short(name)} in the URL", where, hint)
    return found


def _put(given: dict[str, str], name: str, value: str, where: str) -> None:
    if not value:
        return
    if "\0" in value:
        raise _malformed(where)
    if name in given:
        raise ConfigurationError(f"the URL names {name!r} twice", where, "Once is enough.")
    given[name] = value


def _host_and_port(hosts: str, where: str) -> tuple[str, str]:
    if "," in hosts:
        raise ConfigurationError("the URL names several hosts", where, "Name the one that the backup is to be taken from.")
    if hosts.startswith("["):
        host, bracket, rest = hosts[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise _malformed(where)
        return host, rest[1:]
    host, _colon, port = hosts.partition(":")
    return host, port


def _port(text: str, where: str) -> int:
    if not text:
        return 0
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= 65535:
        raise ConfigurationError(
            "the URL's port is not a number from 1 to 65535", where, "A slash, colon or @ in a password is written %2F, %3A, %40."
        )
    return int(text)


def _check(given: Mapping[str, str], where: str) -> None:
    mode = given.get("sslmode", "")
    if mode and mode not in SSL_MODES:
        meant = nearest(mode, SSL_MODES)
        raise ConfigurationError(
            "the URL's sslmode is unknown", where, f"Did you mean {meant!r}?" if meant else f"Known are: {', '.join(SSL_MODES)}."
        )
    if given.get("channel_binding", "prefer") not in ("disable", "prefer", "require"):
        raise ConfigurationError("the URL's channel_binding is unknown", where, "Known are: disable, prefer, require.")
    # Neon's proxy learns from these which server is meant; settings of the session are pinned, and not for a URL to change.
    if not given.get("options", "endpoint=").startswith(("endpoint=", "project=", "reference=")) or " " in given.get("options", ""):
        raise ConfigurationError("the URL's options would change settings of the session", where, "Only endpoint=… and its like are taken.")


def _malformed(where: str) -> ConfigurationError:
    return ConfigurationError(
        "the connection URL is malformed",
        where,
        "Characters such as @ : / # ? % in a user, password or database are written as %40 and so on.",
    )


def _short(name: str) -> str:
    return repr(name if len(name) <= 40 else name[:37] + "…")

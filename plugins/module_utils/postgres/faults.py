# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a login failed, in one sentence with its next step.

libpq gives a failed login no SQLSTATE, only text, and the server writes it in its own language: what is not recognised
is passed on in the server's words.
"""

from __future__ import annotations

import re

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import DatabaseError

__all__ = ["connection_fault", "first_line"]

# In this order: a message about one attempt of several may hold words of another rule.
_RULES: tuple[tuple[str, str, str], ...] = (
    (
        r"no pg_hba\.conf entry",
        "the server has no pg_hba.conf entry that lets {user!r} in from this host",
        "Add one on the server (scram-sha-256 for TCP, peer or scram-sha-256 for the socket) and reload it.",
    ),
    (
        r"password authentication failed|authentication failed for user",
        "the server refused the login of {user!r}: the password is wrong, missing, or this host's user may not be that role",
        "Check login_user and login_password; over a socket with peer authentication, run as the user of that name.",
    ),
    (
        r"no password supplied|password (?:is )?required",
        "the server asks for a password of {user!r} and none was given",
        "Set login_password.",
    ),
    (r'database ".*" does not exist', "there is no database {dbname!r}", "Check login_db; names are case-sensitive."),
    (r'role ".*" does not exist', "there is no role {user!r}", "Check login_user, or create the role."),
    (
        r"permission denied for database",
        "{user!r} may not connect to database {dbname!r}",
        "GRANT CONNECT ON DATABASE to it.",
    ),
    (
        r"too many (?:clients|connections)|remaining connection slots",
        "the server takes no more connections",
        "A backup needs three. Raise max_connections or the role's CONNECTION LIMIT, or grant it pg_use_reserved_connections (16+).",
    ),
    (
        r"(?:starting up|not yet accepting connections|in recovery mode|consistent recovery state)",
        "the server is starting up or recovering",
        "Wait until it accepts connections, then run again.",
    ),
    (r"shutting down", "the server is shutting down", "Start it, then run again."),
    (
        r"is not permitted to log in|not allowed to log in",
        "role {user!r} has no LOGIN",
        "ALTER ROLE … LOGIN, or name another login_user.",
    ),
    (
        r"unsupported startup parameter|unsupported or unrecognized startup|no such database: |no more connections allowed \(max_client",
        "a connection pooler answered and refused",
        "Use the direct connection to the server: a snapshot and its locks need a session of their own.",
    ),
    (
        r"certificate verify failed",
        "the server's certificate is not signed by an authority that ca_cert names",
        "Give the file of the authority that signed it as ca_cert; a managed server's is in its manual.",
    ),
    (
        r"does not match host name",
        "the server's certificate is for another name than login_host",
        "Log in by the name that the certificate is for. verify-ca would not look at the name.",
    ),
    (
        r"root certificate file .* does not exist",
        "there is no file of authorities to check the server's certificate with",
        "Give it as ca_cert; for a public authority /etc/ssl/certs/ca-certificates.crt.",
    ),
    (
        r"requires a valid client certificate|certificate required|alert unknown ca|alert bad certificate|alert certificate",
        "the server wants a client certificate that it knows, for {user!r}",
        "Give ssl_cert and ssl_key; the server's ssl_ca_file has to hold the authority that signed them.",
    ),
    (
        r"certificate|SSL|server does not support",
        "the encrypted connection was refused",
        "Check ssl_mode and ca_cert, and the server's certificate.",
    ),
    (
        r"resolve host|translate host name|Name or service not known",
        "the host's name is not known",
        "Check login_host.",
    ),
    (
        r"timeout expired|timed out|timeout",
        "nothing answered in time",
        "Check login_host and login_port, and the firewall between.",
    ),
    (
        r"Permission denied",
        "this user may not reach the server's socket",
        "Run as a user that may enter the socket's directory, or use login_host.",
    ),
    (
        (
            r"No such file or directory|Connection refused|server closed the connection unexpectedly|"
            r"Is the server running|No route to host|Network is unreachable"
        ),
        "no server answers there",
        "Check login_host, login_port and login_unix_socket, and that PostgreSQL runs.",
    ),
)


def connection_fault(error: Exception, place: str, user: str, dbname: str) -> DatabaseError:
    """The `DatabaseError` that tells the operator what to do about a login that failed."""
    said = str(error)
    for pattern, what, next_step in _RULES:
        if re.search(pattern, said, re.DOTALL):
            return DatabaseError(what.format(user=user, dbname=dbname), place, next_step)
    return DatabaseError(f"the server refused the connection: {first_line(error)}", place)


def first_line(error: BaseException) -> str:
    """The first line of an error as PostgreSQL worded it, without the lines of context below."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__

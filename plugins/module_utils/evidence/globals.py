# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What belongs to the whole server and to no database: roles, who is a member of what, tablespaces, grants on parameters.

Read before pg_dumpall and again after it, since pg_dumpall looks at each catalog at another moment: what did not change in
between is evidence, what did is named. Passwords are compared by a digest of their hash, which never leaves this document.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import strict
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import FAILED, PASSED, CheckResult
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import EvidenceError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import database_errors, one_row
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.snapshot import named
from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import format_moment
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import many

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["SCHEMA", "Globals", "GlobalsEvidence", "compare_globals", "may_read_passwords", "read_globals", "steady"]

SCHEMA = 1

_ROLES = """
    SELECT r.rolname::text, jsonb_build_object(
        'superuser', r.rolsuper, 'inherits', r.rolinherit, 'creates roles', r.rolcreaterole, 'creates databases', r.rolcreatedb,
        'logs in', r.rolcanlogin, 'replicates', r.rolreplication, 'passes row-level security', r.rolbypassrls,
        'connections', r.rolconnlimit, 'valid until', r.rolvaliduntil::text,
        'settings', (SELECT array_agg(c ORDER BY c COLLATE "C") FROM pg_db_role_setting s, unnest(s.setconfig) AS c
                     WHERE s.setrole = r.oid AND s.setdatabase = 0),
        'comment', shobj_description(r.oid, 'pg_authid'))
    FROM pg_roles r WHERE r.rolname !~ '^pg_' ORDER BY r.rolname
"""
_PASSWORDS = "SELECT rolname::text, rolpassword FROM pg_authid WHERE rolname !~ '^pg_' AND rolpassword IS NOT NULL"
# Who granted a membership is left out: before 16 it can be a role that is long gone.
_MEMBERSHIPS = """
    SELECT format('%I in %I', m.rolname, g.rolname), to_jsonb(a) - '{oid,roleid,member,grantor}'::text[]
    FROM pg_auth_members a JOIN pg_roles g ON g.oid = a.roleid JOIN pg_roles m ON m.oid = a.member
    WHERE m.rolname !~ '^pg_' ORDER BY 1
"""
_TABLESPACES = """
    SELECT t.spcname::text, jsonb_build_object(
        'owner', pg_get_userbyid(t.spcowner), 'location', pg_tablespace_location(t.oid), 'options', t.spcoptions,
        'comment', shobj_description(t.oid, 'pg_tablespace'))
    FROM pg_tablespace t WHERE t.spcname !~ '^pg_' ORDER BY 1
"""
_PARAMETERS = """
    SELECT p.parname, to_jsonb((SELECT array_agg(x.g ORDER BY x.g COLLATE "C") FROM (
        SELECT format('%s %s %s', CASE e.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(e.grantee)) END,
                      e.privilege_type, e.is_grantable) AS g
        FROM aclexplode(p.paracl) AS e) AS x))
    FROM pg_parameter_acl p ORDER BY 1
"""


@dataclass(frozen=True)
class Globals:
    """Name to definition (one line of JSON) of each role, membership, tablespace and granted parameter.

    `passwords` maps roles to a digest of their password's hash, and is None where the login may not read them.
    """

    roles: Mapping[str, str]
    memberships: Mapping[str, str]
    tablespaces: Mapping[str, str]
    parameters: Mapping[str, str]
    passwords: Mapping[str, str] | None

    @property
    def count(self) -> int:
        """How many definitions."""
        return sum(map(len, (self.roles, self.memberships, self.tablespaces, self.parameters)))


@dataclass(frozen=True)
class GlobalsEvidence:
    """What was the same before and after pg_dumpall; `unstable` names what was not, as "role x" or "membership x in y"."""

    taken_at: dt.datetime
    server_version: str
    system_identifier: str
    superuser: str
    found: Globals
    unstable: tuple[str, ...]

    def to_bytes(self) -> bytes:
        """The document as UTF-8 JSON with sorted keys."""
        document = {"schema": SCHEMA, **dataclasses.asdict(self), "taken_at": format_moment(self.taken_at)}
        return json.dumps(document, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, where: str = "") -> GlobalsEvidence:
        """Read a document strictly; raises `EvidenceError` that names what is wrong and `where`."""
        try:
            document = json.loads(data.decode("utf-8"))
            if not isinstance(document, dict) or document.pop("schema", None) != SCHEMA:
                raise ValueError(f"it is not a JSON object of schema {SCHEMA}")
            return strict.fields(cls, document, _READERS)
        except ValueError as error:
            raise EvidenceError(f"the evidence of globals cannot be read: {error}", where, "It was altered or cut.") from None


_TEXTS = strict.mapping(strict.text)
_READERS: dict[str, strict.Reader] = {
    "taken_at": strict.moment,
    "found": strict.nested(
        Globals,
        {**dict.fromkeys(("roles", "memberships", "tablespaces", "parameters"), _TEXTS), "passwords": strict.optional(_TEXTS)},
    ),
    "unstable": strict.tuple_of(strict.text),
}


def may_read_passwords(connection: Connection[Any]) -> bool:
    """Whether the login may read `pg_authid`, which a managed server grants to nobody."""
    with database_errors():
        return bool(one_row(connection, "SELECT has_table_privilege('pg_catalog.pg_authid', 'SELECT')")[0])


def read_globals(connection: Connection[Any], passwords: bool) -> Globals:
    """What the server has now. Raises `DatabaseError`."""
    with database_errors("roles and tablespaces"):
        hashes = connection.execute(_PASSWORDS).fetchall() if passwords else None
        return Globals(
            _read(connection, _ROLES),
            _read(connection, _MEMBERSHIPS),
            _read(connection, _TABLESPACES),
            _read(connection, _PARAMETERS) if connection.info.server_version >= 150000 else {},
            None if hashes is None else {name: hashlib.sha256(f"{name}\0{secret}".encode()).hexdigest() for name, secret in hashes},
        )


def steady(before: Globals, after: Globals) -> tuple[Globals, tuple[str, ...]]:
    """What both readings agree on, and the names of what changed, came or went between them."""
    unstable: list[str] = []

    def agreed(what: str, first: Mapping[str, str], second: Mapping[str, str]) -> dict[str, str]:
        unstable.extend(f"{what} {name}" for name in sorted({*first, *second}) if first.get(name) != second.get(name))
        return {name: value for name, value in first.items() if second.get(name) == value}

    passwords = None
    if before.passwords is not None and after.passwords is not None:
        passwords = agreed("password of role", before.passwords, after.passwords)
    found = Globals(
        agreed("role", before.roles, after.roles),
        agreed("membership", before.memberships, after.memberships),
        agreed("tablespace", before.tablespaces, after.tablespaces),
        agreed("parameter", before.parameters, after.parameters),
        passwords,
    )
    return found, tuple(unstable)


def compare_globals(expected: GlobalsEvidence, restored: Globals, other_major: bool = False) -> CheckResult:
    """Roles, memberships and grants on parameters as in production. A throwaway server has no place for tablespaces.

    With `other_major` the target is of another major version: attributes that only one of them knows are left out.
    """
    wrong: list[str] = []
    changing = set(expected.unstable)
    for what, recorded, found in (
        ("role", expected.found.roles, restored.roles),
        ("membership", expected.found.memberships, restored.memberships),
        ("parameter", expected.found.parameters, restored.parameters),
        ("password of role", expected.found.passwords or {}, restored.passwords or {}),
    ):
        if what == "password of role" and expected.found.passwords is None:
            continue
        for name in sorted({*recorded, *found}):
            if f"{what} {name}" in changing or recorded.get(name) == found.get(name):
                continue
            if other_major and _same_where_both_know(recorded.get(name), found.get(name)):
                continue
            wrong.append(f"{what} {name} {_difference(recorded.get(name), found.get(name))}")
    remarks = []
    if expected.unstable:
        remarks.append(f"changed while the backup was taken, so not compared: {named(expected.unstable)}")
    if expected.found.passwords is None:
        remarks.append("passwords are not in the backup: the login could not read them")
    if expected.found.tablespaces:
        remarks.append(f"left out, since a throwaway server has no place for them: {many(len(expected.found.tablespaces), 'tablespace')}")
    passwords = "" if expected.found.passwords is None else f", {many(len(expected.found.passwords), 'password')}"
    sides = f"{many(len(expected.found.roles), 'role')}, {many(len(expected.found.memberships), 'membership')}{passwords}"
    shown = [named(wrong)] if wrong else []
    found_words = f"{len(wrong)} different" if wrong else "all of them"
    return CheckResult("globals", FAILED if wrong else PASSED, sides, found_words, "; ".join([*shown, *remarks]))


def _same_where_both_know(recorded: str | None, found: str | None) -> bool:
    """Whether two definitions agree in every attribute that both of them have."""
    try:
        first, second = json.loads(recorded or ""), json.loads(found or "")
    except ValueError:
        return False
    return isinstance(first, dict) and isinstance(second, dict) and all(first[key] == second[key] for key in {*first} & {*second})


def _difference(recorded: str | None, found: str | None) -> str:
    """In words; which attributes, never their values: a role's settings and comment are data, a password's digest a secret."""
    if found is None:
        return "is missing"
    if recorded is None:
        return "is not in production"
    try:
        first, second = json.loads(recorded), json.loads(found)
    except ValueError:
        return "is different"
    if not isinstance(first, dict) or not isinstance(second, dict):
        return "is different"
    return "differs in " + ", ".join(sorted(key for key in {*first, *second} if first.get(key) != second.get(key)))


def _read(connection: Connection[Any], query: str) -> dict[str, str]:
    return {name: json.dumps(value, sort_keys=True) for name, value in connection.execute(query.encode()).fetchall()}

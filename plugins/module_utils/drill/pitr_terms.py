# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What only a point-in-time drill is asked: the target, the database to look into, what must be there and what must not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.moment import RecoveryTarget
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError

__all__ = ["DEFAULT_BASE_NAME", "LOGICAL", "MODES", "PITR", "PitrTerms"]

LOGICAL, PITR = "logical", "pitr"
MODES = (LOGICAL, PITR)
DEFAULT_BASE_NAME = "cluster"
"""The name of a server's base backups unless it was given another one."""

_ONLY_PITR = ("target", "markers", "database", "superuser", "data_checksums", "amcheck", "preload_libraries")
_LIBRARY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class PitrTerms:
    """`database` is the one that checks and markers are asked in. `must_exist` and `must_not_exist` are queries.

    `data_checksums` and `amcheck` look at every page and every index of the whole cluster. `superuser` is the role that
    initdb made, by which the drill comes in. `preload_libraries` are those that the server loads before it replays anything.
    """

    target: RecoveryTarget = field(default_factory=RecoveryTarget)
    database: str = "postgres"
    must_exist: tuple[str, ...] = ()
    must_not_exist: tuple[str, ...] = ()
    data_checksums: bool = True
    amcheck: bool = True
    superuser: str = "postgres"
    preload_libraries: tuple[str, ...] = ()

    @classmethod
    def from_options(cls, given: Mapping[str, Any], where: str) -> PitrTerms:
        """Read those of a module's parameters that belong to this mode; raises `ConfigurationError`."""
        markers = options.mapping(given, "markers", where, {})
        options.unknown_keys(markers, ("must_exist", "must_not_exist"), f"{where}.markers")
        terms = cls(
            target=RecoveryTarget.from_options(options.mapping(given, "target", where, None), f"{where}.target"),
            database=options.text(given, "database", where, cls.database),
            must_exist=options.texts(markers, "must_exist", f"{where}.markers", ()),
            must_not_exist=options.texts(markers, "must_not_exist", f"{where}.markers", ()),
            data_checksums=options.boolean(given, "data_checksums", where, True),
            amcheck=options.boolean(given, "amcheck", where, True),
            superuser=options.text(given, "superuser", where, cls.superuser),
            preload_libraries=_libraries(given, where),
        )
        objective = given.get("objective")
        named = isinstance(objective, Mapping) and objective.get("rpo") is not None
        if named and not (terms.target.latest or terms.target.immediate):
            raise ConfigurationError(
                "objective.rpo with a target of your own choice says nothing: how much would be lost is measured with the latest state",
                where,
                "Leave objective.rpo out here, and drill target: {latest: true} as well.",
            )
        return terms

    @staticmethod
    def refuse(given: Mapping[str, Any], where: str) -> None:
        """In the other mode none of them may be given; raises `ConfigurationError`."""
        for key in _ONLY_PITR:
            if given.get(key) is not None:
                what = f"{key} belongs to mode {PITR}, and the mode is {LOGICAL}"
                raise ConfigurationError(what, where, f"Leave it out, or say mode: {PITR}.")


def _libraries(given: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """Names as in shared_preload_libraries; a path is not one, since it would lead out of where the server's own libraries lie."""
    names = options.texts(given, "preload_libraries", where, ())
    for name in names:
        if not _LIBRARY.fullmatch(name):
            what = f"preload_libraries: {name[:60]!r} is not the name of a library"
            raise ConfigurationError(what, where, "Give names like timescaledb.")
    return tuple(dict.fromkeys(names))

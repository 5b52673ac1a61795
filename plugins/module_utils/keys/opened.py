# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A protected key out of the vault, opened in memory: for a drill's checks, which see its bytes and never a file of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import SealError
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.env_file import EnvFileError, parse, value_of

__all__ = ["OpenedKey"]


@dataclass(frozen=True)
class OpenedKey:
    """`files` are its exact bytes by name, secret; one value or file alone has the name ""."""

    name: str
    files: tuple[tuple[str, bytes], ...] = field(repr=False)

    def part(self, which: str = "") -> bytes:
        """The bytes: of a directory those of the file `which`, of one file all, or what its variable `which` holds. Secret.

        Raises `SealError` that names what there is.
        """
        where = f"protected key {self.name!r}"
        by_name = dict(self.files)
        if "" not in by_name:
            if which in by_name:
                return by_name[which]
            names = ", ".join(sorted(by_name)[:5])
            raise SealError(
                f"it is {len(by_name)} files, and {which or 'no one'!r} is none of them", where, f"Set key_part to one of: {names}."
            )
        if not which:
            return by_name[""]
        try:
            variables = parse(by_name[""])
            return value_of(variables, which)
        except EnvFileError as error:
            raise SealError(f"its variable {which} cannot be read: {error}", where) from None
        except KeyError:
            meant = options.nearest(which, variables)
            raise SealError(f"it has no variable {which}", where, f"Did you mean {meant}?" if meant else "") from None

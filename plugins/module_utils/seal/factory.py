# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From an `encryption` mapping to a sealer, from a manifest's method to an opener. A static registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, SealError
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal import age
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.base import Opener, Sealer

__all__ = ["METHODS", "opener", "sealer"]

METHODS = (age.METHOD,)
_WHERE = "encryption"


def sealer(encryption: Mapping[str, Any], prefer: str = "") -> Sealer:
    """The sealer of `{method: age, recipients: [age1…, "ssh-ed25519 …"]}`; the method may be left out.

    Raises `ConfigurationError` (with the nearest known word), `MissingTool`.
    """
    options.unknown_keys(encryption, ("method", "recipients"), _WHERE)
    options.choice(encryption, "method", _WHERE, METHODS, default=age.METHOD)
    return age.AgeSealer(options.texts(encryption, "recipients", _WHERE, default=()), prefer)


def opener(method: str, identity_file: str, prefer: str = "") -> Opener:
    """The opener for a backup whose manifest says `method`; raises `ConfigurationError`, `SealError`, `MissingTool`."""
    if method not in METHODS:
        raise ConfigurationError(f"sealed with {method!r}, which this version cannot open", "", f"It opens: {', '.join(METHODS)}.")
    if not identity_file:
        raise SealError("opening a backup needs the identity of one of its recipients", "identity_file", "Give the path of its file.")
    return age.AgeOpener(identity_file, prefer)

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a dump's size and objects are measured against: the option `limits`. Pure; `guards.py` measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError

__all__ = ["Limits"]

_WHERE = "limits"
_KEYS = ("min_bytes", "max_bytes", "min_objects", "max_objects", "shrink", "growth", "last", "zero_tables")


@dataclass(frozen=True)
class Limits:
    """None is no limit. `shrink` 0.5: not below half the median; `growth` 2: not above three times it; None: not judged.

    `last` is how many good backups make the median; `zero_tables` is what to do about no table where there were some.
    """

    min_bytes: int | None = None
    max_bytes: int | None = None
    min_objects: int | None = None
    max_objects: int | None = None
    shrink: float | None = 0.5
    growth: float | None = None
    last: int = 7
    zero_tables: str = "fail"

    @classmethod
    def from_options(cls, given: Mapping[str, Any] | None) -> Limits:
        """Read the option `limits`; raises `ConfigurationError`."""
        given = given or {}
        options.unknown_keys(given, _KEYS, _WHERE)
        limits = cls(
            min_bytes=options.size_bytes(given, "min_bytes", _WHERE, None),
            max_bytes=options.size_bytes(given, "max_bytes", _WHERE, None),
            min_objects=options.integer(given, "min_objects", _WHERE, None, minimum=0),
            max_objects=options.integer(given, "max_objects", _WHERE, None, minimum=0),
            shrink=_share(given, "shrink", cls.shrink),
            growth=_share(given, "growth", cls.growth),
            last=options.integer(given, "last", _WHERE, cls.last, minimum=1, maximum=100),
            zero_tables=options.choice(given, "zero_tables", _WHERE, ("fail", "warn"), cls.zero_tables),
        )
        if limits.shrink is not None and limits.shrink > 1:
            raise ConfigurationError(
                f"shrink is {limits.shrink:g}, the most is 1", _WHERE, "0.5 allows half the median, 1 allows anything."
            )
        for low, high, what in (
            (limits.min_bytes, limits.max_bytes, "bytes"),
            (limits.min_objects, limits.max_objects, "objects"),
        ):
            if low is not None and high is not None and low > high:
                raise ConfigurationError(f"min_{what} is above max_{what}", _WHERE, "No dump could be kept.")
        return limits


def _share(given: Mapping[str, Any], key: str, default: float | None) -> float | None:
    """A share like 0.5 or 50%."""
    value = given.get(key)
    if value is None or value == "":
        return default
    if isinstance(value, str):
        text, percent = value.strip(), value.strip().endswith("%")
        try:
            value = float(text.rstrip("% ")) / (100 if percent else 1)
        except ValueError:
            value = -1
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise ConfigurationError(f"{key}: expected a share like 0.5 or 50%", _WHERE)
    return float(value)

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON documents read back strictly into dataclasses: no field missing, none surplus, each of its own type. Pure.

A reader is a function that takes one JSON value and returns what the field holds. Every fault is a `ValueError` with a
sentence; the document that is being read wraps it in an error of its own.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

__all__ = ["boolean", "count", "fields", "format_moment", "mapping", "moment", "nested", "number", "one_of", "optional", "text", "tuple_of"]

T = TypeVar("T")
Reader = Callable[[Any], Any]
_MOMENT = "%Y-%m-%dT%H:%M:%S.%fZ"


def fields(cls: type[T], document: Any, readers: Mapping[str, Reader]) -> T:
    """An instance of the dataclass `cls`; a field without a reader is text."""
    if not isinstance(document, dict):
        raise ValueError(f"expected a JSON object, found {_shown(document)}")
    names = [item.name for item in dataclasses.fields(cls)]  # type: ignore[arg-type]
    missing, surplus = [name for name in names if name not in document], sorted(set(document) - set(names))
    if missing or surplus:
        raise ValueError(f"fields missing: {missing}, not known: {surplus}")
    values = {}
    for name in names:
        reader: Reader = readers.get(name, text)
        try:
            values[name] = reader(document[name])
        except ValueError as error:
            raise ValueError(f"field {name!r}: {error}") from None
    return cls(**values)


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected text, found {_shown(value)}")
    return value


def boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, found {_shown(value)}")
    return value


def count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"expected a whole number, found {_shown(value)}")
    return value


def number(value: Any) -> float:
    """A finite number, whole or not; it may be negative."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"expected a number, found {_shown(value)}")
    return value


def moment(value: Any) -> dt.datetime:
    """The inverse of `format_moment`."""
    try:
        return dt.datetime.strptime(value, _MOMENT).replace(tzinfo=dt.timezone.utc)
    except (ValueError, TypeError):
        raise ValueError(f"{_shown(value)} is not a moment in UTC") from None


def format_moment(value: dt.datetime) -> str:
    """A moment as documents write it: ISO 8601 in UTC with microseconds, `Z` at the end."""
    return value.astimezone(dt.timezone.utc).strftime(_MOMENT)


def one_of(choices: Collection[str]) -> Reader:
    def read(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"expected one of {', '.join(sorted(choices))}, found {_shown(value)}")
        return text(value)

    return read


def optional(reader: Reader) -> Reader:
    """null stays None, anything else goes to `reader`."""
    return lambda value: None if value is None else reader(value)


def tuple_of(reader: Reader) -> Reader:
    def read(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise ValueError(f"expected a list, found {_shown(value)}")
        return tuple(reader(item) for item in value)

    return read


def mapping(reader: Reader) -> Reader:
    """A JSON object of any keys, each value read by `reader`."""

    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError(f"expected a JSON object, found {_shown(value)}")
        return {text(key): reader(item) for key, item in value.items()}

    return read


def nested(cls: type[T], readers: Mapping[str, Reader] | None = None) -> Callable[[Any], T]:
    """A reader for a dataclass inside a document."""
    return lambda value: fields(cls, value, readers or {})


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "…"

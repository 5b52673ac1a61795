# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Free-form mappings (a repository, an encryption, a job file) read strictly, with the operator's own words in the error.

An unknown key is refused with the nearest known one named, so that a misspelled `prefx` never silently means "no
prefix". A take returns the default when the key is absent or null. A text may be a secret, so an error never shows
one; it shows what was given for a number, a size, a duration, a boolean or a choice.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError

__all__ = [
    "REQUIRED",
    "boolean",
    "choice",
    "duration_seconds",
    "integer",
    "leaves",
    "mapping",
    "nearest",
    "parse_duration",
    "parse_size",
    "path",
    "secrets_among",
    "size_bytes",
    "text",
    "texts",
    "unknown_keys",
]


class _Required:
    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Any = _Required()
"""As a default: the key must be there."""

_TRUE = frozenset(("1", "on", "t", "true", "y", "yes"))
_FALSE = frozenset(("0", "off", "f", "false", "n", "no"))
_SIZE_UNITS = {
    "": 1, "b": 1,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
_SECRET_NAME = re.compile(r"secret|password|passphrase|token|access_?key|(?:login|webhook|dead_man)_url", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"AGE-SECRET-KEY-|PRIVATE KEY", re.IGNORECASE)
_PATHS = ("_file", "_files", "_dir")
_OF_THE_DATA = ("checks", "databases", "evidence_queries")
"""Options that speak of tables and columns, of which some are called `password`."""
_DURATION_UNITS = {"": 1, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}


def nearest(given: str, known: Iterable[str]) -> str:
    """The known word that `given` most probably meant, or ""."""
    words = {word.casefold(): word for word in known}
    matches = difflib.get_close_matches(given.casefold(), list(words), n=1, cutoff=0.5)
    return words[matches[0]] if matches else ""


def leaves(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text among options that is not empty, with the name that it stands under; an item of a list has the list's."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from leaves(item, str(name))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from leaves(item, key)
    elif isinstance(value, str) and value:
        yield key, value


def secrets_among(value: Any) -> Iterator[tuple[str, str]]:
    """Those of the `leaves` that are secrets themselves, by the name that they stand under or by how they look, and no paths of any.

    What speaks of the data (checks, queries) is left out where `value` is a module's or a job's options.
    """
    words = {key: item for key, item in value.items() if key not in _OF_THE_DATA} if isinstance(value, Mapping) else value
    for key, found in leaves(words):
        if (_SECRET_NAME.search(key) and not key.endswith(_PATHS)) or _SECRET_VALUE.search(found):
            yield key, found


def unknown_keys(given: Mapping[str, Any], allowed: Iterable[str], where: str) -> None:
    """Refuse every key of `given` that is not in `allowed`; raises `ConfigurationError` naming the nearest known one."""
    known = list(allowed)
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"expected a mapping, found {_kind(given)}", where)
    for key in given:
        if key in known:
            continue
        meant = nearest(str(key), known)
        hint = f"Did you mean {meant!r}?" if meant else f"Known are: {', '.join(sorted(known))}."
        raise ConfigurationError(f"unknown key {_quoted(key)}", where, hint)


def text(given: Mapping[str, Any], key: str, where: str, default: Any = REQUIRED) -> Any:
    """Text, never empty when it is required. A number is taken as its text, as YAML writes `name: 2024`."""
    value = _take(given, key, where, default)
    if value is default and default is not REQUIRED:
        return value
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise _wrong(key, where, f"expected text, found {_kind(value)}")
    value = str(value)
    if "\0" in value:
        raise _wrong(key, where, "contains a zero byte")
    if default is REQUIRED and not value:
        raise _wrong(key, where, "is empty")
    return value


def path(given: Mapping[str, Any], key: str, where: str, *, absolute: bool = False) -> Path | None:
    """A path with `~` read as the user's home, or None; an empty one is none. Raises `ConfigurationError`."""
    value = text(given, key, where, None)
    if not value:
        return None
    found = Path(value).expanduser()
    if absolute and not found.is_absolute():
        hint = "Give the whole path, from the leading slash on."
        raise ConfigurationError(f"{key}: expected an absolute path, found {value!r}", where, hint)
    return found


def texts(given: Mapping[str, Any], key: str, where: str, default: Any = REQUIRED) -> Any:
    """A list of texts, as a tuple; one text alone is taken as a list of one."""
    value = _take(given, key, where, default)
    if value is default and default is not REQUIRED:
        return value
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, Sequence) or not all(isinstance(item, str) for item in value):
        raise _wrong(key, where, f"expected a list of texts, found {_kind(value)}")
    return tuple(value)


def mapping(given: Mapping[str, Any], key: str, where: str, default: Any = REQUIRED) -> Any:
    """A mapping below `key`."""
    value = _take(given, key, where, default)
    if value is default and default is not REQUIRED:
        return value
    if not isinstance(value, Mapping):
        raise _wrong(key, where, f"expected a mapping, found {_kind(value)}")
    return value


def choice(given: Mapping[str, Any], key: str, where: str, choices: Sequence[str], default: Any = REQUIRED) -> Any:
    """One word of `choices`."""
    value = text(given, key, where, default)
    if value in choices or (value is default and default is not REQUIRED):
        return value
    meant = nearest(value, choices)
    hint = f"Did you mean {meant!r}?" if meant else f"Known are: {', '.join(choices)}."
    raise ConfigurationError(f"{key}: unknown value {_quoted(value)}", where, hint)


def boolean(given: Mapping[str, Any], key: str, where: str, default: Any = REQUIRED) -> Any:
    """True or False, from a boolean, 0, 1, or the words that Ansible takes (yes, no, on, off, true, false, y, n, t, f)."""
    value = _take(given, key, where, default)
    if isinstance(value, bool) or (value is default and default is not REQUIRED):
        return value
    if isinstance(value, (str, int, float)):
        word = str(int(value) if isinstance(value, float) and value.is_integer() else value).strip().lower()
        if word in _TRUE:
            return True
        if word in _FALSE:
            return False
    raise _wrong(key, where, f"expected true or false, found {_shown(value)}")


def integer(
    given: Mapping[str, Any], key: str, where: str, default: Any = REQUIRED, minimum: int | None = None, maximum: int | None = None
) -> Any:
    """A whole number within `minimum` and `maximum`."""
    value = _take(given, key, where, default)
    if value is default and default is not REQUIRED:
        return value
    number: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif (isinstance(value, float) and value.is_integer()) or (isinstance(value, str) and re.fullmatch(r"\s*[+-]?[0-9]{1,30}\s*", value)):
        number = int(value)
    if number is None:
        raise _wrong(key, where, f"expected a whole number, found {_shown(value)}")
    return _bounded(number, key, where, minimum, maximum)


def size_bytes(given: Mapping[str, Any], key: str, where: str, default: Any = REQUIRED, minimum: int = 0) -> Any:
    """Bytes, from a number or "512MiB" (2^20), "8GB" (10^9), "64M" (2^20, as PostgreSQL and ls count)."""
    value = _take(given, key, where, default)
    if value is default and default is not REQUIRED:
        return value
    try:
        number = parse_size(value)
    except ValueError as error:
        raise _wrong(key, where, str(error)) from None
    return _bounded(number, key, where, minimum, None)


def duration_seconds(given: Mapping[str, Any], key: str, where: str, default: Any = REQUIRED, minimum: float = 0) -> Any:
    """Seconds as a float, from a number or "90s", "15m", "24h", "7d", "2w", "1h30m"."""
    value = _take(given, key, where, default)
    if value is default and default is not REQUIRED:
        return value
    try:
        seconds = parse_duration(value)
    except ValueError as error:
        raise _wrong(key, where, str(error)) from None
    if seconds < minimum:
        raise _wrong(key, where, f"is {seconds:g} seconds, the least is {minimum:g}")
    return seconds


def parse_size(value: Any) -> int:
    """Bytes of "512MiB", "8GB", "100" or a number; raises `ValueError` with a sentence."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = re.fullmatch(r"\s*([0-9]{1,18})(?:\.([0-9]{1,9}))?\s*([a-zA-Z]{0,3})\s*", value) if isinstance(value, str) else None
    if match is None or match.group(3).lower() not in _SIZE_UNITS:
        raise ValueError(f"expected a size like 512MiB, 8GB or 100, found {_shown(value)}")
    whole, fraction, unit = int(match.group(1)), match.group(2) or "", _SIZE_UNITS[match.group(3).lower()]
    return whole * unit + (int(fraction) * unit // 10 ** len(fraction) if fraction else 0)


def parse_duration(value: Any) -> float:
    """Seconds of "90s", "15m", "24h", "7d", "1h30m" or a number; raises `ValueError` with a sentence."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf"):
        return float(value)
    parts = re.findall(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)\s*([a-zA-Z]*)", value) if isinstance(value, str) else []
    whole = isinstance(value, str) and re.fullmatch(r"\s*(?:[0-9]{1,12}(?:\.[0-9]{1,9})?\s*[a-zA-Z]*\s*)+", value)
    known = all(unit.lower() in _DURATION_UNITS for _number, unit in parts)
    # "5 10" would read as 15 seconds: a bare number stands alone.
    if not parts or not whole or not known or (len(parts) > 1 and any(not unit for _number, unit in parts)):
        raise ValueError(f"expected a duration like 90s, 15m, 24h or 7d, found {_shown(value)}")
    return sum(float(number) * _DURATION_UNITS[unit.lower()] for number, unit in parts)


def _take(given: Mapping[str, Any], key: str, where: str, default: Any) -> Any:
    value = given.get(key)
    if value is not None:
        return value
    if default is REQUIRED:
        raise ConfigurationError(f"{key} is required", where)
    return default


def _bounded(number: int, key: str, where: str, minimum: int | None, maximum: int | None) -> int:
    if minimum is not None and number < minimum:
        raise _wrong(key, where, f"is {number}, the least is {minimum}")
    if maximum is not None and number > maximum:
        raise _wrong(key, where, f"is {number}, the most is {maximum}")
    return number


def _wrong(key: str, where: str, problem: str) -> ConfigurationError:
    return ConfigurationError(f"{key}: {problem}" if problem.startswith(("expected", "contains")) else f"{key} {problem}", where)


def _kind(value: Any) -> str:
    names = {"str": "text", "int": "a number", "float": "a number", "bool": "true or false", "list": "a list", "dict": "a mapping"}
    return names.get(type(value).__name__, type(value).__name__)


def _shown(value: Any) -> str:
    return _quoted(value) if isinstance(value, (str, int, float)) else _kind(value)


def _quoted(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "…"

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Libraries of others, loaded only where they are needed, each absence one typed sentence.

The library must import on a host that has nothing but Python, so psycopg, boto3, jmespath, zstandard, pyrage and
cryptography are never imported at the head of a file.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from types import ModuleType

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import MissingTool

__all__ = ["available", "installed", "installed_version", "load", "version_at_least"]


def load(module: str, minimum: str = "", package: str = "", debian: str = "") -> ModuleType:
    """The imported `module`, at least of version `minimum`.

    `package` is its name for pip (default: the module's first word), `debian` the package of Debian and Ubuntu.
    Raises `MissingTool` that names both when it is absent, cannot be imported, or is too old.
    """
    package = package or module.partition(".")[0]
    wanted = f"{package} {minimum} or newer" if minimum else package
    try:
        loaded = importlib.import_module(module)
    except ImportError as error:
        absent = isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == module.partition(".")[0]
        why = "is not installed" if absent else f"cannot be imported: {_one_line(error)}"
        raise MissingTool(f"the Python library {package} {why}", "", _remedy(package, minimum, debian)) from None
    except OSError as error:
        # A wheel whose shared library is missing on the host fails while loading, not while being found.
        raise MissingTool(
            f"the Python library {package} cannot be imported: {_one_line(error)}", "", _remedy(package, minimum, debian)
        ) from None
    found = installed_version(package, loaded)
    if minimum and found and not version_at_least(found, minimum):
        raise MissingTool(f"the Python library {package} is {found}, needed is {wanted}", "", _remedy(package, minimum, debian))
    return loaded


def available(module: str, minimum: str = "", package: str = "") -> bool:
    """Whether `load` would succeed."""
    try:
        load(module, minimum, package)
    except MissingTool:
        return False
    return True


def installed(module: str) -> bool:
    """Whether it is there, without the time that loading it takes; that it works, only `load` can tell."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def installed_version(package: str, loaded: ModuleType | None = None) -> str:
    """The module's own `__version__`, else the version as the installation records it, else ""."""
    own = getattr(None if loaded is None else sys.modules.get(loaded.__name__.partition(".")[0]), "__version__", None)
    if isinstance(own, str):
        return own
    try:
        # Loaded here, because it is half of what a module's start takes with libraries that say their version themselves.
        import importlib.metadata

        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def version_at_least(found: str, minimum: str) -> bool:
    """Whether `found` is `minimum` or newer, by numbers: 3.10 is newer than 3.9, 3.1 equals 3.1.0, 3.2rc1 is older than 3.2."""
    left, right = _version_key(found), _version_key(minimum)
    length = max(len(left[0]), len(right[0]))
    return (_padded(left[0], length), left[1]) >= (_padded(right[0], length), right[1])


def _version_key(text: str) -> tuple[tuple[int, ...], int]:
    """Release numbers, and 0 for a pre-release or 1 for a release: all that a minimum needs of PEP 440."""
    match = re.match(r"\s*v?(\d+(?:\.\d+)*)(.*)", text)
    if match is None:
        return (), 0
    numbers = tuple(int(part) for part in match.group(1).split("."))
    prerelease = re.match(r"[-_.]?(a|b|c|rc|alpha|beta|pre|preview|dev)[-_.]?\d*", match.group(2), re.IGNORECASE)
    return numbers, 0 if prerelease else 1


def _padded(numbers: tuple[int, ...], length: int) -> tuple[int, ...]:
    return numbers + (0,) * (length - len(numbers))


def _remedy(package: str, minimum: str, debian: str) -> str:
    requirement = f"'{package}>={minimum}'" if minimum else package
    if debian:
        return f"Install it: pip install {requirement}, or the package {debian} on Debian and Ubuntu."
    return f"Install it: pip install {requirement}."


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]

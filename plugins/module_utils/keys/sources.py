# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a protected key lies, and its exact bytes: files, a variable of a `.env` file, of a process or of a container.

{name: master-key, path: /data/master.key}
{name: tls, path: /etc/shop/tls/*.pem}                                          # or a directory
{name: app-key, variable: APP_KEY, env_file: /opt/shop/.env}
{name: app-key, variable: APP_KEY, exec: {type: compose, service: api, project_directory: /opt/shop}}
{name: app-key, variable: APP_KEY, process: {unit: shop.service}}
"""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, SealError
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys import env_file
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.environment import ENCLOSURE_KEYS, PROCESS_KEYS, Enclosure, Process
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.strength import LEAST_BYTES

__all__ = ["KEYS", "KeyFile", "KeySource", "Material", "read_sources"]

KEYS = ("name", "path", "variable", "env_file", "syntax", "process", "exec", "encoding", "min_bytes")
SYNTAXES = ("compose", "literal")
LIMIT_BYTES = 16 * 1024 * 1024
LIMIT_FILES = 4096
_ORIGINS = ("path", "env_file", "process", "exec")


@dataclass(frozen=True)
class KeyFile:
    """One file of a key, or one value: then `name` is "". `data` are its exact bytes, secret; the rest is for who puts it back."""

    name: str
    data: bytes = field(repr=False)
    mode: int = 0o600
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True)
class Material:
    """What was read: one value or file, or several files. `origin` says from where, in words."""

    files: tuple[KeyFile, ...]
    origin: str
    variable: str = ""

    @property
    def several(self) -> bool:
        return bool(self.files[0].name)

    @property
    def named_bytes(self) -> list[tuple[str, bytes]]:
        """For the fingerprint. Secret."""
        return [(file.name, file.data) for file in self.files]


@dataclass(frozen=True)
class KeySource:
    """One protected key as it was asked for."""

    name: str
    path: str = ""
    variable: str = ""
    env_file: str = ""
    syntax: str = "compose"
    process: Process | None = None
    enclosure: Enclosure | None = None
    encoding: str = ""
    least_bytes: int = LEAST_BYTES

    @classmethod
    def from_options(cls, given: Mapping[str, Any], where: str) -> KeySource:
        """Read one item of `keys`; raises `ConfigurationError`."""
        options.unknown_keys(given, KEYS, where)
        name = options.text(given, "name", where)
        where = f"{where}, {name!r}"
        origins = [key for key in _ORIGINS if given.get(key)]
        if len(origins) != 1:
            found = f"found {' and '.join(origins)}" if origins else f"known are {', '.join(_ORIGINS)}"
            raise ConfigurationError(f"a key comes from one place, {found}", where, "Give one of them.")
        variable = options.text(given, "variable", where, "")
        if origins[0] == "path" and variable:
            raise ConfigurationError(
                "variable belongs to env_file, process or exec, not to path", where, "To ship one value, use env_file."
            )
        if origins[0] != "path" and not variable:
            raise ConfigurationError(f"variable is required with {origins[0]}", where, "Name the variable that holds the key.")
        if variable and ("=" in variable or "\0" in variable):
            raise ConfigurationError("variable is a name, without = and what follows", where)
        for key in ("path", "env_file"):
            options.path(given, key, where, absolute=True)
        if given.get("syntax") and origins[0] != "env_file":
            raise ConfigurationError("syntax belongs to env_file", where, "Leave it out.")
        return cls(
            name=name,
            path=str(options.path(given, "path", where) or ""),
            variable=variable,
            env_file=str(options.path(given, "env_file", where) or ""),
            syntax=options.choice(given, "syntax", where, SYNTAXES, "compose"),
            process=Process.from_options(_mapping(given, "process", where, PROCESS_KEYS), where) if given.get("process") else None,
            enclosure=Enclosure.from_options(_mapping(given, "exec", where, ENCLOSURE_KEYS), where) if given.get("exec") else None,
            encoding=options.choice(given, "encoding", where, ("raw", "hex", "base64"), "") or "",
            least_bytes=options.integer(given, "min_bytes", where, LEAST_BYTES, minimum=1, maximum=LIMIT_BYTES),
        )

    @property
    def where(self) -> str:
        return f"protected key {self.name!r}"

    def read(self) -> Material:
        """Its bytes. Secret. Raises `SealError`, `ConfigurationError`, or what reaching a container or a process raises."""
        if self.path:
            return self._from_files()
        if self.env_file:
            return Material((KeyFile("", self._from_env_file()),), f"variable {self.variable} in {self.env_file}", self.variable)
        reached = self.process or self.enclosure
        if reached is None:
            raise ConfigurationError("a key comes from one place", self.where)
        return Material((KeyFile("", reached.value(self.variable)),), f"variable {self.variable} of {reached.what}", self.variable)

    def _from_env_file(self) -> bytes:
        data = _read(self.env_file, self.where).data
        place = f"{self.where}, {self.env_file}"
        try:
            variables: Mapping[str, Any] = env_file.parse_literally(data) if self.syntax == "literal" else env_file.parse(data)
            return env_file.value_of(variables, self.variable)
        except env_file.EnvFileError as error:
            hint = "Take the key from the running service (exec), or say syntax: literal when nothing but your application reads the file."
            raise SealError(str(error), place, hint) from None
        except KeyError:
            meant = options.nearest(self.variable, variables)
            raise SealError(f"there is no variable {self.variable}", place, f"Did you mean {meant}?" if meant else "") from None

    def _from_files(self) -> Material:
        path = self.path
        if not os.path.lexists(path) and glob.has_magic(path):
            found = sorted(name for name in glob.glob(path) if os.path.isfile(name))
            if not found:
                raise SealError("no file has a name like that", f"{self.where}, {path}", "Check path.")
            top = os.path.dirname(path[: next(place for place, sign in enumerate(path) if sign in "*?[")]) or "/"
        elif os.path.isdir(path):
            found, top = sorted(_below(path)), path
            if not found:
                raise SealError("the directory holds no file", f"{self.where}, {path}", "Check path.")
        else:
            return Material((_read(path, self.where),), f"file {path}")
        if len(found) > LIMIT_FILES:
            raise SealError(f"more than {LIMIT_FILES} files: this is no directory of keys", f"{self.where}, {path}")
        files = tuple(_read(name, self.where, os.path.relpath(name, top)) for name in found)
        if sum(len(file.data) for file in files) > LIMIT_BYTES:
            raise SealError(f"larger than {LIMIT_BYTES} bytes together: these are no keys", f"{self.where}, {path}")
        return Material(files, f"files {path}" if found else path)


def read_sources(items: Any, where: str) -> tuple[KeySource, ...]:
    """The option `keys`; raises `ConfigurationError`."""
    if not isinstance(items, Sequence) or isinstance(items, (str, bytes)) or not items:
        raise ConfigurationError("keys is empty or not a list", where, "Write each as `- {name: master-key, path: /data/master.key}`.")
    sources: dict[str, KeySource] = {}
    for number, item in enumerate(items, 1):
        source = KeySource.from_options(_without_nulls(item, f"{where}, keys, number {number}"), f"{where}, keys, number {number}")
        if source.name in sources:
            raise ConfigurationError(f"two keys are called {source.name!r}", where, "Give each a name of its own.")
        sources[source.name] = source
    return tuple(sources.values())


def _read(path: str, where: str, name: str = "") -> KeyFile:
    """A regular file as it lies there, links followed; raises `SealError`. Who may read it is the application's own affair."""
    where = f"{where}, {path}"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise SealError("there is no such file", where, "Check path.") from None
    except OSError as error:
        raise SealError(f"cannot be read: {error.strerror}", where, "Run as a user who may read it.") from None
    with open(descriptor, "rb", buffering=0) as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise SealError("this is not a regular file", where)
        if status.st_size > LIMIT_BYTES:
            raise SealError(f"larger than {LIMIT_BYTES} bytes: this is no key", where)
        data = file.read()
        if len(data) != status.st_size:
            raise SealError("it changed while it was read", where, "Run again.")
    return KeyFile(name, data, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)


def _below(path: str) -> Iterator[str]:
    for folder, _folders, names in os.walk(path, onerror=_raise):
        yield from (str(Path(folder, name)) for name in names if os.path.isfile(os.path.join(folder, name)))


def _raise(error: OSError) -> None:
    raise SealError(f"cannot be listed: {error.strerror}", str(error.filename), "Run as a user who may read it.")


def _mapping(given: Mapping[str, Any], key: str, where: str, known: Sequence[str]) -> Mapping[str, Any]:
    inner = _without_nulls(options.mapping(given, key, where), f"{where}, {key}")
    options.unknown_keys(inner, known, f"{where}, {key}")
    return inner


def _without_nulls(item: Any, where: str) -> dict[str, Any]:
    """As Ansible fills in what was not given."""
    if not isinstance(item, Mapping):
        raise ConfigurationError("expected a mapping", where, "Write it as `{name: master-key, path: /data/master.key}`.")
    return {key: value for key, value in item.items() if value is not None}

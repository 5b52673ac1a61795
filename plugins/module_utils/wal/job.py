# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What WAL archiving was asked to be: options read strictly, before anything runs.

The job file of `lifeboat wal push` and `lifeboat wal fetch` says them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.lock import default_lock_dir
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository, validate
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.terms import check_sources, terms_of, written_directly
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.base import Sealer
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.factory import sealer

__all__ = ["DEFAULT_FILE", "KEYS", "WalJob", "read_job_file"]

DEFAULT_FILE = Path("/etc/lifeboat/wal.json")
KEYS = (
    "system", "repositories", "encryption", "compression_level", "jobs", "run_dir", "stall_timeout",
    "identity_file", "passphrase_file", "data_dir", "prefetch", "alert_after",
)  # fmt: skip

_WHERE = "WAL archive"


@dataclass(frozen=True)
class WalJob:
    """The WAL archive of one cluster. Durations are seconds.

    `repositories` are those that are written directly; of those that are `optional` a push does not wait. `sealer` is None
    for a job that can only fetch. `jobs` files are compressed and sealed at once; the worker sends as many more meanwhile.
    `prefetch` is how many segments after the wanted one a fetch brings along. `run_dir` holds what need not outlive the
    machine's uptime. `data_dir` is the server's; None stands for the working directory, which is where a server starts its
    commands. `alert_after_seconds` is how long a file may wait before the worker calls it trouble.
    """

    system: str
    repositories: Mapping[str, Mapping[str, Any]]
    sealer: Sealer | None = None
    compression_level: int = 3
    jobs: int = 2
    run_dir: Path = field(default_factory=lambda: default_lock_dir() / "wal")
    stall_timeout_seconds: float = 120.0
    identity_file: str = ""
    passphrase_file: str = ""
    data_dir: Path | None = None
    prefetch: int = 8
    alert_after_seconds: float = 300.0

    @classmethod
    def from_options(cls, given: Mapping[str, Any], others: Iterable[str] = ()) -> WalJob:
        """Read a job file's options; `others` are keys that belong to somebody else and are passed by.

        Raises `ConfigurationError`, `SealError`, `MissingTool`.
        """
        options.unknown_keys(given, (*KEYS, *others), _WHERE)
        repositories = options.mapping(given, "repositories", _WHERE)
        if not repositories:
            raise ConfigurationError("repositories is empty", _WHERE, "Name one at least, better two in different places.")
        for name, spec in repositories.items():
            validate(name, spec)
        check_sources(repositories)
        repositories = written_directly(repositories)
        if all(terms_of(name, spec).optional for name, spec in repositories.items()):
            raise ConfigurationError(
                "every repository is optional", _WHERE, "One at least must hold a WAL file before the server may recycle it."
            )
        encryption = options.mapping(given, "encryption", _WHERE, None)
        return cls(
            system=options.text(given, "system", _WHERE),
            repositories=repositories,
            sealer=None if encryption is None else sealer(encryption),
            compression_level=options.integer(given, "compression_level", _WHERE, 3, minimum=1, maximum=19),
            jobs=options.integer(given, "jobs", _WHERE, 2, minimum=1, maximum=16),
            run_dir=_absolute(given, "run_dir") or default_lock_dir() / "wal",
            stall_timeout_seconds=options.duration_seconds(given, "stall_timeout", _WHERE, 120.0, minimum=1),
            identity_file=options.text(given, "identity_file", _WHERE, ""),
            passphrase_file=options.text(given, "passphrase_file", _WHERE, ""),
            data_dir=_absolute(given, "data_dir"),
            prefetch=options.integer(given, "prefetch", _WHERE, 8, minimum=0, maximum=64),
            alert_after_seconds=options.duration_seconds(given, "alert_after", _WHERE, 300.0, minimum=1),
        )

    @property
    def server_dir(self) -> Path:
        """The server's data directory."""
        return self.data_dir or Path.cwd()

    def is_optional(self, name: str) -> bool:
        return terms_of(name, self.repositories[name]).optional

    def sealing(self) -> Sealer:
        """The sealer; raises `ConfigurationError` when the job has none."""
        if self.sealer is None:
            raise ConfigurationError("encryption is missing", _WHERE, "Say for whom WAL is sealed, as for backups: recipients.")
        return self.sealer

    def open_repositories(self, read_only: bool = False) -> list[Repository]:
        """The repositories in the order they were given; their places are first touched by the first call."""
        return [open_repository(name, spec, read_only) for name, spec in self.repositories.items()]


def read_job_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A job file's JSON object; raises `ConfigurationError`."""
    try:
        with open(path, encoding="utf-8") as stream:
            job = json.load(stream)
    except OSError as error:
        raise ConfigurationError(f"the job file cannot be read: {error.strerror}", str(path)) from None
    except ValueError:
        raise ConfigurationError("the job file is not JSON", str(path)) from None
    if not isinstance(job, dict):
        raise ConfigurationError("the job file is not a JSON object", str(path))
    return job


def _absolute(given: Mapping[str, Any], key: str) -> Path | None:
    text = options.text(given, key, _WHERE, None)
    if text is None:
        return None
    path = Path(text).expanduser()
    if not path.is_absolute():
        raise ConfigurationError(f"{key}: expected an absolute path, found {text!r}", _WHERE)
    return path

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job remembers: when it ran last, how that ended, and when it last went well. One small file, replaced whole."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import strict
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import encode_name

__all__ = ["JobState", "read_state", "state_file", "write_state"]

SCHEMA = 1


@dataclass(frozen=True)
class JobState:
    """Moments are UTC. `last_status` is an exit status (errors.py), None before the first run has ended. `detail` is one sentence."""

    schema: int
    job: str
    kind: str
    system: str
    last_started: dt.datetime | None = None
    last_finished: dt.datetime | None = None
    last_status: int | None = None
    last_success: dt.datetime | None = None
    changed: bool | None = None
    detail: str = ""
    consecutive_failures: int = 0

    def to_document(self) -> dict[str, Any]:
        return {
            item.name: strict.format_moment(value) if isinstance(value, dt.datetime) else value
            for item in dataclasses.fields(self)
            for value in [getattr(self, item.name)]
        }


_READERS: dict[str, strict.Reader] = {
    "schema": strict.count,
    "last_started": strict.optional(strict.moment),
    "last_finished": strict.optional(strict.moment),
    "last_status": strict.optional(strict.count),
    "last_success": strict.optional(strict.moment),
    "changed": strict.optional(strict.boolean),
    "consecutive_failures": strict.count,
}


def state_file(state_dir: Path, system: str, job: str) -> Path:
    return state_dir / encode_name(system) / f"{job}.json"


def read_state(path: Path, job: str, kind: str, system: str) -> tuple[JobState, str]:
    """What is remembered, and what is wrong with the file, if something is: then nothing is remembered."""
    fresh = JobState(SCHEMA, job, kind, system)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return fresh, ""
    except OSError as error:
        return fresh, f"{path} cannot be read: {error.strerror}"
    except ValueError:
        return fresh, f"{path} is not JSON"
    try:
        found = strict.fields(JobState, document, _READERS)
    except ValueError as error:
        return fresh, f"{path}: {error}"
    return (found, "") if found.schema == SCHEMA else (fresh, f"{path} is of schema {found.schema}, which is not known")


def write_state(path: Path, state: JobState) -> None:
    """Whole or not at all, and readable for monitoring (it holds no secret); raises `ConfigurationError`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(state.to_document(), file, indent=2)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink()
            raise
    except OSError as error:
        raise ConfigurationError(
            f"what the job remembers cannot be written: {error.strerror}", str(path), "The job's user has to own state_dir."
        ) from None

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove what killed drills left, by `restore_drill` with `reap`, by `lifeboat reap`, and by a job of that kind. Running drills stay."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.engine import engines_here
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.plan import work_dir_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.teardown import Reaped, reap
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.gpg_home import remove_stale_homes

__all__ = ["reap_all", "run"]


def run(given: Mapping[str, Any], check_mode: bool = False) -> dict[str, Any]:
    """A job's options: `work_dir`. Raises as `reap_all` does, and `ConfigurationError`."""
    options.unknown_keys(given, ("work_dir",), "reap")
    return reap_all(work_dir_of(given), check_mode)


def reap_all(work_dir: Path, check_mode: bool = False) -> dict[str, Any]:
    """Whatever killed drills left below `work_dir`, and containers of drills of which nothing else is left.

    With `check_mode` nothing is removed. Raises `LifeboatError` with what was found in its `result` when something stays.
    """
    if not check_mode:
        remove_stale_homes()  # where a killed drill had imported its identity
    reaped = reap(work_dir, check_only=check_mode)
    reaped += _containers(work_dir, check_mode)
    found = [vars(item) for item in reaped]
    result = {"changed": any(item.state == "reaped" for item in reaped), "reaped": found}
    left = [item for item in reaped if item.state == "left"]
    if left:
        raise LifeboatError(
            f"what a killed drill left could not be removed: {left[0].drill_id}: {left[0].detail}", str(work_dir), result=result
        )
    return result


def _containers(work_dir: Path, check_only: bool) -> list[Reaped]:
    """Those of drills whose directory is gone: somebody removed it by hand, or an engine did not answer when it was."""
    found = []
    for engine in engines_here():
        for drill_id in sorted(engine.drills_of(work_dir)):
            if (work_dir / drill_id).exists():
                continue  # it was reaped, or is another one's business
            if check_only:
                found.append(Reaped(drill_id, "reaped", f"its containers of {engine.name} would be removed"))
                continue
            left = engine.clear(drill_id)
            state = "left" if left else "reaped"
            found.append(Reaped(drill_id, state, "; ".join(left) or f"no container of {engine.name} is left"))
    return found

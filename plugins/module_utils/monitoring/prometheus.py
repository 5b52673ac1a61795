# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings as metrics in Prometheus' text format, for the textfile collector of node_exporter.

Moments are exported and not ages: whoever asks computes `time() - …`, so that a check that has stopped running shows as well.
Format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.monitoring.judge import Finding

__all__ = ["HELP", "exposition", "write_textfile"]

HELP: Mapping[str, str] = {
    "lifeboat_check_timestamp_seconds": "When freshness was last judged.",
    "lifeboat_check_good": "Whether everything that was judged was as promised.",
    "lifeboat_repository_reachable": "Whether the repository could be listed.",
    "lifeboat_backup_good": "Whether the newest backup is there, whole, and as young as promised.",
    "lifeboat_backup_snapshot_timestamp_seconds": "The moment whose state the newest good backup holds.",
    "lifeboat_backup_age_limit_seconds": "How old that state may become.",
    "lifeboat_backup_size_bytes": "What the newest good backup takes in the repository.",
    "lifeboat_drill_good": "Whether the last drill passed, kept what was promised, and is not overdue.",
    "lifeboat_drill_timestamp_seconds": "When the last good drill began; of a failed one when there never was a good one.",
    "lifeboat_drill_age_limit_seconds": "How long ago the last drill may be.",
    "lifeboat_drill_rto_seconds": "Measured time to recover, to the last green check.",
    "lifeboat_drill_rpo_seconds": "Measured loss: how far the restored state lay behind the simulated failure.",
    "lifeboat_wal_good": "Whether the archived log has no gap and is as young as promised.",
    "lifeboat_wal_newest_timestamp_seconds": "When the repository got the newest segment.",
    "lifeboat_wal_age_limit_seconds": "How long ago that may be.",
}
"""Each metric, all of them gauges."""

_Sample = tuple[str, Mapping[str, str], float]


def exposition(
    system: str,
    findings: Sequence[Finding],
    reachable: Mapping[str, bool],
    measured: Mapping[str, Mapping[str, float]],
    now: dt.datetime,
) -> str:
    """The text of a metrics file. `measured` has `rto` and `rpo` in seconds by asset, from the last drill."""
    good = all(finding.good for finding in findings) and all(reachable.values())
    samples: list[_Sample] = [
        ("lifeboat_check_timestamp_seconds", {}, now.timestamp()),
        ("lifeboat_check_good", {}, float(good)),
        *(("lifeboat_repository_reachable", {"repository": name}, float(answer)) for name, answer in reachable.items()),
    ]
    for finding in findings:
        samples += _of_finding(finding)
    for asset, figures in measured.items():
        for word in ("rto", "rpo"):
            if word in figures:
                samples.append((f"lifeboat_drill_{word}_seconds", _asset(asset), figures[word]))
    return "".join(_lines(system, samples))


def _of_finding(finding: Finding) -> Iterator[_Sample]:
    what, timestamp, labels = {
        "backup": ("backup", "snapshot_timestamp", {**_asset(finding.asset), "repository": finding.repository}),
        "drill": ("drill", "timestamp", _asset(finding.asset)),
        "log": ("wal", "newest_timestamp", {"repository": finding.repository}),
    }[finding.what]
    yield f"lifeboat_{what}_good", labels, float(finding.good)
    if finding.moment is not None:
        yield f"lifeboat_{what}_{timestamp}_seconds", labels, finding.moment.timestamp()
    if finding.limit_seconds is not None:
        yield f"lifeboat_{what}_age_limit_seconds", labels, finding.limit_seconds
    if finding.what == "backup" and finding.moment is not None:
        yield "lifeboat_backup_size_bytes", labels, float(finding.size_bytes)


def _asset(asset: str) -> dict[str, str]:
    kind, _slash, name = asset.partition("/")
    return {"kind": kind, "name": name}


def _lines(system: str, samples: Iterable[_Sample]) -> Iterator[str]:
    """All samples of one metric stand together below its help, as the format asks."""
    by_name: dict[str, list[_Sample]] = {}
    for sample in samples:
        by_name.setdefault(sample[0], []).append(sample)
    for name, text in HELP.items():
        if name in by_name:
            yield f"# HELP {name} {text}\n# TYPE {name} gauge\n"
            for _name, labels, value in by_name[name]:
                inside = ",".join(f'{key}="{_escaped(label)}"' for key, label in {"system": system, **labels}.items())
                yield f"{name}{{{inside}}} {value!r}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def write_textfile(path: Path, text: str) -> None:
    """Replace the file as a whole: a collector never reads half of it. Raises `ConfigurationError` when it cannot be written."""
    temporary = ""
    try:
        # The collector reads what ends in .prom, and nothing else.
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            os.fchmod(stream.fileno(), 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise ConfigurationError(
            f"the metrics cannot be written: {error.strerror}", str(path), "Make its directory, and let the job's user write there."
        ) from None

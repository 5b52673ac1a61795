# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measuring commands as whole process trees, in turn, and judging ratios of medians.

Time on a shared machine drifts, so the alternatives of one bench run in turn (A B C A B C …) and only ratios are judged.
Memory is the proportional set size of the whole tree, sampled; the staged bytes are the largest sum of what lay in the
run's own directory.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SAMPLE_SECONDS = 0.1


@dataclass(frozen=True)
class Figures:
    """One run: wall and CPU seconds, peak memory of the tree and largest sum of files in its directory, in bytes.

    `cpu_by` says where the CPU seconds went: by program of the tree, sampled, and by server that was named.
    """

    wall_seconds: float
    cpu_seconds: float
    memory_bytes: int
    staged_bytes: int
    cpu_by: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Bar:
    """A promise: `ratio` has to be at most `limit`."""

    name: str
    ratio: float
    limit: float

    @property
    def holds(self) -> bool:
        return self.ratio <= self.limit


def run(argv: Sequence[str], directory: Path, env: Mapping[str, str] | None = None, servers: Mapping[str, int] | None = None) -> Figures:
    """Run a command to its end in `directory`, which is its TMPDIR too; raises when it fails.

    `servers` are names and process ids of those that work for it, so that `cpu_by` can say how much.
    """
    environment = {**os.environ, "TMPDIR": str(directory), **(env or {})}
    peak = _Peak(directory)
    before = {name: _server_seconds(pid) for name, pid in (servers or {}).items()}
    started = time.monotonic()
    with subprocess.Popen(argv, cwd=directory, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        watcher = threading.Thread(target=peak.watch, args=(process.pid,), daemon=True)
        watcher.start()
        assert process.stdout is not None
        output = process.stdout.read()
        _pid, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
    peak.stop.set()
    watcher.join()
    if process.returncode != 0:
        raise SystemExit(f"{argv[0]} failed with {process.returncode}:\n{output.decode(errors='replace')[-2000:]}")
    cpu_by = peak.cpu_by()
    cpu_by.update({name: _server_seconds(pid) - before[name] for name, pid in (servers or {}).items()})
    return Figures(wall, usage.ru_utime + usage.ru_stime, peak.memory_bytes, peak.staged_bytes, cpu_by)


def alternate(commands: Mapping[str, Callable[[], Figures]], runs: int, say: Callable[[str], None]) -> dict[str, Figures]:
    """Each command once to warm up, then `runs` times in turn; the median of each figure by name."""
    figures: dict[str, list[Figures]] = {name: [] for name in commands}
    for number in range(runs + 1):
        for name, command in commands.items():
            measured = command()
            say(f"{'warm-up' if number == 0 else f'run {number}'}: {name} {measured.wall_seconds:.2f} s")
            if number:
                figures[name].append(measured)
    return {name: _median(values) for name, values in figures.items()}


def report(bench: str, runs: int, results: Mapping[str, Mapping[str, Figures]], bars: Sequence[Bar], target: Path | None) -> int:
    """Print medians and bars, write them as JSON when asked; 1 when a bar is missed."""
    for title, figures in results.items():
        print(f"\n{title}")
        print(f"  {'':28} {'wall s':>8} {'cpu s':>8} {'memory MB':>10} {'staged MB':>10}")
        for name, median in figures.items():
            print(
                f"  {name:28} {median.wall_seconds:8.2f} {median.cpu_seconds:8.2f}"
                f" {median.memory_bytes / 1e6:10.0f} {median.staged_bytes / 1e6:10.1f}"
            )
    for title, figures in results.items():
        if any(bar.name.startswith(title) and not bar.holds for bar in bars):
            print(f"\n{title}: where the CPU seconds go")
            for name, median in figures.items():
                shares = sorted(median.cpu_by.items(), key=lambda item: -item[1])
                print(f"  {name:28} " + ", ".join(f"{program} {seconds:.1f}" for program, seconds in shares if seconds >= 0.05))
    print()
    for bar in bars:
        print(f"  {'holds ' if bar.holds else 'MISSED'} {bar.name}: {bar.ratio:.2f} (at most {bar.limit:g})")
    if target is not None:
        document = {
            "bench": bench,
            "machine": machine(),
            "runs": runs,
            "results": {title: {name: dataclasses.asdict(value) for name, value in by.items()} for title, by in results.items()},
            "bars": [{"name": bar.name, "ratio": round(bar.ratio, 3), "limit": bar.limit, "holds": bar.holds} for bar in bars],
        }
        target.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 0 if all(bar.holds for bar in bars) else 1


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processors": len(os.sched_getaffinity(0)),
        "memory_bytes": memory,
        "python": platform.python_version(),
    }


class _Peak:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.memory_bytes = 0
        self.staged_bytes = 0
        self._cpu: dict[tuple[int, str], float] = {}
        self.stop = threading.Event()

    def watch(self, root: int) -> None:
        while not self.stop.is_set():
            tree = _tree(root)
            self.memory_bytes = max(self.memory_bytes, sum(map(_memory_bytes, tree)))
            for pid in tree:
                if times := _times(pid):
                    self._cpu[pid, times[0]] = times[1]
            self.staged_bytes = max(self.staged_bytes, _directory_bytes(self.directory))
            self.stop.wait(SAMPLE_SECONDS)

    def cpu_by(self) -> dict[str, float]:
        total: dict[str, float] = {}
        for (_pid, name), seconds in self._cpu.items():
            total[name] = total.get(name, 0.0) + seconds
        return total


def _tree(root: int) -> list[int]:
    found = [root]
    for pid in found:
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):
                found.extend(int(child) for child in Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
        except OSError:
            continue
    return found


def _times(pid: int) -> tuple[str, float, float] | None:
    """A process's program, its own CPU seconds, and those of the children that it has seen end."""
    try:
        name, _closing, rest = Path(f"/proc/{pid}/stat").read_text(errors="replace").partition("(")[2].rpartition(")")
    except OSError:
        return None
    fields = rest.split()
    ticks = os.sysconf("SC_CLK_TCK")
    return name, (int(fields[11]) + int(fields[12])) / ticks, (int(fields[13]) + int(fields[14])) / ticks


def _server_seconds(pid: int) -> float:
    """CPU seconds of a server and of all it ever started."""
    times = _times(pid)
    own = times[1] + times[2] if times else 0.0
    return own + sum(child[1] + child[2] for other in _tree(pid)[1:] if (child := _times(other)))


def _memory_bytes(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return 0


def _directory_bytes(directory: Path) -> int:
    total = 0
    for folder, _folders, files in os.walk(directory):
        for name in files:
            try:
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
            except OSError:
                continue
    return total


def _median(values: Sequence[Figures]) -> Figures:
    return Figures(
        statistics.median(value.wall_seconds for value in values),
        statistics.median(value.cpu_seconds for value in values),
        int(statistics.median(value.memory_bytes for value in values)),
        int(statistics.median(value.staged_bytes for value in values)),
        {
            name: statistics.median(value.cpu_by.get(name, 0.0) for value in values)
            for name in dict.fromkeys(name for value in values for name in value.cpu_by)
        },
    )

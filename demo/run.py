# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's entry: `bin/demo` prepares an environment and starts this file in it."""

from __future__ import annotations

import argparse
import importlib.util
import platform
import signal
import sys
import time
from pathlib import Path
from types import FrameType

import outputs
import processes
from findings import Findings
from places import DemoError, temporary_place
from progress import Progress
from story import play

OUTPUT = Path(".demo")
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(arguments: list[str]) -> int:
    """0 when every expectation held, 1 when one did not, 2 when the demo could not run, 130 after Ctrl-C."""
    options = parse(arguments)
    for number in INTERRUPTS:
        signal.signal(number, _interrupt)
    processes.adopt_orphans()
    progress = Progress()
    progress.title(f"lifeboat.postgres demo: Python {platform.python_version()} on {platform.system()} {platform.machine()}\n")
    start = time.monotonic()
    if importlib.util.find_spec("ansible_collections.lifeboat") is None:
        progress.title("The collection is not installed in this environment: start the demo as bin/demo.")
        return 2
    try:
        outputs.check_writable(OUTPUT)
        findings = _run(options, progress)
    except DemoError as error:
        progress.title(f"\nThe demo could not run: {error}")
        return 2
    except KeyboardInterrupt:
        progress.title("\nInterrupted; everything that the demo started is gone.")
        return 130
    outputs.write(OUTPUT, findings, time.monotonic() - start)
    outputs.print_table(progress, findings, time.monotonic() - start, OUTPUT)
    return 0 if findings.all_hold else 1


def _run(options: argparse.Namespace, progress: Progress) -> Findings:
    """Play in a temporary directory; processes end before their directory goes."""
    with temporary_place(options.bin_dir, options.keep) as place:
        if options.keep:
            (place.root / "keep").touch()
            progress.note(f"Kept at the end: {place.root} (with the private keys and the damaged backups of this demo).", "kept")
        try:
            return play(place, progress)
        finally:
            for number in INTERRUPTS:  # tidying is short, and is not to be torn: a second Ctrl-C changes nothing
                signal.signal(number, signal.SIG_IGN)
            processes.end_descendants()


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="bin/demo",
        description="Back up a real PostgreSQL, restore it in a drill, and show broken backups being caught. Takes about a minute; "
        "writes .demo/report.json, .demo/report.html and .demo/recovery.html; leaves nothing else behind.",
        epilog="Exit code: 0 every expectation held; 1 one did not; 2 the demo could not run.",
    )
    parser.add_argument("--keep", action="store_true", help="keep the temporary directory with repositories and keys, and say where it is")
    parser.add_argument("--bin-dir", type=Path, metavar="DIR", help="PostgreSQL's programs to use in place of the embedded ones")
    return parser.parse_args(arguments)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all tests share: the marker `needs`, the option `--full`, second attempts that are said, and the last line that counts.

Tests that start servers share a small machine with each other, and a whole run is several thousand of them. One that fails has a
second attempt; both its failure and its name are printed, and more than a few of them are a failure of the run. Tests of the library
alone have none: they either hold or not.
"""

from __future__ import annotations

import collections
import os
import signal
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import hypothesis
import pytest
from support.parts import absence, require

NOTHING_LEFT_OUT = os.environ.get("CI", "").lower() in ("true", "1")
SECOND_ATTEMPTS = 3
"""How many tests of one run may hold at their second attempt only."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the long versions: 200 healthy backups instead of a few, every kill point")


def pytest_configure(config: pytest.Config) -> None:
    # A property either holds or not; how long one example takes, or its making, on a busy machine says nothing about it.
    untimed = [hypothesis.HealthCheck.too_slow]
    hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=untimed)
    hypothesis.settings.load_profile("untimed")
    config.addinivalue_line(
        "markers", 'needs(*parts): parts of the machine without which the test cannot run, e.g. "program:age" (support/parts.py)'
    )


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """Whether the long versions are asked for (`bin/test --full`)."""
    return bool(request.config.getoption("--full"))


@pytest.fixture
def usual_signals() -> Iterator[None]:
    """Signals do what they do by themselves, here and in what is started: a run begun by nohup or in the background ignores some."""
    usual: dict[signal.Signals, Any] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGHUP: signal.SIG_DFL,
        signal.SIGQUIT: signal.SIG_DFL,
    }
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for need in {need for item in items for need in _needs(item)}:
        try:
            absence(need)
        except ValueError as error:
            raise pytest.UsageError(str(error)) from None
    for item in items:
        if not item.nodeid.startswith("tests/unit/"):
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    require(*_needs(item))


def _needs(item: pytest.Item) -> list[str]:
    return [need for marker in item.iter_markers("needs") for need in marker.args]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    return _judge_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    return _judge_skip((yield))


def _judge_skip(report: Any) -> Any:
    """Note why a test, or a file that skips itself, did not run; with CI=true that is a failure: it has proven nothing."""
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.left_out = reason.removeprefix("Skipped: ")  # an attribute travels from xdist's workers, too
        if NOTHING_LEFT_OUT:
            report.outcome = "failed"
            report.longrepr = f"could not run: {report.left_out}; with CI=true nothing may be left out"
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Generator[None, None, None]:
    """The very last line, after pytest's own summary: how many ran, and what could not run and why."""
    yield
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    judged = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) and not session.config.getoption("collectonly")
    if terminal is not None and judged and not hasattr(session.config, "workerinput"):
        reports = (terminal.getreports(word) for word in ("passed", "failed", "error", "skipped", "rerun"))
        line, right = last_line([report for some in reports for report in some])
        terminal.write_line(line)
        if not right:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """A first attempt that failed is shown as any failure is: it is one, and somebody has to look at it."""
    for report in terminalreporter.getreports("rerun"):
        terminalreporter.section(f"first attempt: {report.nodeid}", sep="_", red=True)
        terminalreporter.write_line(report.longreprtext)


def last_line(reports: Sequence[Any]) -> tuple[str, bool]:
    """One line from pytest's reports, and whether it may count as success as far as second attempts go.

    "412 passed, 1 failed; 1 at the second attempt only (test_x.py::test_y); 3 could not run: the program age is missing (3)."
    """
    reasons = collections.Counter(report.left_out for report in reports if hasattr(report, "left_out") and report.outcome != "rerun")
    passed = sum(report.passed for report in reports)
    failed = sum(report.failed and not hasattr(report, "left_out") for report in reports)
    held = {report.nodeid for report in reports if report.passed}
    again = sorted({report.nodeid for report in reports if report.outcome == "rerun"} & held)
    parts = [f"{passed} passed, {failed} failed"]
    if again:
        limit = f"; more than {SECOND_ATTEMPTS} are a failure" if len(again) > SECOND_ATTEMPTS else ""
        parts.append(f"{len(again)} at the second attempt only ({', '.join(again)}){limit}")
    if reasons:
        listed = "; ".join(f"{reason} ({count})" for reason, count in sorted(reasons.items()))
        parts.append(f"{sum(reasons.values())} could not run: {listed}.")
    else:
        parts.append("nothing was left out.")
    return "; ".join(parts), len(again) <= SECOND_ATTEMPTS

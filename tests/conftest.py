# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all tests share: the marker `needs`, the option `--full`, and the last line that counts what could not run."""

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
        reports = (terminal.getreports(word) for word in ("passed", "failed", "error", "skipped"))
        terminal.write_line(last_line([report for some in reports for report in some]))


def last_line(reports: Sequence[Any]) -> str:
    """One line from pytest's reports: "412 passed, 1 failed; 3 could not run: the program age is missing (3)."."""
    reasons = collections.Counter(report.left_out for report in reports if hasattr(report, "left_out"))
    passed = sum(report.passed for report in reports)
    failed = sum(report.failed and not hasattr(report, "left_out") for report in reports)
    if not reasons:
        return f"{passed} passed, {failed} failed; nothing was left out."
    listed = "; ".join(f"{reason} ({count})" for reason, count in sorted(reasons.items()))
    return f"{passed} passed, {failed} failed; {sum(reasons.values())} could not run: {listed}."

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An absent library is one sentence that names both packages."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import deps
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import MissingTool


def test_a_library_that_is_there_is_loaded() -> None:
    assert deps.load("json").__name__ == "json"
    assert deps.load("pytest", minimum="7.0", package="pytest").__name__ == "pytest"
    assert deps.available("pytest", minimum="7.0")


def test_a_library_that_is_absent_names_pip_and_debian_package() -> None:
    with pytest.raises(MissingTool) as caught:
        deps.load("no_such_library.part", minimum="3.1", package="no-such-library", debian="python3-no-such-library")
    assert str(caught.value) == (
        "the Python library no-such-library is not installed. "
        "Install it: pip install 'no-such-library>=3.1', or the package python3-no-such-library on Debian and Ubuntu."
    )
    assert not deps.available("no_such_library")


def test_a_library_that_is_too_old_says_which_version_is_there() -> None:
    with pytest.raises(MissingTool, match=r"the Python library pytest is [0-9.]+, needed is pytest 999.0 or newer"):
        deps.load("pytest", minimum="999.0")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("import no_such_part_of_it", "cannot be imported: No module named 'no_such_part_of_it'"),
        ("raise ImportError('libpq.so.5:\\n cannot open')", "cannot be imported: libpq.so.5: cannot open"),
        ("raise OSError('libzstd.so.1 is missing')", "cannot be imported: libzstd.so.1 is missing"),
    ],
)
def test_a_library_that_breaks_while_loading_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, reason: str) -> None:
    (tmp_path / "broken_library.py").write_text(content)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MissingTool) as caught:
        deps.load("broken_library")
    assert caught.value.what == f"the Python library broken_library {reason}"
    sys.modules.pop("broken_library", None)


@pytest.mark.parametrize(
    ("found", "minimum", "enough"),
    [
        ("3.10", "3.9", True),
        ("3.9", "3.10", False),
        ("3.1", "3.1.0", True),
        ("3.1.0", "3.1", True),
        ("1.2.post1", "1.2", True),
        ("1.2+local", "1.2", True),
        ("3.2rc1", "3.2", False),
        ("3.2.0b2", "3.2", False),
        ("3.2.dev0", "3.2", False),
        ("3.2rc1", "3.1", True),
        ("v2.0", "2", True),
        ("unknown", "1.0", False),
    ],
)
def test_versions_are_compared_by_numbers(found: str, minimum: str, enough: bool) -> None:
    assert deps.version_at_least(found, minimum) is enough

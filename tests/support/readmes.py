# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""bin/_readmes.py as a module: what it would write is compared with what is there."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

__all__ = ["readmes"]


def readmes() -> ModuleType:
    spec = importlib.util.spec_from_file_location("_readmes", Path(__file__).resolve().parents[2] / "bin" / "_readmes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings the library to a host. Its module is told the digest of what the control node has; only where that differs do the files travel."""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

LIBRARY = Path(__file__).resolve().parents[1] / "module_utils"
_PREFIX = "ansible_collections/lifeboat/postgres/plugins/module_utils"
_MODULE = "lifeboat.postgres.host_runtime"


class ActionModule(ActionBase):
    """The task `host_runtime`."""

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset(("path", "python", "libraries", "programs", "client_version", "owner", "group"))
    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        given = dict(self._task.args)
        files = {path.relative_to(LIBRARY).as_posix(): path.read_bytes() for path in sorted(LIBRARY.rglob("*.py"))}
        digest = hashlib.sha256("".join(f"{name} {hashlib.sha256(data).hexdigest()}\n" for name, data in files.items()).encode())
        given["digest"] = digest.hexdigest()
        answer: dict[str, Any] = self._execute_module(module_name=_MODULE, module_args=given, task_vars=task_vars)
        if not answer.pop("needs_archive", False):
            return answer
        base: Any = self  # whose methods are untyped
        if self._connection._shell.tmpdir is None:
            base._make_tmp_path()
        folder = self._connection._shell.tmpdir
        descriptor, local = tempfile.mkstemp(prefix="lifeboat-", suffix=".zip")
        try:
            with os.fdopen(descriptor, "wb") as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, data in files.items():
                    archive.writestr(zipfile.ZipInfo(f"{_PREFIX}/{name}"), data, zipfile.ZIP_DEFLATED)
            remote = self._connection._shell.join_path(folder, "lifeboat-runtime.zip")
            base._transfer_file(local, remote)
            base._fixup_perms2((folder, remote))
            return self._execute_module(module_name=_MODULE, module_args={**given, "archive": remote}, task_vars=task_vars)
        finally:
            os.unlink(local)
            base._remove_tmp_path(folder)

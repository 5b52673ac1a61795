# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible's output as one JSON document per line, so that the demo can show each step while it works."""

from __future__ import annotations

import json
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: demo_lines
type: stdout
short_description: one JSON document per line for the demo
description: Prints what happens to each item of a loop as it happens.
"""


class CallbackModule(CallbackBase):
    """Says `{"event": started | ok | failed | skipped | unreachable, "label": …, "result": …}`."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "demo_lines"

    def _say(self, event: str, label: str = "", result: Any = None) -> None:
        print(json.dumps({"event": event, "label": label, "result": result}, default=str), flush=True)

    def _result(self, event: str, result: Any) -> None:
        label = str(self._get_item_label(result.result) or "")
        self._say(event, label, json.loads(self._dump_results(result.result)))

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self._say("started", task.get_name())

    def v2_runner_item_on_ok(self, result: Any) -> None:
        self._result("ok", result)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        self._result("failed", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        if "results" not in result.result:  # a fault before the first item; else each item has spoken for itself
            self._result("failed", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._result("unreachable", result)

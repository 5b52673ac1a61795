# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Be a module: the only place that knows `AnsibleModule`. Options come in, one function runs, a result or an error goes out."""

from __future__ import annotations

import gc
import subprocess
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.respawn import has_respawned, respawn_module
from ansible_collections.lifeboat.postgres.plugins.module_utils import deps
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError
from ansible_collections.lifeboat.postgres.plugins.module_utils.options import leaves, secrets_among
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import Stopped, stop_on_signals
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import clean_line

__all__ = ["run_module"]

INTERPRETERS = ("/opt/lifeboat/venv/bin/python", "/usr/bin/python3", "/usr/local/bin/python3", "/usr/libexec/platform-python")
"""Where libraries may be when this Python lacks them: the role `host`'s own, then the distribution's."""

_LIBPQ_INCLUDED = ("psycopg_binary", "psycopg_c")
"""With one of them psycopg need not look for libpq, which may be absent though psycopg is there."""

_PLACES = ("repositories", "key_repositories", "data_repositories", "repository", "report_repository", "source", "target", "administrators")
"""Options that hold repositories."""


def run_module(
    argument_spec: Mapping[str, Any],
    function: Callable[[Mapping[str, Any], bool], Mapping[str, Any]],
    supports_check_mode: bool = True,
    **rules: Any,
) -> None:
    """Read the module's options, call `function(params, check_mode)`, and exit with its result.

    The result may hold `changed`, `warnings` and `diff` beside its own keys. A `LifeboatError` becomes a failure with
    `msg` (what, where, what to do next) and `error` (the same apart, and its kind), together with what the error carries
    in `result`. `rules` go to `AnsibleModule` (`required_if`, `mutually_exclusive`, …).
    """
    # What is loaded stays: to look for garbage in it again and again is a tenth of the time that it takes.
    gc.set_threshold(50_000, 20, 50)
    module = AnsibleModule(argument_spec=dict(argument_spec), supports_check_mode=supports_check_mode, **rules)
    params = module.params
    module.no_log_values.update(_misplaced_secrets(params))
    _respawn_for(_libraries(argument_spec, params))
    try:
        with stop_on_signals():
            result = {"changed": False, **_without_reserved(function(params, module.check_mode))}
    except LifeboatError as error:
        known = _without_reserved(getattr(error, "result", {}))
        _warn(module, known)
        module.fail_json(**{**known, "msg": str(error), "error": _parts(error)})
    except Stopped as stop:
        module.fail_json(msg=f"stopped by {stop}; what had been started was ended and cleaned up. Run it again.")
    except Exception as error:  # noqa: BLE001 - a module's last words
        module.fail_json(
            msg=f"unexpected {type(error).__name__}: {clean_line(str(error))}. This is a fault of lifeboat.postgres: please report it.",
            exception=traceback.format_exc(),
        )
    _warn(module, result)
    module.exit_json(**result)


def _without_reserved(result: Mapping[str, Any]) -> dict[str, Any]:
    """By `unreachable` Ansible means the host itself, and drops it from the play: here it is repositories that could not be listed."""
    return {f"{key}_repositories" if key == "unreachable" else key: value for key, value in result.items()}


def _warn(module: AnsibleModule, result: dict[str, Any]) -> None:
    for warning in result.pop("warnings", ()):
        module.warn(warning)


def _parts(error: LifeboatError) -> dict[str, str]:
    return {"kind": type(error).__name__, "what": error.what, "where": error.where, "next_step": error.next_step}


def _misplaced_secrets(params: Mapping[str, Any]) -> Iterator[str]:
    """Secrets written where only paths and public keys belong: they are refused later, and must not be shown either."""
    jobs = params.get("jobs")
    documents = [job.get("options") for job in jobs if isinstance(job, Mapping)] if isinstance(jobs, list) else []
    for found in ({word: params.get(word) for word in (*_PLACES, "encryption", "verify_keys", "wal")}, *documents):
        for _key, value in secrets_among(found):
            yield value


def _libraries(argument_spec: Mapping[str, Any], params: Mapping[str, Any]) -> list[str]:
    """The Python libraries that these options will ask for. zstandard and pyrage are left out: their programs come first."""
    opens = "identity_file" in argument_spec and any(key in ("key", "key_file") for key, _value in leaves(params.get("checks")))
    wanted = {
        "psycopg": "login_db" in argument_spec or "checks" in argument_spec,
        "botocore": ("type", "s3") in leaves({word: params.get(word) for word in _PLACES}),
        "jmespath": bool(params.get("query")) or any(key == "jmespath" for key, _value in leaves(params.get("checks"))),
        "cryptography": bool(params.get("signing_key") or params.get("verify_keys") or opens),
    }
    return [library for library, is_wanted in wanted.items() if is_wanted]


def _respawn_for(libraries: list[str]) -> None:
    """Start this module again under a Python that has the libraries, if there is one; else their absence is reported later."""
    if has_respawned() or all(_is_there(library) for library in libraries):
        return
    probe = f"import sys; assert sys.version_info >= (3, 9); import {', '.join(libraries)}"
    for interpreter in INTERPRETERS:
        if Path(interpreter).exists() and _succeeds([interpreter, "-c", probe]):
            respawn_module(interpreter)


def _is_there(library: str) -> bool:
    """Without loading it where that is possible: a run that finds nothing to do needs few of them."""
    if library == "psycopg" and not any(map(deps.installed, _LIBPQ_INCLUDED)):
        return deps.available(library)
    return deps.installed(library)


def _succeeds(argv: list[str]) -> bool:
    try:
        # pylint: disable-next=ansible-bad-function  # run_command is a module's; this is the library's
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False

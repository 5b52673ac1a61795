# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sign of life to a dead man's switch: a service that alerts when it hears nothing, whatever broke, the host included.

A GET of the URL says that the job succeeded, a GET of the URL with `/fail` that it did not, as Healthchecks and those that
followed it understand it. The URL is a secret: who has it can keep the switch quiet. It comes from a file and is never shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError

__all__ = ["ping"]

_ATTEMPTS = 3
_TIMEOUT_SECONDS = 10.0


def ping(url_file: Path, succeeded: bool, timeout_seconds: float = _TIMEOUT_SECONDS) -> str:
    """Tell the switch; what went wrong with that, or "". Never raises: a switch that is not reached alerts by itself."""
    import http.client
    from urllib import error as faults
    from urllib import request

    from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.secret_file import read_secret_file

    class NoRedirect(request.HTTPRedirectHandler):
        def redirect_request(self, *_args: Any) -> None:
            """A URL that is a secret is not carried elsewhere."""

    try:
        url = read_secret_file(str(url_file), str(url_file)).strip()
    except LifeboatError as error:
        return str(error)
    if not url.startswith(("https://", "http://")) or len(url.split()) != 1:
        return f"{url_file} holds no URL of http or https on one line"
    problem = ""
    for _attempt in range(_ATTEMPTS):
        try:
            address = url if succeeded else f"{url.rstrip('/')}/fail"
            with request.build_opener(NoRedirect).open(address, timeout=timeout_seconds):
                return ""
        except faults.HTTPError as error:
            problem = f"the switch answered {error.code}"
            if error.code < 500:
                break
        except (faults.URLError, http.client.HTTPException, OSError, ValueError) as error:
            problem = f"the switch cannot be reached: {type(getattr(error, 'reason', error)).__name__}"
    return problem

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A request to a URL that is a secret itself: it comes from a file, is followed nowhere else, and is never shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError

__all__ = ["request"]


def request(
    url_file: Path, timeout_seconds: float, *, suffix: str = "", data: bytes | None = None, content_type: str = "", attempts: int = 1
) -> str:
    """GET it, or POST `data`; what went wrong with that, or "". `suffix` is added to its path. Never raises.

    Tried again only where that may help: not after an answer that says no.
    """
    import http.client
    from urllib import error as faults
    from urllib import request as requests

    from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.secret_file import read_secret_file

    class NoRedirect(requests.HTTPRedirectHandler):
        def redirect_request(self, *_args: Any) -> None:
            """A URL that is a secret is not carried elsewhere."""

    try:
        url = read_secret_file(str(url_file), str(url_file)).strip()
    except LifeboatError as error:
        return str(error)
    if not url.startswith(("https://", "http://")) or len(url.split()) != 1:
        return f"{url_file} holds no URL of http or https on one line"
    headers = {"Content-Type": content_type} if content_type else {}
    problem = ""
    for _attempt in range(attempts):
        try:
            asked = requests.Request(f"{url.rstrip('/')}{suffix}" if suffix else url, data, headers)  # noqa: S310 - looked at above
            with requests.build_opener(NoRedirect).open(asked, timeout=timeout_seconds):
                return ""
        except faults.HTTPError as error:
            problem = f"the server answered {error.code}"
            if error.code < 500:
                break
        except (faults.URLError, http.client.HTTPException, OSError, ValueError) as error:
            problem = f"it cannot be reached: {type(getattr(error, 'reason', error)).__name__}"
    return problem

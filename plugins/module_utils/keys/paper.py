# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An identity on paper, for the safe (row C4): one page that needs nothing else, as text and as a QR code.

The library segno draws the code; without it the page has the text alone, and says so. The page is as secret as the
identity itself, so it is made for its owner only and never printed to a terminal.
"""

from __future__ import annotations

import html
import os
import re
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import deps
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, MissingTool, SealError
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.secret_file import read_secret_file

__all__ = ["LIBRARY", "page_of", "write_page"]

LIBRARY = "segno"
_QR_BYTES = 2300
"""What one code holds at the correction that survives a fold (level L holds 2953, M 2331)."""
_PUBLIC = re.compile(r"^# public key: (\S+)$", re.MULTILINE)


def write_page(identity_file: str, target: Path) -> list[str]:
    """Write the page to a file that is not there yet, mode 0600; return what the operator has to know.

    Raises `SealError` for an identity that cannot be read or is none, `ConfigurationError` for a target that cannot be used.
    """
    page, notes = page_of(identity_file)
    if target.parent.is_dir() and os.stat(target.parent).st_mode & 0o022:
        hint = "Choose a directory of your own, in memory at best: /dev/shm/NAME with mode 0700."
        raise ConfigurationError("others can write into the directory of the page", str(target.parent), hint)
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"the page cannot be written: {error.strerror}", str(target), "Name a file that is not there yet."
        ) from None
    with open(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, 0o600)
        file.write(page)
    return [
        *notes,
        f"whoever reads {target} has the identity: print it where no copy is kept, lock the paper away, then: shred -u {target}",
    ]


def page_of(identity_file: str) -> tuple[str, list[str]]:
    """The page as HTML, and what is to be said about it. Secret."""
    text = read_secret_file(identity_file, f"identity file {identity_file}")
    secret = _secret(text, identity_file)
    public = _PUBLIC.search(text)
    code, notes = _code(secret)
    recipient = f"<p>Its public half (no secret): <code>{html.escape(public.group(1))}</code></p>" if public else ""
    values = {"CODE": code, "LINES": _lines(secret), "RECIPIENT": recipient, "MADE": now().strftime("%Y-%m-%d")}
    page = _PAGE
    for name, value in values.items():
        page = page.replace(f"@{name}@", value)
    return page, notes


def _secret(text: str, path: str) -> str:
    """The identity without its comments, as it has to be typed in again; raises `SealError`."""
    where = f"identity file {path}"
    if "PRIVATE KEY" in text:
        return text.strip() + "\n"
    from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.age_keys import identity_lines

    lines = identity_lines(path)
    if not lines:
        raise SealError("it holds no identity", where)
    return "\n".join(lines) + "\n"


def _code(secret: str) -> tuple[str, list[str]]:
    if len(secret.encode()) > _QR_BYTES:
        return _without("the identity is too long for one code"), ["the page has no QR code: the identity is too long for one"]
    try:
        segno: Any = deps.load(LIBRARY, package=LIBRARY, debian="python3-segno")
    except MissingTool as error:
        return _without("the library segno was not there"), [f"the page has no QR code: {error}"]
    drawn: str = segno.make(secret, error="m", micro=False).svg_inline(scale=5, border=4, omitsize=False)
    return drawn, []


def _without(why: str) -> str:
    return f"<p><b>No QR code: {html.escape(why)}.</b> The text below is all there is.</p>"


def _lines(secret: str) -> str:
    """The text in groups that an eye can follow; what is typed in again has no blanks."""
    if "PRIVATE KEY" in secret:
        return html.escape(secret)
    rows = []
    for line in secret.split():
        groups = [line[start : start + 4] for start in range(0, len(line), 4)]
        rows += [" ".join(groups[start : start + 5]) for start in range(0, len(groups), 5)] + [""]
    return html.escape("\n".join(rows))


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Identity, for the safe</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>
@page { margin: 20mm } body { font: 12pt/1.5 serif; max-width: 170mm; margin: 10mm auto; color: #000; background: #fff }
h1 { font-size: 18pt } pre { font: 16pt/1.6 monospace; letter-spacing: .05em; white-space: pre-wrap; word-break: break-all }
code { font-family: monospace; word-break: break-all } svg { display: block; margin: 5mm 0 } .box { border: 2px solid #000; padding: 0 5mm }
</style></head><body>
<h1>SECRET: this identity opens what is sealed for it</h1>
<p class="box">Keep it in a safe, apart from every backup. Whoever has this page and a sealed file has what is in the file.
Made on @MADE@.</p>
@RECIPIENT@
@CODE@
<pre>@LINES@</pre>
<h2>To use it</h2>
<ol><li>Read the code with a device that has no network, or type the text, <b>without the blanks</b>, each identity as one line.</li>
<li>Save it with <code>umask 077</code> as <code>identity.txt</code>;
<code>age-keygen -y identity.txt</code> prints the public half: compare.</li>
<li><code>sh restore.sh --identity identity.txt</code> in the folder of a backup, or <code>age -d -i identity.txt FILE</code>.</li></ol>
<p>Label, place and names of those who may open the safe: ______________________________________________</p>
</body></html>
"""

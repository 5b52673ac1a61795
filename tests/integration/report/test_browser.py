# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report's page in a real browser: hostile names stay names, nothing is loaded, nothing runs, and it fits a phone."""

from __future__ import annotations

import dataclasses
import html as escaping
import re

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import CheckResult
from ansible_collections.lifeboat.postgres.plugins.module_utils.report import html
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.document import DrillReport, Isolation, Objective, Phase, Teardown
from support.browser import PWNED, Chromium, Elements, chromium
from support.reports import a_history, a_report

__all__ = ["chromium"]

pytestmark = pytest.mark.needs("program:chromium")

HOSTILE = [
    f"<script>{PWNED}</script>",
    f'"><img src=x onerror="{PWNED}">',
    f"'><svg onload={PWNED}>",
    f"</style></title></svg></figure><iframe srcdoc='<script>parent.{PWNED}</script>'></iframe>",
    f"<a href='javascript:{PWNED}'>x</a><base href=//evil.example/><meta http-equiv=refresh content='0;url=//evil.example'>",
    "\u202egnp.exe\u2066 \u0000 {title} %s &lt;b&gt; &#60;script&#62;",
    "x" * 3000,
]


def everywhere(text: str) -> DrillReport:
    """A drill whose every free text is this one."""
    return a_report(
        system=text, name=text, backup_id=text, repository=text, reason=text, rpo_note=text, host=text, lifeboat_version=text,
        objective=Objective(1, 1, None, text), phases=(Phase(text, 1.0), Phase("restore", 2.0)),
        checks=tuple(CheckResult(text, verdict, text, text, text) for verdict in ("passed", "failed", "unverified")),
        isolation=Isolation(False, text, text), settings={text: text}, teardown=Teardown(False, 0.1, (text,), text),
        waived=(text,), warnings=(text,),
    )  # fmt: skip


def hostile_page() -> str:
    report = everywhere(" ".join(HOSTILE))
    history = [dataclasses.replace(report, started_at=past.started_at, verdict=past.verdict) for past in a_history()]
    return html.render(report.to_document(), history)


def test_hostile_names_make_no_element_and_run_nothing(chromium: Chromium) -> None:
    seen = Elements(chromium(hostile_page()))
    harmless = everywhere("harmless")
    history = [dataclasses.replace(harmless, started_at=past.started_at, verdict=past.verdict) for past in a_history()]
    expected = Elements(chromium(html.render(harmless.to_document(), history)))
    assert seen.found == expected.found
    assert seen.attributes == expected.attributes
    assert not seen.found.keys() & {"script", "img", "iframe", "object", "embed", "link", "base", "form", "a", "foreignobject", "use"}
    assert not {name for name in seen.attributes if name.startswith("on") or name in ("href", "src", "srcdoc", "data-pwned")}


def test_even_a_script_that_got_in_would_not_run(chromium: Chromium) -> None:
    page = html.render(a_report().to_document(), a_history())
    smuggled = page.replace("</main>", f'<script>{PWNED}</script><img src=x onerror="{PWNED}"></main>')
    assert "data-pwned" not in chromium(smuggled).partition("<body")[0]
    without_policy = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", smuggled)
    assert "data-pwned" in chromium(without_policy).partition("<body")[0]  # so the policy is what kept it out


@pytest.mark.parametrize("width", [320, 390, 1100])
@pytest.mark.parametrize("which", ["healthy", "hostile"])
def test_the_page_fits_a_phone_and_a_desk(chromium: Chromium, width: int, which: str) -> None:
    page = hostile_page() if which == "hostile" else html.render(a_report().to_document(), a_history())
    title = re.search(r"<title>(.*?)</title>", chromium(page, width=width))
    assert title
    inner, outer, high = title.group(1).split()
    assert int(inner) <= int(outer) == width
    assert high == "true"


def test_dark_and_light_are_two_looks_of_one_page(chromium: Chromium) -> None:
    page = html.render(a_report().to_document(), a_history())
    script = "document.title=getComputedStyle(f.contentDocument.body).backgroundColor"
    frame = f'<iframe id=f srcdoc="{escaping.escape(page)}"></iframe><script>f.onload=()=>{{{script}}}</script>'
    colours = set()
    for scheme in ("0", "1"):
        found = re.search(
            r"<title>(rgb[^<]*)</title>", chromium(f"<title>none</title>{frame}", f"--blink-settings=preferredColorScheme={scheme}")
        )
        assert found
        colours.add(found.group(1))
    assert colours == {"rgb(18, 22, 26)", "rgb(247, 246, 243)"}

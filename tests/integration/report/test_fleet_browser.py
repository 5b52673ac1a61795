# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet's page in a real browser: hostile names stay names, nothing runs, and it fits a phone, a desk and a sheet of paper."""

from __future__ import annotations

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.report import fleet_html
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.fleet import Fleet
from support.browser import PWNED, Chromium, Elements, chromium, measured
from support.fleets import a_fleet, a_system, everywhere

__all__ = ["chromium"]

pytestmark = pytest.mark.needs("program:chromium")

HOSTILE = " ".join(
    [
        f"<script>{PWNED}</script>",
        f'"><img src=x onerror="{PWNED}">',
        f"</style></title></svg></figure></details><iframe srcdoc='<script>parent.{PWNED}</script>'></iframe>",
        f"<a href='javascript:{PWNED}'>x</a><base href=//evil.example/><meta http-equiv=refresh content='0;url=//evil.example'>",
        "\u202egnp.exe\u2066 \u0000 {title} %s &lt;b&gt;",
        "x" * 3000,
    ]
)


def test_hostile_names_make_no_element_and_run_nothing(chromium: Chromium) -> None:
    seen = Elements(chromium(fleet_html.render(Fleet((everywhere(HOSTILE), a_system())))))
    expected = Elements(chromium(fleet_html.render(Fleet((everywhere("harmless"), a_system())))))
    assert seen.found == expected.found
    assert seen.attributes == expected.attributes
    assert not seen.found.keys() & {"script", "img", "iframe", "object", "embed", "link", "base", "form", "foreignobject", "use"}
    assert not {name for name in seen.attributes if name.startswith("on") or name in ("src", "srcdoc", "data-pwned")}


@pytest.mark.parametrize("which", ["healthy", "hostile"])
def test_the_page_fits_a_phone_and_a_desk(chromium: Chromium, which: str) -> None:
    fleet = a_fleet(3) if which == "healthy" else Fleet((everywhere(HOSTILE), a_system()))
    found = measured(chromium, fleet_html.render(fleet), (320, 390, 768, 1280))
    assert {width: inner for width, inner in found.items() if inner > width} == {}

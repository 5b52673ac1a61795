# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write what each role's README says about its variables, from its meta/argument_specs.yml: `python bin/_readmes.py`.

Only what stands between the two markers is written; examples and advice around them are by hand. A test
(tests/unit/test_roles.py) fails when a README is not what this would write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROLES = Path(__file__).resolve().parent.parent / "roles"
BEGIN = "<!-- From meta/argument_specs.yml by bin/_readmes.py; edit it there. -->"
END = "<!-- End of what is generated. -->"

_MARKUP = re.compile(r"\b([CVOIBM])\(([^)]*)\)")
_SEMANTIC = {"C": "`{}`", "V": "`{}`", "O": "`{}`", "I": "*{}*", "B": "**{}**", "M": "`{}`"}
"""Ansible's semantic markup (docs.ansible.com, "Ansible markup") in Markdown."""


def main() -> None:
    for readme in sorted(ROLES.glob("*/README.md")):
        readme.write_text(renewed(readme), encoding="utf-8")


def renewed(readme: Path) -> str:
    """The README with its generated part as the role's argument specification wants it; raises `ValueError` without markers."""
    before, begin, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{readme} lacks the markers {BEGIN!r} and {END!r}")
    specification = yaml.safe_load((readme.parent / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
    return f"{before}{BEGIN}\n\n{page(specification['argument_specs']['main'])}\n{END}{after}"


def page(entry: Mapping[str, Any]) -> str:
    """What the role does, then every variable: the required ones, then the others with their defaults."""
    options: Mapping[str, Mapping[str, Any]] = entry["options"]
    required = [name for name, option in options.items() if option.get("required")]
    lines = [*_paragraphs(entry["description"]), "", "## Variables", "", "Required:", ""]
    for name in required:
        lines += _item(name, options[name])
    lines += ["", "Optional:", ""]
    for name in options:
        if name not in required:
            lines += _item(name, options[name])
    return "\n".join(lines) + "\n"


def _item(name: str, option: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    yield f"{indent}- **`{name}`** ({', '.join(_facts(option))}): {' '.join(_paragraphs(option['description']))}"
    for inner, spec in option.get("options", {}).items():
        yield from _item(inner, spec, f"{indent}  ")


def _facts(option: Mapping[str, Any]) -> Iterator[str]:
    kind = option["type"]
    yield f"list of {option['elements']}" if kind == "list" else kind
    if option.get("required"):
        yield "required"
    if "default" in option:
        default = option["default"]
        yield f"default `{default if isinstance(default, str) and default else json.dumps(default)}`"
    if "choices" in option:
        yield "one of " + ", ".join(f"`{choice}`" for choice in option["choices"])


def _paragraphs(description: str | list[str]) -> list[str]:
    texts = [description] if isinstance(description, str) else description
    return [_MARKUP.sub(lambda found: _SEMANTIC[found[1]].format(found[2]), text) for text in texts]


if __name__ == "__main__":
    main()

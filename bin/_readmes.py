# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write what each role's README says about its variables, from its meta/argument_specs.yml: `python bin/_readmes.py`.

Only what stands between the two markers is written; examples and advice around them are by hand. So is the page of all
variables (docs/variables.md), and their names for the lookup that refuses others (plugins/plugin_utils/variables.py). Tests
(tests/unit/test_roles.py, test_variables.py) fail when one of them is not what this would write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).resolve().parent.parent
ROLES = CHECKOUT / "roles"
PAGE = CHECKOUT / "docs" / "variables.md"
NAMES = CHECKOUT / "plugins" / "plugin_utils" / "variables.py"
BEGIN = "<!-- From meta/argument_specs.yml by bin/_readmes.py; edit it there. -->"
END = "<!-- End of what is generated. -->"

_MARKUP = re.compile(r"\b([CVOIBM])\(([^)]*)\)")
_SEMANTIC = {"C": "`{}`", "V": "`{}`", "O": "`{}`", "I": "*{}*", "B": "**{}**", "M": "`{}`"}
"""Ansible's semantic markup (docs.ansible.com, "Ansible markup") in Markdown."""


def main() -> None:
    for readme in sorted(ROLES.glob("*/README.md")):
        readme.write_text(renewed(readme), encoding="utf-8")
    PAGE.write_text(renewed_page(), encoding="utf-8")
    NAMES.write_text(renewed_names(), encoding="utf-8")


def renewed(readme: Path) -> str:
    """The README with its generated part as the role's argument specification wants it; raises `ValueError` without markers."""
    return _between(readme, BEGIN, f"\n\n{page(_entry(readme.parent))}\n", END)


def renewed_page() -> str:
    """docs/variables.md with its table of all variables; raises `ValueError` without markers."""
    lines = ["| variable | of the roles | type |", "|---|---|---|"]
    for name, (roles, option) in sorted(variables().items()):
        where = ", ".join(f"[{role}](../roles/{role}/README.md)" for role in roles)
        lines.append(f"| `{name}` | {where} | {next(iter(_facts(option)))} |")
    return _between(PAGE, BEGIN, "\n\n" + "\n".join(lines) + "\n\n", END)


def renewed_names() -> str:
    """plugins/plugin_utils/variables.py with the names of all variables of roles; raises `ValueError` without markers."""
    names = "".join(f'    "{name}",\n' for name in sorted(variables()))
    return _between(NAMES, "    # begin\n", names, "    # end\n")


def variables() -> dict[str, tuple[list[str], Mapping[str, Any]]]:
    """Every variable of every role: the roles that read it, and its specification, which is the same in all of them."""
    found: dict[str, tuple[list[str], Mapping[str, Any]]] = {}
    for role in sorted(path.parent.parent for path in ROLES.glob("*/meta/argument_specs.yml")):
        for name, option in _entry(role)["options"].items():
            found.setdefault(name, ([], option))[0].append(role.name)
    return found


def _entry(role: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]["main"]
    return found


def _between(file: Path, begin: str, text: str, end: str) -> str:
    """The file's text with `text` between two markers."""
    before, found, rest = file.read_text(encoding="utf-8").partition(begin)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"{file} lacks the markers {begin!r} and {end!r}")
    return f"{before}{begin}{text}{end}{after}"


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

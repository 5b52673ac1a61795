# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a role says of itself agrees: specification, defaults, README, tasks; and a word means the same in every role."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.readmes import readmes

CHECKOUT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (CHECKOUT / "roles").iterdir())

MODULES = "ansible_collections.lifeboat.postgres.plugins.modules"
FRAGMENTS = "ansible_collections.lifeboat.postgres.plugins.doc_fragments"

TYPES: Mapping[str, type] = {"str": str, "path": str, "int": int, "bool": bool, "list": list, "dict": dict, "raw": object}


def read(role: str, file: str) -> Any:
    path = CHECKOUT / "roles" / role / file
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}


def options_of(role: str) -> dict[str, dict[str, Any]]:
    options: dict[str, dict[str, Any]] = read(role, "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    return options


def every_option(options: Mapping[str, Mapping[str, Any]], where: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each option with its path, options of options too."""
    for name, option in options.items():
        yield f"{where}{name}", option
        yield from every_option(option.get("options", {}), f"{where}{name}.")


@pytest.mark.parametrize("role", ROLES)
def test_defaults_and_specification_agree(role: str) -> None:
    specified = {name: option["default"] for name, option in options_of(role).items() if "default" in option}
    assert read(role, "defaults/main.yml") == specified


@pytest.mark.parametrize("role", ROLES)
def test_every_option_is_typed_described_and_either_required_or_has_a_default(role: str) -> None:
    options = options_of(role)
    for path, option in every_option(options):
        assert option["description"], path
        assert option["type"] in TYPES, path
        assert ("elements" in option) == (option["type"] == "list"), path
        if "default" in option:
            assert isinstance(option["default"], TYPES[option["type"]]), path
            default: Any = option["default"]
            given: list[Any] = default if option["type"] == "list" else [default]
            assert all(item in option.get("choices", given) for item in given), path
    assert all(option.get("required", False) != ("default" in option) for option in options.values())


@pytest.mark.parametrize("role", ROLES)
def test_tasks_use_every_option_and_no_other_variable_of_the_collection(role: str) -> None:
    files = [*(CHECKOUT / "roles" / role / "tasks").glob("*.yml"), *(CHECKOUT / "roles" / role / "vars").glob("*.yml")]
    used = {name for file in files for name in re.findall(r"(?<![\w.])lifeboat_\w+", _without_comments(file))}
    # What the other half of the work needs is accepted, so that one document describes a system; drills are a statistic.
    assert used - {"lifeboat_drills"} <= set(options_of(role))
    unused = set(options_of(role)) - used
    assert unused <= {"lifeboat_objective"}, "an option that nothing reads"


LEFT_TO_THE_MODULE = {
    # A database of several is called by its own name, and brings its queries with it.
    "pg_logical_backup": {"name", "login_db", "evidence_queries"},
    # Reaping is no drill.
    "restore_drill": {"reap"},
}


@pytest.mark.parametrize(("role", "module"), [("backup", "pg_logical_backup"), ("drill", "restore_drill"), ("keys", "key_escrow")])
def test_every_option_of_a_module_can_be_said_through_its_role(role: str, module: str) -> None:
    documented = yaml.safe_load(importlib.import_module(f"{MODULES}.{module}").DOCUMENTATION)
    options = set(documented["options"])
    for fragment in documented["extends_documentation_fragment"]:
        found = importlib.import_module(f"{FRAGMENTS}.{fragment.rpartition('.')[2]}").ModuleDocFragment.DOCUMENTATION
        options |= set(yaml.safe_load(found).get("options", {}))
    said = {key for file in (CHECKOUT / "roles" / role / "tasks").glob("*.yml") for key in _said(yaml.safe_load(file.read_text()), module)}
    assert options - said == LEFT_TO_THE_MODULE.get(module, set()) - said


def _said(node: Any, module: str) -> Iterator[str]:
    """The options that tasks give to a module, as its defaults too."""
    if isinstance(node, list):
        for item in node:
            yield from _said(item, module)
    elif isinstance(node, dict):
        yield from node.get(f"lifeboat.postgres.{module}", {})
        for item in node.values():
            yield from _said(item, module)


@pytest.mark.parametrize("role", ROLES)
def test_internal_variables_say_that_they_are(role: str) -> None:
    for file in (CHECKOUT / "roles" / role).glob("tasks/*.yml"):
        registered = re.findall(r"(?:register|loop_var): (\w+)", file.read_text(encoding="utf-8"))
        assert all(name.startswith("__lifeboat_") for name in registered), file
    assert all(name.startswith("__lifeboat_") for name in read(role, "vars/main.yml"))


@pytest.mark.parametrize("role", ROLES)
def test_the_readme_is_what_the_specification_makes_it(role: str) -> None:
    readme = CHECKOUT / "roles" / role / "README.md"
    assert readme.read_text(encoding="utf-8") == readmes().renewed(readme), "run: python bin/_readmes.py"


def test_a_word_means_the_same_in_every_role() -> None:
    """One inventory feeds all roles, so a shared name has one type, one default and the same inner options."""
    seen: dict[str, tuple[str, Any]] = {}
    for role in ROLES:
        for name, option in options_of(role).items():
            meaning = {key: value for key, value in option.items() if key != "description"}
            other, earlier = seen.setdefault(name, (role, meaning))
            assert meaning == earlier, f"{name} in {role} and in {other}"


def _without_comments(file: Path) -> str:
    return re.sub(r"^\s*#.*$", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE)

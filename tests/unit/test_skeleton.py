# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection holds together: versions agree, lists are whole, and nothing of one machine is in it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.lifeboat.postgres.plugins.module_utils import runtime

CHECKOUT = Path(__file__).resolve().parents[2]


def read_yaml(path: str) -> Any:
    return yaml.safe_load((CHECKOUT / path).read_text(encoding="utf-8"))


def project_files() -> list[Path]:
    """What belongs to the project: what git knows or would add; without git, everything outside the caches."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=CHECKOUT, capture_output=True)
    if listed.returncode == 0:
        found = [CHECKOUT / name.decode() for name in listed.stdout.split(b"\0") if name]
    else:
        found = [path for path in CHECKOUT.rglob("*") if not {".cache", ".demo", ".git", "__pycache__"} & set(path.parts)]
    return [path for path in found if path.is_file()]


def test_the_library_says_the_version_of_the_collection() -> None:
    assert read_yaml("galaxy.yml")["version"] == runtime.VERSION


def test_every_module_takes_the_defaults_of_the_group_all() -> None:
    modules = sorted(path.stem for path in (CHECKOUT / "plugins" / "modules").glob("*.py"))
    assert read_yaml("meta/runtime.yml")["action_groups"]["all"] == modules


def test_the_licence_is_where_reuse_and_galaxy_look_for_it() -> None:
    assert (CHECKOUT / "LICENSE").read_bytes() == (CHECKOUT / "LICENSES" / "GPL-3.0-or-later.txt").read_bytes()


def test_every_source_file_says_whose_it_is_in_its_first_lines() -> None:
    for path in project_files():
        if path.suffix in (".py", ".sh", ".sql") or path.parent.name == "bin":
            head = path.read_text(encoding="utf-8").split("\n", 4)[:4]
            # In two halves, so that reuse does not take this line for a statement about this file.
            assert any("SPDX-License" + "-Identifier: GPL-3.0-or-later" in line for line in head), path


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    own_places = [str(place) for place in (CHECKOUT, CHECKOUT.parent, Path.home()) if len(place.parts) > 2]
    for path in project_files():
        text = path.read_bytes()
        assert not [place for place in own_places if place.encode() + b"/" in text], path


def test_no_file_names_the_host_of_a_package_registry() -> None:
    registries = re.compile(rb"https?://[a-z.]*(pypi|pythonhosted|npmjs|(deb|security|ftp)\.debian|proxy\.golang|galaxy\.ansible)[a-z.]*")
    for path in project_files():
        assert not registries.search(path.read_bytes()), path


def test_there_are_no_init_files_because_a_collection_is_a_namespace() -> None:
    assert not [path for path in project_files() if path.name == "__init__.py"]


def test_the_library_imports_ansible_in_one_file_only() -> None:
    library = CHECKOUT / "plugins" / "module_utils"
    importing = [
        path.relative_to(library).as_posix()
        for path in library.rglob("*.py")
        if re.search(r"^\s*(from|import) ansible\b(?!_)", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert set(importing) <= {"_ansible.py"}


@pytest.mark.parametrize("role", sorted(path.name for path in (CHECKOUT / "roles").glob("*")))
def test_the_variables_of_a_role_carry_the_collections_prefix(role: str) -> None:
    """ansible-lint's rule wants each role's own prefix; the variables that describe a system are shared (.ansible-lint)."""
    for file in [*(CHECKOUT / "roles" / role).glob("defaults/*.yml"), *(CHECKOUT / "roles" / role).glob("vars/*.yml")]:
        names = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        assert not [name for name in names if not re.match(r"(__)?lifeboat_", name)], file


def test_a_pylint_finding_that_is_ignored_has_a_reason() -> None:
    for path in (CHECKOUT / "plugins").rglob("*.py"):
        for line in re.findall(r"# pylint: .*", path.read_text(encoding="utf-8")):
            assert re.search(r"# pylint: \S+  # \S+ \S+", line), f"{path.relative_to(CHECKOUT)}: {line}"


def test_links_between_pages_lead_somewhere() -> None:
    lost = [
        f"{page.relative_to(CHECKOUT)}: {link}"
        for page in project_files()
        if page.suffix == ".md"
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
        if "://" not in link and not (page.parent / link).exists()
    ]
    assert lost == []

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook `prune`: predicts, acts, writes down what is kept, and has nothing to do the second time."""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.cli import main
from support.playbooks import Play, play
from support.prunes import directory, exists, fill
from support.shelf import Shelf


@pytest.fixture
def prune(tmp_path: Path) -> Any:
    def run(shelf: Shelf, *arguments: str, **variables: Any) -> Play:
        own = {
            "ansible_connection": "local",
            "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            "lifeboat_system": "shop",
            "lifeboat_databases": [{"name": "shop"}, {"name": "licences", "objective": {"retention": {"daily": 4}}}],
            "lifeboat_repositories": {"here": {"type": "posix", "path": "/nonexistent"}},
            "lifeboat_prune_repositories": shelf.specs,
            "lifeboat_objective": {"tier": "baseline", "retention": {"daily": 3, "max_age": "30d"}},
            "lifeboat_data_retention": [{"data": "deleted customers", "max_age": "30d"}],
            "lifeboat_retention_document": str(tmp_path / "retention.md"),
            "lifeboat_prune_state_dir": str(tmp_path / "state"),
            "lifeboat_lock_dir": str(tmp_path / "locks"),
            "lifeboat_prune_become_user": "",
            **variables,
        }
        return play("prune", {"all": {"vars": own, "children": {"prune": {"hosts": {"pruner": {}}}}}}, tmp_path, *arguments)

    return run


def test_it_predicts_then_acts_then_has_nothing_to_do(prune: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shelf = Shelf({"here": directory(tmp_path / "here")})
    shop, licences = fill(shelf, 5), fill(shelf, 5, name="licences")
    predicted = prune(shelf, "--check", "--diff")
    assert predicted.status == 0, predicted.output
    assert predicted.recap("pruner")["changed"] == 2, "the backups, and the document"
    assert f"-here: database/shop {shop[4].backup_id} (beyond daily 3, at most 30 days old)" in predicted.output
    assert all(exists(shelf, manifest) for manifest in (*shop, *licences))
    places = {word: str(tmp_path / "host" / word) for word in ("runtime", "config", "state", "log", "run", "cron", "units", "tmpfiles")}
    for word in ("config", "state", "log", "run", "tmpfiles"):
        Path(places[word]).mkdir(mode=0o755, parents=True)
    command = Path(places["runtime"]) / "bin" / "lifeboat"  # looked for, and not run here
    command.parent.mkdir(parents=True)
    command.write_text("#!/bin/sh\n")
    me = pwd.getpwuid(os.geteuid()).pw_name
    scheduled = {
        "lifeboat_schedule_jobs": True, "lifeboat_scheduler": "none", "lifeboat_directories": places, "lifeboat_host_owner": me,
        "lifeboat_host_become_user": "",
    }  # fmt: skip
    done = prune(shelf, **scheduled)
    assert done.status == 0, done.output
    assert main(["prune", "--jobs", places["config"], "--dry-run", "--all", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["removed"] == []
    assert [exists(shelf, manifest) for manifest in shop] == [True, True, True, False, False]
    assert [exists(shelf, manifest) for manifest in licences] == [True, True, True, True, False]
    written = (tmp_path / "retention.md").read_text()
    assert "| deleted customers |  | 30 days | here | 30 days | yes |" in written
    assert "| here | posix " in written
    vault = directory(tmp_path / "vault", retention={"keep": 1})
    again = prune(shelf, lifeboat_key_repositories={"vault": vault})
    assert again.status == 0, again.output
    assert again.recap("pruner")["changed"] == 0
    shelf.close()


def test_a_refusal_is_red_and_the_document_is_written_all_the_same(prune: Any, tmp_path: Path) -> None:
    shelf = Shelf({"here": directory(tmp_path / "here")})
    made = fill(shelf, 9)
    run = prune(shelf)
    assert run.status != 0
    assert "max_remove allows 50% of them" in run.output
    assert all(exists(shelf, manifest) for manifest in made)
    assert (tmp_path / "retention.md").exists()
    shelf.close()


def test_a_name_that_no_repository_has_is_refused(prune: Any, tmp_path: Path) -> None:
    shelf = Shelf({"here": directory(tmp_path / "here")})
    run = prune(shelf, lifeboat_prune_repositories={"heer": {}})
    assert run.status != 0
    assert "names what neither lifeboat_repositories nor lifeboat_key_repositories does: heer." in run.output
    shelf.close()

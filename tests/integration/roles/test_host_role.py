# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role `host` in a stranger's play: what it installs works without Ansible, and comes whole or not at all."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import VERSION
from support.clusters import account
from support.hosts import Host, a_host


@pytest.fixture
def host() -> Iterator[Host]:
    with a_host() as found:
        yield found


def releases(host: Host) -> list[str]:
    return sorted(path.name for path in (host.home / "runtime").iterdir() if path.name != "bin" and not path.is_symlink())


def release(host: Host, name: str) -> Path:
    """A release that an earlier version left."""
    path = host.home / "runtime" / name
    path.mkdir(parents=True)
    (path / "release.json").write_text(json.dumps({"version": name.partition("-")[0], "digest": "0" * 64}))
    return path


def test_a_fresh_host_is_predicted_installed_and_then_left_alone(host: Host) -> None:
    secrets = {"offsite.credentials": "hush-hush\n"}
    rehearsal = host.play("role:host", "--check", "--diff", lifeboat_secrets=secrets)
    assert rehearsal.status == 0, rehearsal.output
    assert rehearsal.recap("db1")["changed"] == 2
    assert not host.files()
    first = host.play("role:host", "--diff", lifeboat_secrets=secrets)
    assert (first.status, first.recap("db1")["changed"]) == (0, 2), first.output
    assert "hush-hush" not in rehearsal.output + first.output
    assert host.files()["config/shop/offsite.credentials"] == ("0600", b"hush-hush\n")
    assert (host.home / "config" / "shop").stat().st_mode & 0o7777 == 0o755
    said = host.lifeboat("doctor", "--jobs", str(host.home / "config"))
    assert f"lifeboat.postgres {VERSION}" in said.stdout, said.stderr
    files = host.files()
    again = host.play("role:host", lifeboat_secrets=secrets, lifeboat_host_python="/usr/bin/python3")
    assert (again.status, again.recap("db1")["changed"]) == (0, 1), again.output
    _look_for_backups_as_the_jobs_user(host)
    again = host.play("role:host", lifeboat_secrets=secrets, lifeboat_host_python="/usr/bin/python3")
    assert (again.status, again.recap("db1")["changed"]) == (0, 0), again.output
    changed = {name for name, file in host.files().items() if files.get(name) != file}
    assert {name for name in changed if "__pycache__" not in name and not name.startswith("own/")} == {"runtime/bin/lifeboat"}


def _look_for_backups_as_the_jobs_user(host: Host) -> None:
    """Started by root, a job is its own user's all the same; started by somebody else, it is refused."""
    entry = account()
    user = host.user if entry is None else entry.pw_name
    own = host.home / "own"
    own.mkdir()
    shutil.chown(own, user)
    options = {"system": "shop", "repositories": {"here": {"type": "posix", "path": str(own)}}}
    places = {f"{name}_dir": str(own / name) for name in ("state", "log", "run")}
    document = {"schema": 1, "job": "verify", "kind": "verify", "system": "shop", "user": user, "options": options, **places}
    file = host.home / "config" / "shop" / "verify.json"
    file.write_text(json.dumps(document))
    done = host.lifeboat("run", str(file))
    assert done.returncode == 8, done.stderr
    assert "there is no backup to verify" in done.stdout
    assert (own / "state" / "shop" / "verify.json").owner() == user
    doctor = host.lifeboat("doctor", "--jobs", str(host.home / "config"))
    assert "repository 'here' of shop: read" in doctor.stdout
    if entry is not None:
        file.write_text(json.dumps({**document, "user": "root"}))
        file.chmod(0o644)
        refused = subprocess.run(
            ["setpriv", f"--reuid={user}", "--clear-groups", str(host.program), "run", str(file)], capture_output=True, text=True
        )
        assert (refused.returncode, "this job is run by root" in refused.stderr) == (2, True), refused.stderr
    file.unlink()


def test_an_upgrade_turns_the_link_keeps_the_release_before_and_removes_older_ones(host: Host) -> None:
    older, old = release(host, "0.0.1-aaaaaaaaaaaa"), release(host, "0.0.2-bbbbbbbbbbbb")
    (host.home / "runtime" / "current").symlink_to(old.name)
    run = host.play("role:host")
    assert run.status == 0, run.output
    assert (old.exists(), older.exists()) == (True, False)
    current = (host.home / "runtime" / "current").readlink()
    assert str(current).startswith(f"{VERSION}-")
    assert releases(host) == sorted([str(current), old.name])


def test_a_release_that_was_interrupted_is_made_whole(host: Host) -> None:
    assert host.play("role:host").status == 0
    (name,) = releases(host)
    stamp = host.home / "runtime" / name / "release.json"
    stamp.unlink()
    next(stamp.parent.rglob("cli.py")).unlink()
    run = host.play("role:host")
    assert (run.status, run.recap("db1")["changed"]) == (0, 1), run.output
    assert host.lifeboat("status", "--jobs", "/nonexistent").returncode == 0


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"lifeboat_host_python": "/nonexistent/python"}, "the Python that shall run the jobs cannot be started"),
        ({"lifeboat_directories": {"confg": "/x"}}, "confg"),
    ],
)
def test_what_cannot_be_is_said(host: Host, variables: dict[str, object], sentence: str) -> None:
    run = host.play("role:host", **variables)
    assert run.status != 0
    assert sentence in run.output

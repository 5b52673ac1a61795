# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each sealing method from the backup to a restore with standard tools, and to a drill that says what it is worth (laws 5, 8)."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.run import run as take_backup
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.run import run as run_drill
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import DrillNotPassed
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal import gpg_home
from support.clusters import Server
from support.drills import work_dir
from support.keys import gpg_pair
from support.logical import folder_of, manifest_of, new_identity, options, posix
from support.modules import run_module

__all__ = ["work_dir"]

pytestmark = pytest.mark.needs("program:gpg", "program:gpg-agent", "program:gpgconf", "program:zstd", "library:pyrage")
METHODS = ("gpg", "gpg-symmetric", "none")
PASSPHRASE = "correct horse battery staple"
SHOP = "CREATE TABLE orders AS SELECT n AS id, md5(n::text) AS note FROM generate_series(1, 5000) n;"


@dataclass(frozen=True)
class Sealed:
    """A backup that was sealed so, and what opens it: the drill's option, and the script's arguments."""

    method: str
    server: Server
    name: str
    result: dict[str, Any]
    manifest: Manifest
    place: Path
    key: dict[str, str]
    wrong: dict[str, str]

    def drill(self, work_dir: Path, **more: Any) -> dict[str, Any]:
        given = {
            "system": "shop", "name": self.name, "repositories": {"here": {"type": "posix", "path": str(self.place)}},
            "work_dir": str(work_dir), "bin_dir": str(self.server.bin_dir), "waive": ["same_host", "signature"], **self.key, **more,
        }  # fmt: skip
        return run_drill(given)

    def restore(self, folder: Path, key: dict[str, str], *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """The script in a bare environment: no Python path, no collection, standard directories, nobody's keyring."""
        flags = {"identity_file": "--identity", "passphrase_file": "--passphrase-file"}
        words = [word for name, value in key.items() for word in (flags[name], value)]
        bare = {"PATH": f"{self.server.bin_dir}:/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent", **environment}
        return subprocess.run(["sh", "restore.sh", *words, *more], cwd=folder, env=bare, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module", autouse=True)
def our_own_homes() -> Iterator[None]:
    """Homes of these tests have a name of their own: others at work on this machine make such homes, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpg_home, "PREFIX", f"{gpg_home.PREFIX}{os.getpid()}-")
        yield


@pytest.fixture(scope="module", params=METHODS)
def sealed(request: pytest.FixtureRequest, postgres18: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sealed]:
    place = tmp_path_factory.mktemp(request.param)
    encryption: dict[str, Any] = {"method": request.param}
    key: dict[str, str] = {}
    wrong: dict[str, str] = {}
    if request.param == "gpg":
        mine, stranger = gpg_pair(place / "mine"), gpg_pair(place / "stranger")
        encryption["recipients"] = [f"{mine.path}.pub"]
        key, wrong = {"identity_file": mine.path}, {"identity_file": stranger.path}
    if request.param == "gpg-symmetric":
        for name, line in (("passphrase", PASSPHRASE), ("wrong", "wrong horse battery staple")):
            (place / name).touch(mode=0o600)
            (place / name).write_text(f"{line}\n")
        encryption["passphrase_file"] = str(place / "passphrase")
        key, wrong = {"passphrase_file": str(place / "passphrase")}, {"passphrase_file": str(place / "wrong")}
    with postgres18.database() as name:
        postgres18.execute(SHOP, name)
        spec = posix(place / "repository")
        given = options(postgres18, name, {"here": spec}, new_identity(place / "unused"), place / "locks", volume_size="64KiB")
        result = take_backup({**given, "encryption": encryption})
        manifest = manifest_of(spec, result["backup_id"], name)
        yield Sealed(request.param, postgres18, name, result, manifest, place / "repository", key, wrong)


@pytest.fixture
def download(sealed: Sealed, tmp_path: Path) -> Path:
    shutil.copytree(folder_of(sealed.place, sealed.manifest), tmp_path / "backup")
    return tmp_path / "backup"


def test_the_method_is_in_the_names_and_in_the_manifest(sealed: Sealed) -> None:
    suffix = {"gpg": ".gpg", "gpg-symmetric": ".gpg", "none": ""}[sealed.method]
    assert sealed.manifest.artifact("evidence").name == f"evidence.json.zst{suffix}"
    assert sealed.manifest.encryption == sealed.method
    assert [len(recipient) for recipient in sealed.manifest.recipients] == ([40] if sealed.method == "gpg" else [])


def test_what_law_5_loses_is_said_in_the_result_and_in_the_manifest(sealed: Sealed) -> None:
    for said in ("\n".join(sealed.result["warnings"]), "\n".join(sealed.manifest.notes)):
        assert ("law 5 does not hold" in said) is (sealed.method != "gpg")
        assert PASSPHRASE not in said


def test_a_drill_passes_and_every_form_of_its_report_says_it(sealed: Sealed, work_dir: Path, tmp_path: Path) -> None:
    result = sealed.drill(work_dir, report_dir=str(tmp_path / "reports"))
    assert result["report"]["verdict"] == "passed"
    texts = [json.dumps(result["warnings"]), *(Path(path).read_text() for path in result["report_files"])]
    for text in texts:
        # That a directory can be emptied by whoever writes into it is said as well, whatever the method.
        of_the_place = text.count("neither versions nor locks (law 5 does not hold)")
        assert (text.count("law 5 does not hold") > of_the_place) is (sealed.method != "gpg")
        assert PASSPHRASE not in text
    assert not list(Path(gpg_home.IN_MEMORY).glob(f"*{gpg_home.PREFIX}*")), "no key is left in memory"


def test_a_wrong_key_or_none_leaves_it_unverified(sealed: Sealed, work_dir: Path) -> None:
    if sealed.method == "none":
        return
    with pytest.raises(DrillNotPassed, match=r"unverified: the (identity|passphrase) in .* does not open this backup"):
        sealed.drill(work_dir, **sealed.wrong)
    empty = dict.fromkeys(sealed.key, "")
    with pytest.raises(DrillNotPassed, match=r"unverified: .*(needs the identity|sealed with a passphrase)"):
        sealed.drill(work_dir, **empty)


def test_a_bit_flipped_late_fails_the_drill_before_anything_is_restored(sealed: Sealed, work_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(sealed.place, tmp_path / "copy")
    path = folder_of(tmp_path / "copy", sealed.manifest) / sealed.manifest.artifact("dump").volumes[-1].name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)
    with pytest.raises(DrillNotPassed, match=r"failed: .* has another SHA-256 digest") as caught:
        sealed.drill(work_dir, repositories={"copy": {"type": "posix", "path": str(tmp_path / "copy")}})
    assert "restore" not in {phase["name"] for phase in caught.value.result["report"]["phases"]}


def test_the_script_restores_it_with_standard_tools(sealed: Sealed, download: Path, postgres18: Server) -> None:
    with Server(postgres18.major) as empty, tempfile.TemporaryDirectory(prefix="lb-", dir="/tmp") as temporary:
        where = {"PGHOST": str(empty.socket_dir), "PGPORT": str(empty.port), "PGUSER": "postgres", "TMPDIR": temporary}
        done = sealed.restore(download, sealed.key, "--no-owner", **where)
        assert done.returncode == 0, done.stderr
        question = "SELECT count(*), min(note), max(note) FROM orders"
        with empty.connect(sealed.name) as restored, postgres18.connect(sealed.name) as production:
            assert restored.execute(question).fetchone() == production.execute(question).fetchone()
        assert not list(Path(temporary).glob("*/S.gpg-agent"))


def test_the_script_says_that_the_key_is_the_wrong_one(sealed: Sealed, download: Path) -> None:
    if sealed.method != "none":
        done = sealed.restore(download, sealed.wrong, "--open-only")
        assert done.returncode != 0
        assert "does not open" in done.stderr
        assert "usage: sh restore.sh --" in sealed.restore(download, {}, "--open-only").stderr
    assert not (download / "database.dump").exists()


@pytest.mark.needs("program:shellcheck")
def test_the_script_is_clean(download: Path) -> None:
    done = subprocess.run(["shellcheck", "--shell=sh", "restore.sh"], cwd=download, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.needs("program:ansible")
def test_the_modules_take_a_passphrase_file_and_show_neither_it_nor_what_is_in_it(
    postgres18: Server, tmp_path: Path, work_dir: Path
) -> None:
    (tmp_path / "passphrase").touch(mode=0o600)
    (tmp_path / "passphrase").write_text(f"{PASSPHRASE}\n")
    key, spec = {"passphrase_file": str(tmp_path / "passphrase")}, {"here": posix(tmp_path / "repository")}
    with postgres18.database() as name:
        postgres18.execute(SHOP, name)
        given = options(postgres18, name, spec, new_identity(tmp_path / "unused"), tmp_path / "locks")
        taken = run_module("pg_logical_backup", {**given, "encryption": {"method": "gpg-symmetric", **key}}, tmp_path)
        drill = {"system": "shop", "name": name, "repositories": spec, "work_dir": str(work_dir), "bin_dir": str(postgres18.bin_dir)}
        drilled = run_module("restore_drill", {**drill, **key, "waive": ["same_host", "signature", "writable_credential"]}, tmp_path)
    for result in (taken, drilled):
        assert not result["failed"], result
        assert PASSPHRASE not in json.dumps(result)
    assert "law 5 does not hold" in json.dumps(drilled["report"]["warnings"])  # the other's are shown apart from its result


def test_the_guide_names_the_key_and_the_script_is_clean(sealed: Sealed, download: Path) -> None:
    guide = (download / "RESTORE.md").read_text()
    assert re.findall("@[A-Z_]*@", guide) == [], "every blank is filled in"
    words = {
        "gpg": "--identity /path/to/secret-key.asc",
        "gpg-symmetric": "--passphrase-file /path/to/passphrase",
        "none": "sh restore.sh`",
    }
    assert words[sealed.method] in guide
    assert subprocess.run(["sh", "-n", "restore.sh"], cwd=download, check=False).returncode == 0

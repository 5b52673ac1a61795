# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input, by whichever playbook it comes: one sentence for each host, and nothing there is changed.

Every row is a host of its own in one inventory, so that a playbook is run once for all of its rows.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.archive import WalArchive
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.identity import ClusterIdentity
from support.clusters import Server
from support.hosts import Host, a_host
from support.keys import ssh_pair
from support.logical import new_identity, posix
from support.playbooks import play
from support.ports import free_port
from support.remotes import make_remotes
from support.sshd import SftpServer, sftp_server
from support.vaults import Escrow, written

__all__ = ["sftp_server"]


@dataclass(frozen=True)
class Row:
    """A host's own variables, from the folder that is all of it, and what it has to be told."""

    change: Callable[[Path], dict[str, Any]]
    sentence: str


@dataclass(frozen=True)
class Ran:
    """What became of each host: the sentence, and what lay there before and afterwards."""

    output: str
    status: int
    said: Mapping[str, str]
    before: Mapping[str, Mapping[str, str]]
    after: Mapping[str, Mapping[str, str]]


def listing(folder: Path) -> dict[str, str]:
    """Everything below a folder, with its mode, and the digest of what it holds."""
    found = {}
    for path in sorted(folder.rglob("*")):
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else str(path.is_symlink())
        found[str(path.relative_to(folder))] = f"{path.lstat().st_mode:o} {digest}"
    return found


def said_by(output: str, host: str) -> str:
    """The message with which a host failed."""
    begin = output.index(f"fatal: [{host}]: FAILED! => ")
    found: dict[str, Any] = json.JSONDecoder().raw_decode(output, output.index("{", begin))[0]
    return str(found["msg"])


def run(host: Host, playbook: str, rows: Mapping[str, Row], shared: Mapping[str, Any]) -> Ran:
    """The playbook once, for a host of each row; every place of such a host lies in a folder of its own."""
    hosts = {}
    for name, row in rows.items():
        folder = host.home / name
        shutil.rmtree(folder, ignore_errors=True)
        for inner in ("cron", "units", "tmpfiles", "backups"):
            (folder / inner).mkdir(mode=0o700, parents=True)
        places = {place: str(folder / place) for place in host.directories}
        own = {"lifeboat_directories": places, "lifeboat_repositories": {"here": posix(folder / "backups")}}
        hosts[name] = {**own, "lifeboat_lock_dir": str(folder / "locks"), "lifeboat_system": name, **row.change(folder)}
    before = {name: listing(host.home / name) for name in rows}
    group = "prune" if playbook == "prune" else "databases"
    children: dict[str, Any] = {group: {"hosts": {name: {} for name in rows}}}
    inventory = {"all": {"vars": {**host.variables(), **shared}, "hosts": hosts, "children": children}}
    done = play(host.playbook(playbook), inventory, host.home / "control")
    said = {name: said_by(done.output, name) for name in rows}
    return Ran(done.output, done.status, said, before, {name: listing(host.home / name) for name in rows})


def judge(ran: Ran, rows: Mapping[str, Row], name: str) -> None:
    assert ran.status != 0
    assert rows[name].sentence in ran.said[name], ran.said[name]
    assert "\n" not in ran.said[name]
    assert "hush" not in ran.output
    assert ran.after[name] == ran.before[name]


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with a_host() as found:
        yield found


@pytest.fixture(scope="module")
def described(host: Host, postgres18: Server) -> dict[str, Any]:
    """A good description of a database, but for its places."""
    return {
        "lifeboat_databases": [{"name": "postgres"}],
        "lifeboat_encryption": {"recipients": [new_identity(host.home / "identity").recipient]},
        "lifeboat_bin_dir": str(postgres18.bin_dir),
        "lifeboat_login_unix_socket": str(postgres18.socket_dir),
        "lifeboat_login_port": postgres18.port,
        "lifeboat_backup_become_user": "",
        "lifeboat_archiving_become_user": "",
        "lifeboat_keys_become_user": "",
        "lifeboat_prune_become_user": "",
    }


def repository(**options: Any) -> Callable[[Path], dict[str, Any]]:
    return lambda folder: {"lifeboat_repositories": {"here": {**posix(folder / "backups"), **options}}}


def given(**variables: Any) -> Callable[[Path], dict[str, Any]]:
    return lambda _folder: variables


SITE = {
    "unread": Row(given(lifeboat_databses=[]), "Nothing reads the variable lifeboat_databses. Did you mean lifeboat_databases?"),
    "slip": Row(given(lifebaot_objective="strict"), "Nothing reads the variable lifebaot_objective. Did you mean lifeboat_objective?"),
    "schedule": Row(given(lifeboat_schedule={"databases": "0 0 31 2 *"}), "never comes: no month of it has such a day"),
    "word": Row(given(lifeboat_schedule={"verify": "dayly"}), "Did you mean 'daily'?"),
    "one": Row(given(lifeboat_databases=[{"name": "shop", "schedule": "0 25 * * *"}]), "hour 25 is not between 0 and 23"),
    "objective": Row(given(lifeboat_objective="standrd"), "Did you mean 'standard'?"),
    "retention": Row(repository(retention={"daily": 0}), "retention keeps nothing (repository 'here')"),
    "option": Row(repository(pth="/x"), "Did you mean 'path'?"),
    "recipient": Row(given(lifeboat_encryption={"recipients": ["age1hush"]}), "encryption.recipients, number 1"),
    "secret": Row(
        given(lifeboat_key_repositories={"vault": {"type": "s3", "bucket": "keys", "secret_access_key": "hush"}}), "repository 'vault'"
    ),
}


@pytest.fixture(scope="module")
def site(host: Host, described: dict[str, Any]) -> Ran:
    return run(host, "site", SITE, described)


@pytest.mark.parametrize("name", SITE)
def test_site_reads_the_whole_description_before_it_touches_a_host(site: Ran, name: str) -> None:
    judge(site, SITE, name)


def in_disguise(which: str) -> Callable[[Path], dict[str, Any]]:
    """A vault that is the store by another name."""

    def change(folder: Path) -> dict[str, Any]:
        escrow = Escrow(folder)
        options = escrow.options()
        stores, vault = options["repositories"], {"type": "posix", "path": str(folder / "innocent")}
        if which == "link":
            (folder / "innocent").symlink_to(folder / "store")
        elif which == "remote":
            remotes = make_remotes(folder / "rclone")
            stores, vault = {"store": {"type": "posix", "path": str(remotes.directory)}}, remotes.spec("crypt")
        elif which in ("alias", "credential"):
            stores = {"store": _bucket(folder, "127.0.0.1", "shop", "DATA")}
            vault = _bucket(folder, "localhost", "shop", "KEYS") if which == "alias" else _bucket(folder, "vault.invalid", "keys", "DATA")
        return {
            "lifeboat_keys": options["keys"],
            "lifeboat_repositories": stores,
            "lifeboat_key_repositories": {"vault": vault},
            "lifeboat_encryption": options["encryption"],
            "lifeboat_keys_state_dir": options["state_dir"],
        }

    return change


def _bucket(folder: Path, host: str, bucket: str, key: str) -> dict[str, str]:
    text = f"[default]\naws_access_key_id = {key}\naws_secret_access_key = hush\n"
    credentials = written(folder / f"credentials-{key}", text.encode())
    return {"type": "s3", "endpoint": f"http://{host}:9", "bucket": bucket, "credentials_file": str(credentials)}


VAULTS = {
    "link": Row(in_disguise("link"), "key repository 'vault' and data repository 'store' are not apart: both lie in the directory"),
    "remote": Row(in_disguise("remote"), "key repository 'vault' and data repository 'store' are not apart"),
    "alias": Row(in_disguise("alias"), "are not apart: both lie in the bucket 'shop'"),
    "credential": Row(in_disguise("credential"), "are not apart: the same credential lets into both"),
}


@pytest.fixture(scope="module")
def keys(host: Host) -> Ran:
    return run(host, "keys", VAULTS, {"lifeboat_keys_become_user": ""})


@pytest.mark.needs("program:rclone", "library:boto3")
@pytest.mark.parametrize("name", VAULTS)
def test_no_key_goes_to_a_vault_that_is_the_store_in_disguise(keys: Ran, name: str) -> None:
    judge(keys, VAULTS, name)


OTHERS = {
    "prune": {"kept": Row(repository(retention={"daily": 0}), "retention keeps nothing (repository 'here')")},
    "audit": {"unread-by-audit": Row(given(lifeboat_purpose="read"), "Did you mean lifeboat_audit_purpose?")},
    "verify": {"unread-by-verify": Row(given(lifeboat_verify_key=[]), "Did you mean lifeboat_verify_keys?")},
    "base_backup": {"unread-by-base": Row(given(lifeboat_base_modus="full"), "Did you mean lifeboat_base_mode?")},
}


@pytest.mark.parametrize("playbook", OTHERS)
def test_other_playbooks_refuse_as_well(host: Host, described: dict[str, Any], playbook: str) -> None:
    rows = OTHERS[playbook]
    (name,) = rows
    judge(run(host, playbook, rows, described), rows, name)


def test_an_archive_of_another_cluster_is_refused_before_anything_is_set_up(
    host: Host, described: dict[str, Any], postgres18: Server
) -> None:
    def foreign(folder: Path) -> dict[str, Any]:
        spec = posix(folder / "backups")
        with open_repository("here", spec) as opened:
            WalArchive(opened, "clusters").claim(ClusterIdentity("7000000000000000001", 180000, 16 * 1024 * 1024))
        return {}

    with postgres18.connect() as connection:
        settings = connection.execute("SELECT name, setting FROM pg_file_settings ORDER BY 1").fetchall()
    rows = {"clusters": Row(foreign, "the WAL archive of system 'clusters' belongs to cluster 7000000000000000001, this is ")}
    judge(run(host, "role:archiving", rows, described), rows, "clusters")
    with postgres18.connect() as connection:
        assert connection.execute("SELECT name, setting FROM pg_file_settings ORDER BY 1").fetchall() == settings


@pytest.mark.needs("program:ssh", "program:sshd", "program:age", "program:zstd")
def test_a_store_that_is_not_there_or_not_the_right_one_costs_the_others_nothing_and_the_run_is_red(
    host: Host, described: dict[str, Any], sftp_server: SftpServer, tmp_path: Path
) -> None:
    place = sftp_server.new_place()
    other = ssh_pair(tmp_path / "other").public

    def beside(**options: Any) -> Callable[[Path], dict[str, Any]]:
        offsite = {**sftp_server.spec(place), **options}
        return lambda folder: {"lifeboat_repositories": {"here": posix(folder / "backups"), "offsite": offsite}}

    rows = {
        "gone": Row(beside(port=free_port()), "repository 'offsite'"),
        "impostor": Row(beside(host_key=other), "the server's host key is not the one that was pinned; nothing was sent to it"),
    }
    ran = run(host, "backup", rows, described)
    assert ran.status != 0
    for name, row in rows.items():
        assert row.sentence in ran.said[name], ran.said[name]
        assert "\n" not in ran.said[name]
        (manifest,) = (host.home / name / "backups").glob("*/manifests/database/postgres/*.json")
        document = json.loads(manifest.read_text())
        assert "offsite" in document["repositories"], "the backup itself says where it is not"
    assert list(place.iterdir()) == []


@pytest.mark.needs("library:psycopg")
def test_the_databases_own_disk_as_the_only_place_is_found_by_the_audit(host: Host, described: dict[str, Any], postgres18: Server) -> None:
    same = subprocess.run(
        ["stat", "-c", "%d", str(host.home), str(postgres18.directory)], capture_output=True, text=True, check=True
    ).stdout
    assert len(set(same.split())) == 1, "the test's own places have to lie on one disk"
    rows = {
        "disk": Row(given(lifeboat_data_directory=str(postgres18.data)), "it lies on the disk of the database: one broken disk takes both")
    }
    judge(run(host, "audit", rows, described), rows, "disk")

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Protected keys on their way into the vault: exact, sealed for key recipients only, shipped when they change and not before."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, KeyRefused, RepositoryError, SealError
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import backup_prefix
from support.keys import age_pair, ssh_pair
from support.parts import find_program
from support.remotes import make_remotes
from support.vaults import Escrow, written

pytestmark = pytest.mark.needs("program:age", "program:zstd")


def test_a_key_comes_back_byte_for_byte_and_a_second_run_ships_nothing(any_escrow: Escrow) -> None:
    result = any_escrow.run()
    [manifest] = any_escrow.manifests()
    assert any_escrow.opened(manifest) == {"": any_escrow.master.read_bytes()}
    assert any_escrow.opened(manifest, any_escrow.safe.file) == {"": any_escrow.master.read_bytes()}
    assert (result["changed"], result["escrowed"]["master-key"]["because"]) == (True, {"vault": "it is not there"})
    assert manifest.keys == result["fingerprints"] == {"master-key": result["escrowed"]["master-key"]["fingerprint"]}
    assert manifest.recipients == (any_escrow.keys.recipient, any_escrow.safe.recipient)
    before = any_escrow.objects()
    again = any_escrow.run()
    assert (again["changed"], again["escrowed"]["master-key"]["backup_id"]) == (False, manifest.backup_id)
    assert any_escrow.objects() == before


def test_who_opens_the_data_does_not_open_the_keys(escrow: Escrow) -> None:
    escrow.run()
    [manifest] = escrow.manifests()
    with pytest.raises(SealError, match="does not open"):
        escrow.opened(manifest, escrow.data.file)


def test_a_changed_key_is_a_new_backup_and_the_old_one_stays(escrow: Escrow) -> None:
    old = escrow.master.read_bytes()
    first = escrow.run()
    new = written(escrow.master, os.urandom(32)).read_bytes()
    second = escrow.run()
    assert second["escrowed"]["master-key"]["because"] == {"vault": "the key changed"}
    assert second["diff"] == {
        "before": f"master-key {first['fingerprints']['master-key']}\n",
        "after": f"master-key {second['fingerprints']['master-key']}\n",
    }
    held = {manifest.keys["master-key"]: escrow.opened(manifest)[""] for manifest in escrow.manifests()}
    assert held == {first["fingerprints"]["master-key"]: old, second["fingerprints"]["master-key"]: new}


def test_other_recipients_get_a_copy_of_their_own(escrow: Escrow) -> None:
    escrow.run()
    encryption = {"recipients": [escrow.data.recipient], "key_recipients": [escrow.safe.recipient]}
    result = escrow.run(encryption=encryption)
    assert result["escrowed"]["master-key"]["because"] == {"vault": "it is sealed for other recipients"}
    assert {manifest.recipients for manifest in escrow.manifests()} == {
        (escrow.keys.recipient, escrow.safe.recipient),
        (escrow.safe.recipient,),
    }
    assert any("only one recipient" in warning for warning in result["warnings"])
    assert not escrow.run(encryption=encryption)["changed"]


def test_check_mode_writes_nothing_at_all_and_predicts(escrow: Escrow) -> None:
    predicted = escrow.run(check_mode=True)
    assert (predicted["changed"], escrow.objects(), (escrow.root / "state").exists()) == (True, {}, False)
    assert "(a fingerprint that the first run makes)" in predicted["diff"]["after"]
    escrow.run()
    assert not escrow.run(check_mode=True)["changed"]
    written(escrow.master, os.urandom(32))
    before = escrow.objects()
    assert escrow.run(check_mode=True)["escrowed"]["master-key"]["because"] == {"vault": "the key changed"}
    assert escrow.objects() == before


def test_the_host_remembers_a_fingerprint_and_not_the_key(escrow: Escrow) -> None:
    result = escrow.run()
    assert json.loads(escrow.fingerprints.read_bytes()) == {"schema": 1, "system": "shop", "keys": result["fingerprints"]}
    assert {path.name: path.stat().st_mode & 0o777 for path in (escrow.root / "state" / "shop").iterdir()} == {
        "salt": 0o600,
        "fingerprints.json": 0o644,
    }
    for path in (escrow.root / "state").rglob("*"):
        assert path.is_dir() or escrow.master.read_bytes() not in path.read_bytes()


def test_a_lost_state_is_made_anew_and_what_is_in_the_vault_still_opens(escrow: Escrow) -> None:
    first = escrow.run()
    for path in sorted((escrow.root / "state").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    second = escrow.run()
    assert first["fingerprints"] != second["fingerprints"]
    assert [escrow.opened(manifest)[""] for manifest in escrow.manifests()] == [escrow.master.read_bytes()] * 2


def test_a_directory_is_shipped_together_with_every_name(escrow: Escrow) -> None:
    tls = escrow.root / "tls"
    for name in ("server.pem", "inner/client.pem", "ümlaut \n.pem"):
        written(tls / name, os.urandom(48))
    keys = [{"name": "tls", "path": str(tls)}, {"name": "pems", "path": str(tls / "*.pem")}]
    assert escrow.run(keys=keys)["escrowed"]["tls"]["files"] == 3
    [manifest] = escrow.manifests("tls")
    assert escrow.opened(manifest) == {str(path.relative_to(tls)): path.read_bytes() for path in tls.rglob("*.pem")}
    assert sorted(escrow.opened(escrow.manifests("pems")[0])) == ["server.pem", "ümlaut \n.pem"]
    assert not escrow.run(keys=keys)["changed"]
    written(tls / "another.pem", os.urandom(48))
    assert {name for name, key in escrow.run(keys=keys)["escrowed"].items() if key["changed"]} == {"tls", "pems"}


def test_a_variable_of_a_dotenv_file_and_the_whole_file(escrow: Escrow) -> None:
    secret = os.urandom(24).hex()
    dotenv = written(escrow.root / ".env", f"# shop\nPORT=80\nAPP_KEY='{secret}' # rotated in May\n".encode())
    keys = [{"name": "app-key", "env_file": str(dotenv), "variable": "APP_KEY"}, {"name": "env", "path": str(dotenv)}]
    escrow.run(keys=keys)
    assert escrow.opened(escrow.manifests("app-key")[0]) == {"": secret.encode()}
    assert escrow.opened(escrow.manifests("env")[0]) == {"": dotenv.read_bytes()}
    dotenv.write_bytes(dotenv.read_bytes() + b"# a comment more\n")
    assert {name for name, key in escrow.run(keys=keys)["escrowed"].items() if key["changed"]} == {"env"}


def test_a_variable_of_a_running_process(escrow: Escrow) -> None:
    value = os.urandom(24).hex().encode() + b"\xff =\n$x"
    with subprocess.Popen(["sleep", "600"], env={b"APP_KEY": value, b"APP_KEY2": b"other"}) as process:
        try:
            pid_file = written(escrow.root / "app.pid", f"{process.pid}\n".encode())
            keys = [
                {"name": "by-pid", "variable": "APP_KEY", "process": {"pid": process.pid}},
                {"name": "by-file", "variable": "APP_KEY", "process": {"pid_file": str(pid_file), "pid": None}},
            ]
            escrow.run(keys=keys)
            error = escrow.fails(keys=[{**keys[0], "variable": "NO_KEY"}])
        finally:
            process.kill()
    assert [escrow.opened(escrow.manifests(name)[0])[""] for name in ("by-pid", "by-file")] == [value, value]
    assert "there is no variable NO_KEY in its environment" in str(error)
    assert "it does not run" in str(escrow.fails(keys=keys[1:]))


def test_a_refused_key_keeps_no_other_from_its_vault(escrow: Escrow) -> None:
    weak = written(escrow.root / "weak", b"changeme")
    keys = [{"name": "weak", "path": str(weak)}, {"name": "master-key", "path": str(escrow.master)}]
    error = escrow.fails(keys=keys)
    assert isinstance(error, KeyRefused)
    assert "1 of 2 keys are safe" in str(error)
    assert "a default or an example that everybody knows" in error.result["refused"]["weak"]
    assert list(json.loads(escrow.fingerprints.read_bytes())["keys"]) == ["master-key"]
    assert escrow.opened(escrow.manifests()[0]) == {"": escrow.master.read_bytes()}


def test_a_key_that_was_good_before_keeps_its_fingerprint_when_it_is_refused(escrow: Escrow) -> None:
    good = escrow.run()["fingerprints"]
    written(escrow.master, b"")
    assert "it is empty" in str(escrow.fails())
    assert json.loads(escrow.fingerprints.read_bytes())["keys"] == good


@pytest.mark.parametrize("ending", [b"", b"\n"])
def test_a_passphrase_of_the_backups_is_no_protected_key(escrow: Escrow, ending: bytes) -> None:
    passphrase = os.urandom(24).hex().encode()
    file = written(escrow.root / "passphrase", passphrase + b"\n")
    written(escrow.master, passphrase + ending)
    for more in (
        {"passphrase_files": [str(file)]},
        {"encryption": {"method": "gpg-symmetric", "passphrase_file": str(file), "key_recipients": [escrow.keys.recipient]}},
        {"passphrase_files": [str(file)], "keys": [{"name": "env", "path": str(written(escrow.root / ".env", b"KEY=" + passphrase))}]},
    ):
        error = escrow.fails(**more)
        assert "a passphrase of the backups as well" in str(error)
        assert passphrase.decode() not in str(error) + json.dumps(error.result)
    assert escrow.objects() == {}


def test_what_somebody_removed_or_damaged_in_the_vault_is_shipped_again(escrow: Escrow) -> None:
    escrow.run()
    [manifest] = escrow.manifests()
    artifact = escrow.root / "vault" / backup_prefix(manifest.ref) / manifest.artifact("key").name
    artifact.write_bytes(artifact.read_bytes()[:-1])
    result = escrow.run()
    assert "not whole" in result["escrowed"]["master-key"]["because"]["vault"]
    assert escrow.opened(escrow.manifests()[-1]) == {"": escrow.master.read_bytes()}
    assert not escrow.run()["changed"]


def test_a_vault_that_cannot_be_reached_does_not_keep_the_other_from_its_copy(escrow: Escrow) -> None:
    gone = {"type": "s3", "endpoint": "http://127.0.0.1:1", "bucket": "keys", "connect_timeout": "1s", "credentials_file": None}
    credentials = written(escrow.root / "credentials", b"[default]\naws_access_key_id = A\naws_secret_access_key = B\n")
    vaults = {"vault": escrow.vault, "gone": {**gone, "credentials_file": str(credentials)}}
    error = escrow.fails(key_repositories=vaults)
    assert isinstance(error, RepositoryError)
    assert "key repository 'gone' cannot be looked at" in str(error)
    assert escrow.opened(escrow.manifests()[0]) == {"": escrow.master.read_bytes()}
    again = escrow.fails(key_repositories=vaults)
    assert not again.result["changed"]


def test_only_the_vault_that_lacks_a_key_gets_it(escrow: Escrow) -> None:
    escrow.run()
    second = {"type": "posix", "path": str(escrow.root / "second")}
    (escrow.root / "second").mkdir(mode=0o700)
    result = escrow.run(key_repositories={"vault": escrow.vault, "second": second})
    assert result["escrowed"]["master-key"]["because"] == {"second": "it is not there"}
    assert (len(escrow.manifests()), len(escrow.manifests(vault=second))) == (1, 1)


def test_a_manifest_that_this_host_did_not_sign_keeps_nobody_from_shipping(escrow: Escrow) -> None:
    escrow.run()
    signer = ssh_pair(escrow.root / "signing")
    assert escrow.run(signing_key=signer.path)["changed"]
    assert not escrow.run(signing_key=signer.path)["changed"]
    assert escrow.manifests()[-1].signature


@pytest.mark.needs("program:sha256sum", "program:shellcheck")
@pytest.mark.parametrize("several", [False, True])
def test_the_instructions_give_the_key_back_with_standard_tools(escrow: Escrow, several: bool) -> None:
    if several:
        written(escrow.root / "tls" / "a.pem", os.urandom(48))
        escrow.run(keys=[{"name": "master-key", "path": str(escrow.root / "tls")}])
    else:
        escrow.run()
    [manifest] = escrow.manifests()
    folder, into = escrow.root / "vault" / backup_prefix(manifest.ref), escrow.root / "back"
    pair = age_pair(escrow.root / "stranger")
    wrong = subprocess.run(["sh", folder / "restore.sh", "--identity", pair.path, "--into", into], capture_output=True, text=True)
    assert wrong.returncode == 1
    assert "the identity does not open" in wrong.stderr
    argv = ["sh", str(folder / "restore.sh"), "--identity", str(escrow.keys.file), "--into", str(into)]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = (into / "keys" / "a.pem") if several else (into / "key")
    assert found.read_bytes() == ((escrow.root / "tls" / "a.pem") if several else escrow.master).read_bytes()
    assert found.stat().st_mode & 0o077 == 0
    document = json.loads((into / "key.json").read_bytes())
    assert document["fingerprint"] == manifest.keys["master-key"]
    assert document["files"][0]["mode"] == "0600"
    again = subprocess.run(argv, capture_output=True, text=True)
    assert again.returncode == 1
    assert "exists already" in again.stderr
    shellcheck = find_program("shellcheck")
    assert shellcheck is not None
    assert subprocess.run([shellcheck, "--shell=sh", folder / "restore.sh"], capture_output=True).stdout == b""
    in_clear = (folder / "RESTORE.md").read_text() + (folder / "restore.sh").read_text()
    assert str(escrow.root) not in in_clear


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encryption": {"recipients": ["age1x"], "key_recipients": ["age1x"]}}, "not a recipient"),
        ({"key_repositories": {}}, "key_repositories is empty"),
        ({"keys": []}, "keys is empty"),
        ({"keys": [{"name": "k", "pth": "/x"}]}, "unknown key 'pth'.* Did you mean 'path'"),
        ({"keys": [{"name": "k", "path": "x"}]}, "expected an absolute path"),
        ({"keys": [{"name": "k"}]}, "a key comes from one place"),
        ({"keys": [{"name": "k", "path": "/x", "env_file": "/y"}]}, "found path and env_file"),
        ({"keys": [{"name": "k", "env_file": "/y"}]}, "variable is required with env_file"),
        ({"keys": [{"name": "k", "path": "/x"}, {"name": "k", "path": "/y"}]}, "two keys are called 'k'"),
        ({"keys": [{"name": "k", "variable": "V", "process": {"pidfile": "/x"}}]}, "Did you mean 'pid_file'"),
        ({"keys": [{"name": "k", "variable": "V", "exec": {"type": "compose"}}]}, "service is required"),
        ({"key_repo": {}}, "unknown key 'key_repo'.* Did you mean 'key_repositories'"),
    ],
)
def test_wrong_options_are_one_sentence_and_nothing_is_changed(escrow: Escrow, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        escrow.run(**change)
    assert (escrow.objects(), (escrow.root / "state").exists()) == ({}, False)


def test_keys_without_key_recipients_are_sealed_for_nobody(escrow: Escrow) -> None:
    with pytest.raises(ConfigurationError, match="keys are sealed for key_recipients"):
        escrow.run(encryption={"recipients": [escrow.data.recipient]})


@pytest.mark.parametrize("which", ["link", "inside", "above"])
def test_a_vault_that_is_the_store_in_disguise_is_refused(escrow: Escrow, which: str) -> None:
    store = escrow.root / "store"
    if which == "link":
        (escrow.root / "innocent").symlink_to(store)
    path = {"link": escrow.root / "innocent", "inside": store / "keys", "above": escrow.root}[which]
    error = escrow.fails(key_repositories={"vault": {"type": "posix", "path": str(path)}})
    assert isinstance(error, ConfigurationError)
    assert "key repository 'vault' and data repository 'store' are not apart" in str(error)
    assert list(store.iterdir()) == []


@pytest.mark.needs("program:rclone")
@pytest.mark.parametrize("remote", ["disk", "nickname", "crypt"])
def test_a_remote_that_leads_to_the_store_is_refused_whatever_it_wraps_it_in(escrow: Escrow, tmp_path: Path, remote: str) -> None:
    remotes = make_remotes(tmp_path / "rclone")
    store = {"type": "posix", "path": str(remotes.directory)}
    error = escrow.fails(repositories={"store": store}, key_repositories={"vault": remotes.spec(remote)})
    assert isinstance(error, ConfigurationError)
    assert "key repository 'vault' and data repository 'store' are not apart" in str(error)


def test_the_store_s_own_directory_by_ssh_is_refused(escrow: Escrow) -> None:
    identity = ssh_pair(escrow.root / "ssh")
    sftp = {"type": "sftp", "host": "localhost", "user": "keys", "path": escrow.store["path"], "identity_file": identity.path}
    error = escrow.fails(key_repositories={"vault": {**sftp, "host_key": identity.public}})
    assert "not apart: both lie in" in str(error)


def test_a_bucket_by_another_name_of_its_host_and_a_shared_credential_are_refused(escrow: Escrow) -> None:
    def s3(host: str, bucket: str, key: str) -> dict[str, str]:
        text = f"[default]\naws_access_key_id = {key}\naws_secret_access_key = s\n"
        credentials = written(escrow.root / f"credentials-{key}", text.encode())
        return {"type": "s3", "endpoint": f"http://{host}:9", "bucket": bucket, "credentials_file": str(credentials)}

    store = s3("127.0.0.1", "shop", "DATA")
    alias = escrow.fails(repositories={"store": store}, key_repositories={"vault": {**s3("localhost", "shop", "KEYS"), "prefix": "keys"}})
    assert "both lie in the bucket 'shop'" in str(alias)
    shared = escrow.fails(repositories={"store": store}, key_repositories={"vault": s3("vault.invalid", "keys", "DATA")})
    assert "the same credential lets into both" in str(shared)


def test_the_same_disk_is_said(escrow: Escrow) -> None:
    assert any("lies on the same disk as data repository 'store'" in warning for warning in escrow.run()["warnings"])


def test_two_files_of_one_name_in_the_environment_are_not_mixed_up(escrow: Escrow, tmp_path: Path) -> None:
    """A file that vanishes, one that is a socket's place, one that grew: all refused by name."""
    error = escrow.fails(keys=[{"name": "gone", "path": str(tmp_path / "gone")}, {"name": "device", "path": "/dev/null"}])
    assert "there is no such file" in error.result["refused"]["gone"]
    assert "not a regular file" in error.result["refused"]["device"]

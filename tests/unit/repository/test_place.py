# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two repositories that are one place are found out, whatever they are called (law 4); two that are not are left alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import place as place_module
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import place_credentials
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.place import (
    Place,
    local_place,
    overlap,
    place_of,
    s3_place,
    same_disk,
    sftp_place,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.place_mounts import served_by
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.rclone_place import place_in

HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGqu7A3BJWHbzbvk/6+avCAbgGfoAXAWYbPyEiBpZkzO"


def sftp(**overrides: Any) -> dict[str, Any]:
    return {
        "type": "sftp", "host": "vault.example.net", "user": "keys", "path": "/srv/keys", "identity_file": "/nonexistent/one",
        "host_key": HOST_KEY, **overrides,
    }  # fmt: skip


@pytest.fixture(autouse=True)
def _name_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two names of one machine, and of this one; no real name is looked up."""
    known = {"vault.example.net": {"192.0.2.7"}, "box.example.org": {"192.0.2.7"}, "localhost": {"127.0.0.1"}, "127.0.0.1": {"127.0.0.1"}}
    monkeypatch.setattr(place_module, "_addresses", lambda host: known.get(host, set()))


def test_one_directory_is_one_place_by_whatever_path(tmp_path: Path) -> None:
    (tmp_path / "data" / "keys").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("data")
    data = local_place(str(tmp_path / "data"))
    for other in ("data", "link", "data/keys", "link/keys", "data/not/there/yet", "link/not/there", "elsewhere/../data", ""):
        assert overlap(data, local_place(str(tmp_path / other))), other
        assert overlap(local_place(str(tmp_path / other)), data), other
    assert overlap(data, local_place(str(tmp_path / "elsewhere"))) is None
    assert overlap(data, local_place(str(tmp_path / "data-of-another"))) is None
    assert overlap(local_place(str(tmp_path / "new/a")), local_place(str(tmp_path / "new/a/b")))
    assert overlap(local_place(str(tmp_path / "new/a")), local_place(str(tmp_path / "new/ab"))) is None


@pytest.mark.needs("root", "program:unshare")
def test_a_directory_that_is_mounted_twice_is_one_place(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "again").mkdir()
    program = (
        "import sys; from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.place import local_place, overlap;"
        "print(overlap(local_place(sys.argv[1] + '/keys'), local_place(sys.argv[2] + '/keys')))"
    )
    shell = 'mount --bind "$1" "$2" && exec "$3" -c "$4" "$1" "$2"'
    argv = ["unshare", "--mount", "sh", "-c", shell, "sh", str(tmp_path / "data"), str(tmp_path / "again"), sys.executable, program]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert "keys" in done.stdout


def test_one_disk_is_one_disk(tmp_path: Path) -> None:
    assert same_disk(local_place(str(tmp_path)), local_place(str(tmp_path / "not/there")))
    assert not same_disk(local_place(str(tmp_path)), local_place("/proc"))
    assert not same_disk(local_place(str(tmp_path)), place_of("vault", sftp()))


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        ({}, {}, "lie in /srv/keys"),
        ({}, {"path": "/srv/keys/shop", "identity_file": "/nonexistent/two", "user": "other"}, "one of them in /srv/keys/shop"),
        ({}, {"path": "/srv", "identity_file": "/nonexistent/two", "user": "other"}, "one of them in /srv/keys"),
        ({}, {"host": "VAULT.example.net.", "identity_file": "/nonexistent/two", "user": "other"}, "lie in /srv/keys"),
        ({}, {"host": "box.example.org", "port": 23, "identity_file": "/nonexistent/two", "user": "other"}, "lie in /srv/keys"),
        ({}, {"path": "/srv/data", "identity_file": "/nonexistent/two"}, "both belong to the account keys at vault.example.net"),
        ({}, {"host": "elsewhere.example.com", "user": "other"}, "the same credential lets into both"),
        ({}, {"path": "/srv/keys2", "identity_file": "/nonexistent/two", "user": "other"}, ""),
        ({}, {"host": "elsewhere.example.com", "identity_file": "/nonexistent/two"}, ""),
    ],
)
def test_directories_behind_sftp(one: dict[str, Any], other: dict[str, Any], why: str) -> None:
    found = overlap(place_of("keys", sftp(**one)), place_of("data", sftp(**other)))
    assert found is None if not why else why in (found or "nothing"), found


def test_a_directory_here_is_the_same_over_sftp_to_this_machine(tmp_path: Path) -> None:
    here = local_place(str(tmp_path))
    assert overlap(here, place_of("keys", sftp(host="localhost", path=str(tmp_path / "keys"))))
    assert overlap(here, place_of("keys", sftp(path=str(tmp_path / "keys")))) is None


MOUNTS = """\
22 1 8:1 / / rw - ext4 /dev/sda1 rw
40 22 0:50 / /mnt/nfs\\040share rw - nfs4 vault.example.net:/srv rw
41 22 0:51 / /mnt/ssh rw - fuse.sshfs keys@vault.example.net:/srv/keys rw
42 22 0:52 / /mnt/windows rw - cifs //box.example.org/share rw
43 40 8:2 / /mnt/nfs\\040share/disk rw - ext4 /dev/sdb1 rw
"""


@pytest.mark.parametrize(
    ("path", "host", "at"),
    [
        ("/mnt/nfs share/keys", "vault.example.net", "/srv/keys"),
        ("/mnt/ssh", "vault.example.net", "/srv/keys"),
        ("/mnt/windows/a", "box.example.org", "/share/a"),
    ],
)
def test_a_mounted_directory_is_its_servers(path: str, host: str, at: str) -> None:
    found = served_by(path, MOUNTS)
    assert found is not None
    assert (found.host, found.path) == (host, at)


@pytest.mark.parametrize("path", ["/mnt", "/", "/mnt/nfs shares", "/mnt/nfs share/disk/a"])
def test_a_disk_of_this_machine_is_its_own(path: str) -> None:
    assert served_by(path, MOUNTS) is None


KEY, OTHER = "AKIAQ3EGRIOQKMGGKLGK", "AKIA2222222222222222"


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        (("https://s3.example.net", "shop", "a/", "k1"), ("https://S3.example.net:443", "shop", "b/", "k2"), "in the bucket 'shop'"),
        (("https://vault.example.net", "shop", "", "k1"), ("http://box.example.org:9000", "shop", "", "k2"), "in the bucket 'shop'"),
        ((None, "shop", "", "k1"), ("https://s3.eu-central-1.amazonaws.com", "shop", "", "k2"), "in the bucket 'shop' at amazonaws.com"),
        (("https://s3.example.net", "shop", "", "k1"), ("https://s3.example.org", "keys", "", "k1"), "the same credential lets into both"),
        ((None, "shop", "", KEY), (None, "keys", "", KEY[:-1] + "L"), "both belong to the account"),
        ((None, "shop", "", KEY), (None, "keys", "", OTHER), ""),
        (("https://s3.example.net", "shop", "", "k1"), ("https://s3.example.net", "keys", "", "k2"), ""),
        (("https://s3.example.net", "shop", "", "k1"), ("https://s3.example.org", "shop", "", "k2"), ""),
    ],
)
def test_buckets(one: Any, other: Any, why: str) -> None:
    found = overlap(s3_place(*one), s3_place(*other))
    assert found is None if not why else why in (found or "nothing"), found


def test_of_an_access_key_nothing_but_its_account_and_a_digest_is_kept() -> None:
    place = s3_place(None, "shop", "", KEY)
    assert KEY not in repr(place)
    assert place.account.isdigit()
    assert len(place.account) == 12
    assert s3_place("https://s3.example.net", "shop", "", KEY).account == ""


def test_which_credential_the_aws_tools_would_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    ambient = {"type": "s3", "bucket": "shop"}
    assert overlap(place_of("a", ambient), place_of("b", {**ambient, "bucket": "keys"})) == "the same credential lets into both"
    file = tmp_path / "credentials"
    file.touch(mode=0o600)
    file.write_text(
        "[default]\naws_access_key_id = one\naws_secret_access_key = x\n[two]\naws_access_key_id = two\naws_secret_access_key = x\n"
    )
    first = place_of("a", {**ambient, "credentials_file": str(file)})
    second = place_of("b", {**ambient, "bucket": "keys", "credentials_file": str(file), "profile": "two"})
    assert overlap(first, second) is None
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "two")
    assert overlap(second, place_of("c", {**ambient, "bucket": "third"})) == "the same credential lets into both"


@pytest.mark.needs("program:ssh-keygen")
def test_a_key_is_known_again_in_another_file_with_another_passphrase(tmp_path: Path) -> None:
    for name in ("one", "other"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    copy = tmp_path / "copy"
    copy.touch(mode=0o600)
    copy.write_bytes((tmp_path / "one").read_bytes())
    subprocess.run(
        ["ssh-keygen", "-q", "-p", "-P", "", "-N", "a passphrase", "-C", "renamed", "-f", str(copy)], check=True, capture_output=True
    )
    one, other, again = (place_credentials.of_key_file(str(tmp_path / name)) for name in ("one", "other", "copy"))
    assert one == again != other
    assert place_credentials.of_key_file("") == ""


REMOTES = {
    "disk": {"type": "local"},
    "nick": {"type": "alias", "remote": "disk:/data"},
    "crypt": {"type": "crypt", "remote": "nick:sealed", "password": "x"},
    "split": {"type": "chunker", "remote": "crypt:parts"},
    "union": {"type": "union", "upstreams": "/one:ro disk:/two nick:three"},
    "combined": {"type": "combine", "upstreams": "'a=disk:/one' b=bucket:shop/b"},
    "bucket": {"type": "s3", "provider": "Minio", "endpoint": "s3.example.net", "access_key_id": "k1"},
    "amazon": {"type": "s3", "provider": "AWS", "access_key_id": "k2"},
    "box": {"type": "sftp", "host": "vault.example.net", "user": "keys", "key_file": "/nonexistent/one"},
    "drive": {"type": "drive", "client_id": "me", "token": "{secret}"},
    "drive2": {"type": "drive", "client_id": "you", "token": "{other}"},
    "circle": {"type": "alias", "remote": "circle:x"},
}


@pytest.mark.parametrize(
    ("remote", "roots"),
    [
        ("disk:/data/x", ["/data/x"]),
        ("nick:x", ["/data/x"]),
        ("crypt:x", ["/data/sealed/x"]),
        ("split:x", ["/data/sealed/parts/x"]),
        ("union:x", ["/one/x", "/two/x", "/data/three/x"]),
        ("combined:", ["/one", "shop/b"]),
        ("combined:b/c", ["shop/b/c"]),
        ("bucket:shop/a", ["shop/a"]),
        ("box:/srv/keys", ["/srv/keys"]),
        (":local:/data", ["/data"]),
        ("drive:folder/x", ["folder/x"]),
    ],
)
def test_remotes_that_wrap_others_are_looked_through(remote: str, roots: list[str]) -> None:
    found = list(place_module.inner_places(place_in(REMOTES, remote, "here")))
    assert [place.root for place in found] == roots


@pytest.mark.parametrize(
    ("remote", "other", "why"),
    [
        ("split:x", Place("posix", "", "/data/sealed", chain=local_place("/data/sealed").chain), "one within the other"),
        ("union:", local_place("/two"), "/two"),
        ("combined:", s3_place("https://s3.example.net", "shop", "", "k9"), "in the bucket 'shop'"),
        ("amazon:shop", s3_place(None, "shop", "", "k9"), "in the bucket 'shop'"),
        ("bucket:keys", s3_place("https://elsewhere.example.com", "shop", "", "k1"), "the same credential"),
        ("box:/srv/keys/x", sftp_place("box.example.org", "other", "/srv/keys", ""), "lie in /srv/keys"),
        ("drive:a", place_in(REMOTES, "drive:b", "here"), "both belong to the account me at drive"),
        ("drive:a", place_in(REMOTES, "drive2:a", "here"), ""),
        ("nick:x", local_place("/data-too"), ""),
    ],
)
def test_what_a_remote_shares_with_another_place(remote: str, other: Place, why: str) -> None:
    found = overlap(place_in(REMOTES, remote, "here"), other)
    assert found is None if not why else why in (found or "nothing"), found


def test_remotes_in_a_circle_end() -> None:
    with pytest.raises(Exception, match="round in a circle"):
        place_in(REMOTES, "circle:", "repository 'vault'")
    with pytest.raises(Exception, match="config_file has no remote called 'nothing'"):
        place_in(REMOTES, "nothing:", "repository 'vault'")


def test_no_secret_of_a_remote_is_in_its_place() -> None:
    assert "secret" not in repr(place_in(REMOTES, "drive:x", "here"))

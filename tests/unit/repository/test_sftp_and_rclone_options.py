# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of repositories behind SFTP and on remotes of rclone: each mistake is one sentence; no secret is an option."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository, validate
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.rclone_faults import fault, plain
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.rclone_listing import seconds_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.rclone_options import parse_rclone
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_options import parse_sftp, ssh_arguments

BLOB = "AAAAC3NzaC1lZDI1NTE5AAAAIGqu7A3BJWHbzbvk/6+avCAbgGfoAXAWYbPyEiBpZkzO"
SFTP = {
    "type": "sftp", "host": "vault.example.net", "user": "keys", "path": "/srv/keys", "identity_file": "/etc/lifeboat/key",
    "host_key": f"ssh-ed25519 {BLOB}",
}  # fmt: skip
RCLONE = {"type": "rclone", "remote": "box:backups/shop", "config_file": "/etc/lifeboat/rclone.conf"}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"type": "sftp"}, "one of host_key and known_hosts_file has to say which server is the right one"),
        ({**SFTP, "host_key": None}, "No host is trusted because it was the first to answer"),
        ({**SFTP, "known_hosts_file": "/etc/ssh/ssh_known_hosts"}, "exclude each other"),
        ({**SFTP, "host": None}, "host is required"),
        ({**SFTP, "host": "keys@vault.example.net"}, "is more than a host"),
        ({**SFTP, "host": "sftp://vault.example.net"}, "is more than a host"),
        ({**SFTP, "host": "vault.example.net:23"}, "holds a port"),
        ({**SFTP, "host": "10.0.0.5:23"}, "holds a port"),
        ({**SFTP, "host": "-oProxyCommand=touch /tmp/x"}, "is not a host's name or address"),
        ({**SFTP, "port": 0}, "port is 0, the least is 1"),
        ({**SFTP, "port": "ssh"}, "port: expected a whole number"),
        ({**SFTP, "user": None}, "user is required"),
        ({**SFTP, "user": "-x"}, "user '-x' is not a user's name"),
        ({**SFTP, "user": "a b"}, "user 'a b' is not a user's name"),
        ({**SFTP, "path": "keys"}, "path 'keys' is not absolute"),
        ({**SFTP, "path": "/srv/../keys"}, "holds '..'"),
        ({**SFTP, "identity_file": None}, "identity_file is required"),
        ({**SFTP, "identity_file": "~/.ssh/id"}, "identity_file '~/.ssh/id' is not absolute"),
        ({**SFTP, "identity_file": "/a/$HOME"}, "dollar sign"),
        ({**SFTP, "host_key": "SHA256:abc"}, "host_key is a fingerprint"),
        ({**SFTP, "host_key": "ssh-ed25519 AAAA"}, "host_key is not the public key of a host"),
        ({**SFTP, "host_key": f"ssh-rsa {BLOB}"}, "host_key is not the public key of a host"),
        ({**SFTP, "identty_file": "/x"}, "Did you mean 'identity_file'"),
        ({**SFTP, "hostkey": "x"}, "Did you mean 'host_key'"),
        ({**SFTP, "known_host": "x"}, "Did you mean 'known_hosts_file'"),
        ({**SFTP, "read_timeout": 0}, "read_timeout is 0 seconds"),
        ({"type": "rclone"}, "remote is required"),
        ({**RCLONE, "remote": "/srv/backups"}, "remote '/srv/backups' names no remote"),
        ({**RCLONE, "remote": "backups"}, "remote 'backups' names no remote"),
        ({**RCLONE, "remote": "box:a/../b"}, "has a path with '..'"),
        ({**RCLONE, "remote": "box:a]b"}, "a bracket"),
        ({**RCLONE, "remote": "-x:a"}, "does not begin with a remote's name"),
        ({**RCLONE, "config_file": None}, "config_file is required"),
        ({**RCLONE, "config_file": "rclone.conf"}, "config_file 'rclone.conf' is not absolute"),
        ({**RCLONE, "program": "rclone"}, "program 'rclone' is not absolute"),
        ({**RCLONE, "remot": "x"}, "Did you mean 'remote'"),
        ({**RCLONE, "config": "x"}, "Did you mean 'config_file'"),
        ({**RCLONE, "connect_timeout": "soon"}, "connect_timeout: expected a duration"),
    ],
)
def test_names_the_mistake(spec: Any, said: str) -> None:
    for use in (validate, open_repository):
        with pytest.raises(ConfigurationError) as caught:
            use("vault", spec)
        assert said in str(caught.value)
        assert "repository 'vault'" in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "spec",
    [
        {**SFTP, "password": "Zq7-the-secret"},
        {**SFTP, "passphrase": "Zq7-the-secret"},
        {**RCLONE, "pass": "Zq7-the-secret"},
        {**RCLONE, "token": "Zq7-the-secret"},
        {**RCLONE, "remote": ":s3,secret_access_key=Zq7-the-secret:bucket"},
        {**RCLONE, "remote": "box,pass=Zq7-the-secret:bucket"},
    ],
)
def test_refuses_a_secret_among_the_options_and_does_not_repeat_it(spec: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        validate("vault", spec)
    assert "Zq7" not in str(caught.value)


def test_takes_what_people_write() -> None:
    given = parse_sftp(
        "vault", {**SFTP, "host": "[2001:db8::1]", "path": "//srv//keys/", "host_key": f"vault.example.net ssh-ed25519 {BLOB} root@vault"}
    )
    assert (given.host, given.path, given.host_keys) == ("2001:db8::1", "/srv/keys", (f"ssh-ed25519 {BLOB}",))
    assert given.place("a/b") == "sftp://keys@[2001:db8::1]/srv/keys/a/b"
    assert len(parse_sftp("vault", {**SFTP, "host_key": [f"ssh-ed25519 {BLOB}", f"ssh-ed25519 {BLOB}"]}).host_keys) == 2
    assert parse_sftp("vault", {**SFTP, "path": "/"}).path_of("a", "b") == b"/a/b"
    assert parse_rclone("box", {**RCLONE, "remote": "my box:/a//b/"}).remote == "my box:/a/b"
    assert parse_rclone("box", {**RCLONE, "remote": "box:"}).place("a") == "box:a"
    for spec in (SFTP, RCLONE):
        repository = open_repository("vault", {**spec, "copy_from": "offsite", "cadence": "weekly", "retention": {"weekly": 4}})
        assert repository.type == spec["type"]
        assert repository.description()["type"] == spec["type"]
        repository.close()


def test_nothing_of_anybodys_own_ssh_takes_part() -> None:
    given = parse_sftp("vault", {**SFTP, "identity_file": "/etc/lifeboat/a key %h"})
    words = ssh_arguments(given, "/usr/bin/ssh", "/known hosts")
    assert words[:3] == ["/usr/bin/ssh", "-F", "none"]
    assert words[-4:] == ["-s", "--", "vault.example.net", "sftp"]
    for setting in (
        "BatchMode=yes", "StrictHostKeyChecking=yes", "IdentitiesOnly=yes", "IdentityAgent=none", "UpdateHostKeys=no",
        'UserKnownHostsFile="/known hosts"', 'IdentityFile="/etc/lifeboat/a key %%h"', "GlobalKnownHostsFile=/dev/null",
    ):  # fmt: skip
        assert setting in words


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("googleapi: Error 403: The user's Drive storage quota has been exceeded, storageQuotaExceeded", "is full, or its quota used up"),
        ("failed to create file system: couldn't fetch token: invalid_grant", "does not accept the credential"),
        ("dial tcp: lookup s3.example.net: no such host", "cannot be reached"),
        ("read tcp 10.0.0.1:1->10.0.0.2:443: i/o timeout", "did not answer in time"),
        ("write /srv/x: no space left on device", "is full, or its quota used up"),
        ("something nobody has heard of", "rclone says something nobody has heard of"),
    ],
)
def test_what_rclone_says_becomes_one_sentence(words: str, said: str) -> None:
    error = fault(parse_rclone("box", RCLONE), "writing an object", "a/b", words)
    assert said in str(error)
    assert "box:backups/shop/a/b" in str(error)


def test_a_secret_in_what_rclone_says_is_not_repeated() -> None:
    said = plain('Get "https://me:Zq7@host/x?access_token=Zq7&sig=Zq7":\n refused')
    assert "Zq7" not in said
    assert "\n" not in said


@pytest.mark.parametrize(
    "text", ["2026-11-21T11:43:33Z", "2026-11-21T11:43:33.503067884Z", "2026-11-21T13:43:33.5+02:00", "2026-11-21T06:13:33-05:30"]
)
def test_reads_rclone_s_moments(text: str) -> None:
    assert seconds_of({"ModTime": text}) == 1795261413
    assert seconds_of({"ModTime": ""}) == 0

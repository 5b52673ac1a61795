# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies where, and whose it is: secrets, protected keys, locked backups, and a drill host that knows nothing of production."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from support.practice import Hosts, address, host_key, run_directory

SECRET_FILES = {
    "db1": {"offsite.credentials": "postgres", "signing_key": "postgres", "vault.ssh": "root"},
    "db2": {"offsite.credentials": "root"},
    "drill1": dict.fromkeys(("offsite.credentials", "reports.credentials", "vault.ssh", "identity", "keys.identity"), "root"),
    "store1": {"prune.credentials": "root"},
}

# Which files on a host hold one of the texts that come on standard input; programs and what the kernel shows are left out.
FIND = """
import json, os, subprocess, sys
wanted = {name: text.encode() for name, text in json.loads(sys.argv[1]).items()}
found = {}
for top in ("/etc", "/home", "/opt", "/root", "/run", "/srv", "/tmp", "/var"):
    for folder, folders, files in os.walk(top):
        if folder in ("/var/lib/dpkg", "/var/lib/containers"):
            folders[:] = []
        for name in files:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path):
                with open(path, "rb") as file:
                    data = file.read()
                for secret, text in wanted.items():
                    if text in data:
                        found.setdefault(secret, []).append(path)
journal = subprocess.run(["journalctl", "--no-pager", "--output=cat"], capture_output=True).stdout
for secret, text in wanted.items():
    if text in journal:
        found.setdefault(secret, []).append("the journal")
print(json.dumps(found))
"""

# What a credential may do to the version of an object that is locked; prints the store's answer.
HARM = """
import configparser, json, sys
import boto3
from botocore.exceptions import ClientError
file, bucket, key, version, deed = sys.argv[1:]
credential = configparser.ConfigParser()
credential.read(file)
given = dict(credential["default"])
client = boto3.client("s3", endpoint_url="http://store1:7070", region_name="us-east-1", **given)
if key == "newest":
    listed = client.list_objects_v2(Bucket=bucket, Prefix="shop/manifests/database/shop/")["Contents"]
    key = max(entry["Key"] for entry in listed)
    version = client.head_object(Bucket=bucket, Key=key)["VersionId"]
answer = "done"
try:
    if deed == "delete":
        client.delete_object(Bucket=bucket, Key=key, VersionId=version)
    elif deed == "put":
        client.put_object(Bucket=bucket, Key="shop/x", Body=b"x")
    elif deed == "read":
        client.get_object(Bucket=bucket, Key=key, VersionId=version)["Body"].read()
except ClientError as error:
    answer = error.response["Error"]["Code"] + ": " + error.response["Error"].get("Message", "")
print(json.dumps({"key": key, "version": version, "answer": answer}))
"""

CONNECT = """
import json, socket, sys
answers = {}
for place in sys.argv[1:]:
    host, port = place.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
        answers[place] = "reached"
    except OSError as error:
        answers[place] = type(error).__name__ + ": " + str(error)
print(json.dumps(answers))
"""


@pytest.mark.parametrize("name", ["db1", "db2", "drill1"])
def test_the_control_nodes_key_opens_nothing_any_more(name: str) -> None:
    run = run_directory()
    options = ("BatchMode=yes", f"UserKnownHostsFile={run}/known_hosts", "IdentitiesOnly=yes", "ControlPath=none")
    argv = ["ssh", "-i", f"{run}/ssh_key", *(word for option in options for word in ("-o", option)), f"ops@{address(name)}", "true"]
    tried = subprocess.run(argv, capture_output=True, text=True)
    assert tried.returncode == 255
    assert "Permission denied" in tried.stderr


@pytest.mark.parametrize("name", SECRET_FILES)
def test_a_secrets_file_is_for_the_user_of_its_job_alone(hosts: Hosts, name: str) -> None:
    system = "tickets" if name == "db2" else "shop"
    seen = {}
    for secret in SECRET_FILES[name]:
        file = hosts[name].file(f"/etc/lifeboat/{system}/{secret}")
        seen[secret] = (file.mode, file.user)
    assert seen == {secret: (0o600, user) for secret, user in SECRET_FILES[name].items()}


def test_no_secret_lies_anywhere_but_in_its_own_file(hosts: Hosts, secrets: Mapping[str, str]) -> None:
    """Neither in job files, logs, states, reports, temporary files and journals, nor on a host that has nothing to do with it."""
    found = {name: hosts.python(name, FIND, json.dumps(secrets)) for name in ("db1", "db2", "drill1", "store1", "vault1")}
    shop = "/etc/lifeboat/shop"
    assert found["db1"] == {
        "shop-writer": [f"{shop}/offsite.credentials"],
        "signing_key": [f"{shop}/signing_key"],
        "vault-writer": [f"{shop}/vault.ssh"],
        "master-key": ["/opt/shop/master.key"],
    }
    assert found["db2"] == {"tickets-writer": ["/etc/lifeboat/tickets/offsite.credentials"]}
    assert found["drill1"] == {
        "shop-reader": [f"{shop}/offsite.credentials"],
        "reporter": [f"{shop}/reports.credentials"],
        "vault-reader": [f"{shop}/vault.ssh"],
        "drill": [f"{shop}/identity"],
        "keys_drill": [f"{shop}/keys.identity"],
    }
    assert found["vault1"] == {}
    # The store knows its own users; who prunes is on the same machine here.
    own = {name: [path for path in paths if not path.startswith("/srv/s3/users/")] for name, paths in found["store1"].items()}
    assert {name: paths for name, paths in own.items() if paths} == {
        "shop-pruner": [f"{shop}/prune.credentials"],
        "store": ["/etc/versitygw"],
    }


def test_protected_keys_lie_sealed_in_the_vault_and_nowhere_else(hosts: Hosts) -> None:
    vault = hosts["vault1"]
    files = vault.check_output("find /srv/shop -type f").split()
    manifests = [path for path in files if path.startswith("/srv/shop/keys/shop/manifests/keys/master-key/")]
    assert len(manifests) == 1
    folder = f"/srv/shop/keys/shop/keys/master-key/{Path(manifests[0]).stem}/"
    beside = {path.removeprefix(folder) for path in files if path.startswith(folder)}
    assert {"RESTORE.md", "restore.sh"} < beside
    sealed = [name for name in beside if name.endswith(".age")]
    assert sealed
    for name in sealed:
        assert vault.check_output(f"head -c 21 {folder}{name}") == "age-encryption.org/v1"
    assert {path for path in files if path not in manifests and not path.startswith(folder)} <= {"/srv/shop/keys/shop/retired"}
    for name, places in (("store1", "/srv/s3/buckets /srv/s3/versions"), ("db1", "/var/backups/lifeboat")):
        assert hosts[name].check_output(f"find {places} -path '*/keys/*'") == ""


def test_the_vaults_account_gets_its_directory_and_no_shell(hosts: Hosts) -> None:
    db1 = hosts["db1"]
    db1.check_output("echo vault1 %s >/tmp/known_hosts", host_key("vault1"))
    way = "-i /etc/lifeboat/shop/vault.ssh -o BatchMode=yes -o UserKnownHostsFile=/tmp/known_hosts"
    shell = db1.run(f"ssh {way} shop-keys@vault1 id")
    assert (shell.rc, shell.stdout) != (0, ""), shell
    assert "uid=" not in shell.stdout
    seen = db1.check_output(f"echo 'ls -a1 /' | sftp -q -b - {way} shop-keys@vault1")
    assert {line.strip() for line in seen.splitlines() if not line.startswith("sftp>")} <= {"/.", "/..", "/keys", ".", "..", "keys"}


def test_a_locked_backup_resists_the_hosts_own_credential_and_the_pruners(hosts: Hosts) -> None:
    own = "/etc/lifeboat/shop/offsite.credentials"
    tried = hosts.python("db1", HARM, own, "shop-backups", "newest", "", "delete")
    assert tried["answer"].startswith("AccessDenied"), tried
    which = ("shop-backups", tried["key"], tried["version"])
    # Who may delete what is not locked may not delete this, either: it is the lock that holds.
    pruner = hosts.python("store1", HARM, "/etc/lifeboat/shop/prune.credentials", *which, "delete")
    assert "lock" in pruner["answer"].lower() or "worm" in pruner["answer"].lower(), pruner
    assert hosts.python("db1", HARM, own, *which, "read")["answer"] == "done"


def test_the_drill_hosts_credentials_write_no_backup_and_no_key(hosts: Hosts) -> None:
    drill1 = hosts["drill1"]
    own = "/etc/lifeboat/shop/offsite.credentials"
    assert hosts.python("drill1", HARM, own, "shop-backups", "x", "", "put")["answer"].startswith("AccessDenied")
    assert hosts.python("drill1", HARM, own, "tickets-backups", "x", "", "put")["answer"].startswith("AccessDenied")
    drill1.check_output("echo vault1 %s >/tmp/known_hosts", host_key("vault1"))
    way = "-i /etc/lifeboat/shop/vault.ssh -o BatchMode=yes -o UserKnownHostsFile=/tmp/known_hosts"
    write = drill1.run(f"echo 'put /etc/hostname /keys/x' | sftp -q -b - {way} shop-drill@vault1")
    assert write.rc != 0
    assert not hosts["vault1"].file("/srv/shop/keys/x").exists


def test_the_drill_host_has_no_way_to_production(hosts: Hosts) -> None:
    production = [f"{address(name)}:{port}" for name in ("db1", "db2") for port in (22, 5432)]
    answers = hosts.python("drill1", CONNECT, "store1:7070", "vault1:22", *production)
    assert (answers["store1:7070"], answers["vault1:22"]) == ("reached", "reached")
    assert {place: answers[place] for place in production if "unreachable" not in answers[place]} == {}
    # One network, the repositories' and its own, and no way beyond it.
    routes = hosts["drill1"].check_output("ip -4 route").splitlines()
    assert [route for route in routes if "scope link" not in route] == []
    assert len(routes) == 1


def test_the_drill_host_knows_no_user_and_no_key_of_production(hosts: Hosts) -> None:
    drill1 = hosts["drill1"]
    people = [line.split(":") for line in drill1.check_output("getent passwd").splitlines()]
    assert [person[0] for person in people if int(person[2]) >= 1000 and person[0] != "nobody"] == ["ops"]
    # Of private keys to log in with it has one, that of the vault, whose account there only reads.
    keys = drill1.check_output("grep -rlx -e '-----BEGIN OPENSSH PRIVATE KEY-----' /etc /home /root /opt /srv /var").split()
    own = [path for path in keys if not path.startswith("/etc/ssh/ssh_host_")]
    assert own == ["/etc/lifeboat/shop/vault.ssh"]
    # Its job files know where production is, and that no drill may run there.
    known = drill1.run(f"grep -rlF -e {address('db1')} -e {address('db2')} /etc /home /root /var/lib/lifeboat").stdout.split()
    assert {str(Path(path).parent) for path in known} == {"/etc/lifeboat/shop"}
    assert {Path(path).suffix for path in known} == {".json"}

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook `store`: predicts, sets buckets up through amazon.aws, reads them back, and has nothing to do the second time."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.audit.run import run as audit
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import AccessDenied
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from support.playbooks import Play, play
from support.ports import free_port
from support.stores import SECRET_KEY, Store

pytestmark = [pytest.mark.usefixtures("no_ambient_aws"), pytest.mark.needs("collection:amazon.aws", "collection:community.aws")]

LOCK: dict[str, Any] = {"object_lock": "compliance", "object_lock_days": 30}
ESSENTIALS = {"lifeboat_store_encryption": "none", "lifeboat_store_public_access_block": False}
"""Where the rest is not what a test looks at: each setting is a call of its own."""


def s3(store: Store, bucket: str, **more: Any) -> dict[str, Any]:
    """A repository as the database host has it; its credential is not there on the control node."""
    return {"type": "s3", "bucket": bucket, "endpoint": store.endpoint, "credentials_file": "/nonexistent/writer", **more}


def set_up(home: Path, repositories: dict[str, Any], administrator: Store, *arguments: str, **variables: Any) -> Play:
    names = [*repositories, *(["reports"] if "lifeboat_report_repository" in variables else [])]
    own = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "lifeboat_repositories": repositories,
        "lifeboat_store_administrators": {name: {"credentials_file": str(administrator.credentials_file())} for name in names},
        **variables,
    }
    inventory = {"all": {"vars": own, "children": {"databases": {"hosts": {"db1": {}}}}}}
    return play("store", inventory, home, *arguments)


def test_it_predicts_then_sets_up_then_has_nothing_to_do(moto_server: Store, tmp_path: Path) -> None:
    client, bucket = moto_server.client(), "shop-backups"
    places = {"offsite": s3(moto_server, bucket, prefix="shop", retention={"daily": 7, "monthly": 12}, **LOCK)}
    wishes: dict[str, Any] = {"lifeboat_store_require": ["versions", "lock", "lifecycle", "public_access"]}
    predicted = set_up(tmp_path, places, moto_server, "--check", "--diff", **wishes)
    assert predicted.status == 0, predicted.output
    assert predicted.recap("db1")["changed"] == 1
    assert "+lock: compliance for 30 days" in predicted.output
    assert bucket not in [found["Name"] for found in client.list_buckets()["Buckets"]]

    done = set_up(tmp_path, places, moto_server, "-vvv", **wishes)
    assert done.status == 0, done.output
    assert SECRET_KEY not in done.output
    assert client.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    lock = client.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"]
    assert {**lock["Rule"]["DefaultRetention"], "Years": 0} == {"Mode": "COMPLIANCE", "Days": 30, "Years": 0}
    rules = {rule["ID"]: rule for rule in client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]}
    assert list(rules) == ["lifeboat-tidy:shop"]
    assert rules["lifeboat-tidy:shop"]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 30}
    assert "Days" not in rules["lifeboat-tidy:shop"].get("Expiration", {}), "no rule takes a backup"
    assert all(client.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values())

    again = set_up(tmp_path, places, moto_server, **wishes)
    assert again.status == 0, again.output
    assert again.recap("db1")["changed"] == 0


def test_the_policies_hold_when_they_are_tried(versity_server: Store, tmp_path: Path) -> None:
    users = {purpose: versity_server.add_user(f"{purpose}-of-the-role") for purpose in ("write", "read", "prune", "report")}
    places = {"offsite": s3(versity_server, "tried", **LOCK)}
    done = set_up(
        tmp_path,
        places,
        versity_server,
        lifeboat_report_repository=s3(versity_server, "reports"),
        lifeboat_store_principals={
            "offsite": {purpose: [users[purpose][0]] for purpose in ("write", "read", "prune")},
            "reports": {"report": [users["report"][0]], "read": [users["read"][0]]},
        },
        lifeboat_store_policy_dir=str(tmp_path),
        **ESSENTIALS,
    )
    assert done.status == 0, done.output
    assert "the store has no lifecycle rules" in done.output
    document = json.loads((tmp_path / "offsite-write.json").read_text())
    assert not [action for one in document["Statement"] for action in one["Action"] if "Delete" in action]

    def place(purpose: str, bucket: str = "tried", **more: Any) -> dict[str, Any]:
        return versity_server.spec(bucket, user=users[purpose], **more)

    with open_repository("offsite", place("write", **LOCK)) as writer:
        writer.put("shop/database/x", b"a backup")
        writer.put("shop/large", b"x" * 11 * 1024 * 1024)
        assert writer.read("shop/database/x") == b"a backup"
        with pytest.raises(AccessDenied):
            writer.delete("shop/database/x")
    found = audit({"system": "shop", "repositories": {"offsite": place("write", **LOCK)}})
    assert [one for one in found["findings"] if one["rule"] in ("destroy", "versions") and one["verdict"] != "good"] == []
    with open_repository("offsite", place("read")) as reader:
        assert reader.read("shop/database/x") == b"a backup"
        assert not reader.can_write("shop/probe")
    with open_repository("offsite", place("prune", **LOCK)) as pruner:
        versions = [version for version in pruner.everything("shop/database/") if not version.marker]
        assert pruner.erase(versions).locked == ("shop/database/x",), "it may delete, and the lock says no"
        pruner.put("shop/retired/database/shop/x.json", b"{}")
        with pytest.raises(AccessDenied):
            pruner.put("shop/database/y", b"forged")
    with open_repository("reports", place("report", "reports")) as reports:
        reports.put("shop/reports/database/shop/x.json", b"{}")
        for forbidden in (reports.delete, reports.read):
            with pytest.raises(AccessDenied):
                forbidden("shop/reports/database/shop/x.json")


def test_what_cannot_be_had_is_red_and_the_rest_is_set_all_the_same(moto_server: Store, versity_server: Store, tmp_path: Path) -> None:
    bucket = versity_server.create_bucket("made-by-hand")
    places = {
        "away": {**s3(versity_server, "away"), "endpoint": f"http://127.0.0.1:{free_port()}", "connect_timeout": "1s"},
        "offsite": s3(versity_server, bucket, **LOCK),
        "forgetful": s3(moto_server, "forgetful"),
    }
    done = set_up(tmp_path, places, versity_server, lifeboat_store_cold_after="30d", **ESSENTIALS)
    assert done.status != 0
    assert "away: repository 'away': looking at the bucket failed: the endpoint cannot be reached" in done.output
    assert "made-by-hand: the bucket exists without object lock" in done.output
    assert "made-by-hand: the store has no lifecycle rules" in done.output, "cold storage was asked for"
    assert versity_server.client().get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    # moto forgets how large an object has to be for a rule.
    assert "forgetful: the store did not take lifecycle: lifeboat-cold: everything, manifests too, goes to glacier_ir" in done.output
    assert moto_server.client().get_bucket_versioning(Bucket="forgetful")["Status"] == "Enabled"


def test_without_amazon_aws_it_says_so_before_anything_is_changed(versity_server: Store, tmp_path: Path) -> None:
    # Where Ansible looks beside the folder that it was told of.
    (tmp_path / "ansible.cfg").write_text("[defaults]\ncollections_scan_sys_path = false\n")
    done = set_up(tmp_path, {"offsite": s3(versity_server, "never-made")}, versity_server)
    assert done.status != 0
    assert "The collections amazon.aws (9.0 or newer) and community.aws (9.1 or newer) are not both installed" in done.output
    assert "never-made" not in [found["Name"] for found in versity_server.client().list_buckets()["Buckets"]]

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every option of every module that backs up, drills, copies or lists: a wrong value is answered in one sentence that names it,
before anything runs. No server and no repository is there: whoever got that far would say something else.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.lifeboat.postgres.plugins.module_utils.audit.run import run as audit
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.run import run as back_up
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup_list import list_backups
from ansible_collections.lifeboat.postgres.plugins.module_utils.copies.run import run as copy
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.run import run as drill
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.run import run as escrow
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.run import run as prune
from ansible_collections.lifeboat.postgres.plugins.module_utils.store.run import run as look_at_buckets

PLUGINS = "ansible_collections.lifeboat.postgres.plugins"
NOWHERE = {"type": "posix", "path": "/nonexistent/lifeboat"}
VAULT = {"type": "posix", "path": "/nonexistent/vault"}
BUCKET = {"type": "s3", "bucket": "shop-backups"}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPtUgTHJFHYnPpcOYg4bZ2bDkbWRtvpB7kbCGSqfvtzK shop"
RECIPIENT = "age1lvyvwawkr0mcnnnncaghunadrqkmuf9e6507x9y920xxpp866cnql7dp2z"

RUN: Mapping[str, tuple[Callable[[Mapping[str, Any]], Any], dict[str, Any]]] = {
    "pg_logical_backup": (
        back_up,
        {
            "system": "shop", "login_db": "shop", "login_unix_socket": "/nonexistent", "repositories": {"here": NOWHERE},
            "encryption": {"recipients": [RECIPIENT]},
        },
    ),
    "restore_drill": (drill, {"system": "shop", "name": "shop", "repositories": {"here": NOWHERE}, "identity_file": "/nonexistent"}),
    "key_escrow": (
        escrow,
        {
            "system": "shop", "keys": [{"name": "k", "path": "/nonexistent/key"}], "repositories": {"here": NOWHERE},
            "key_repositories": {"vault": VAULT}, "encryption": {"recipients": [RECIPIENT], "key_recipients": [KEY]},
        },
    ),
    "backup_copy": (copy, {"system": "shop", "repositories": {"here": NOWHERE, "there": {**NOWHERE, "copy_from": "here"}}}),
    "backup_prune": (
        prune,
        {"system": "shop", "repositories": {"here": {**NOWHERE, "retention": {"daily": 7}}}, "state_dir": "", "cache_dir": ""},
    ),
    "backup_info": (list_backups, {"system": "shop", "repositories": {"here": NOWHERE}}),
    "backup_audit": (audit, {"system": "shop", "repositories": {"here": NOWHERE}}),
    "bucket_info": (look_at_buckets, {"repositories": {"offsite": BUCKET}}),
}  # fmt: skip

REPOSITORIES: list[Any] = ["here", {}, {"here": {"type": "psix"}}, {"here": {**NOWHERE, "pth": "x"}}, {"here": {"type": "posix"}}]
CHECKS: list[Any] = ["gapless", [{"gaples": {}}], [{"gapless": {"table": "t"}}], [{"sql": {"query": "SELECT 1", "timeout": "soon"}}]]
DURATION: list[Any] = ["soon", "-1s", "0s"]
TEXT: list[Any] = [["shop"], {"name": "shop"}]
PATH: list[Any] = [["/x"]]
NUMBER: list[Any] = ["many", 0, 10**6]
KEYS: list[Any] = [["nonsense"], ["-----BEGIN OPENSSH PRIVATE KEY-----"], 3]

WRONG: Mapping[str, Mapping[str, list[Any]]] = {
    "pg_logical_backup": {
        "login_host": TEXT, "login_port": ["many", 0, 70000], "login_user": TEXT, "login_password": TEXT, "login_unix_socket": TEXT,
        "login_db": TEXT, "login_url": TEXT, "login_url_file": PATH, "login_password_file": PATH, "ssl_mode": ["on"],
        "ca_cert": PATH, "ssl_cert": PATH, "ssl_key": PATH,
        "repositories": REPOSITORIES,
        "encryption": ["age", {}, {"methd": "age"}, {"method": "aes"}, {"recipients": ["age1x"]}],
        "checks": CHECKS,
        "limits": ["big", {"mn_bytes": 1}, {"min_bytes": "huge"}, {"shrink": "2.5x"}, {"last": 0}, {"zero_tables": "ignore"}],
        "accept_deviation": ["perhaps"], "snapshot_budget": DURATION, "xmin_age_limit": ["many", 0],
        "digests": ["all", {"tables": []}, {"tables": ["all"], "rotate_days": 0}, {"tbles": "all"}],
        "system": TEXT, "name": TEXT, "databases": [[3], [{"checks": []}], [{"name": "x", "jbs": 1}]],
        "exec": [{"type": "dokcer", "container": "x"}, {"type": "docker"}], "all_databases": ["perhaps"],
        "exclude_databases": [{"a": 1}], "unlisted": ["wran"], "max_age": ["soon", "-1h"],
        "evidence_queries": [[{"name": "x"}], [{"name": "x", "query": "SELECT 1", "qery": 1}]],
        "evidence_budget": ["soon", "-1s"], "format": ["tar"], "jobs": NUMBER, "staging_dir": ["relative", *PATH],
        "statistics": ["perhaps"],
        "globals": ["perhaps"], "compression_level": ["many", 0, 20], "volume_size": ["huge", "1KiB"], "stall_timeout": DURATION,
        "lock_timeout": DURATION, "lock_dir": PATH, "bin_dir": PATH, "signing_key": ["/nonexistent/key"], "application_version": TEXT,
        "keys_file": ["relative", "/nonexistent/keys", *PATH],
    },
    "restore_drill": {
        "mode": ["physical"], "target": [{"time": "2026-11-21T12:00:00Z"}], "markers": [{"must_exist": ["SELECT 1"]}],
        "database": ["shop"], "superuser": ["postgres"], "data_checksums": [True], "amcheck": [True], "preload_libraries": ["citus"],
        "system": TEXT, "name": TEXT, "repositories": REPOSITORIES, "repository": ["elsewhere"], "backup_id": ["yesterday"],
        "identity_file": PATH, "identity_key": ["backups", ["backups"]], "passphrase_file": PATH, "verify_keys": KEYS,
        "key_repositories": ["vault", {"vault": {"type": "psix"}}, {"vault": VAULT}], "key_identity_file": ["/x", *PATH],
        "objective": ["24h", {"rop": "24h"}, {"rpo": "soon"}, {"rto": "-1h"}], "check_groups": [["nightly"]], "timeout": DURATION,
        "enforce_objective": ["perhaps"], "failure_at": ["yesterday", "2026-11-21T12:00:00"], "work_dir": PATH, "bin_dir": PATH,
        "run_as": TEXT, "jobs": ["many", -1, 1000], "globals": ["perhaps"], "production_hosts": [{"a": 1}], "report_dir": PATH,
        "report_repository": ["reports", {"type": "psix"}], "waive": [["isolaton"]], "reap": ["perhaps"], "checks": CHECKS,
        "max_age": ["soon", "-1h", "0s", "30d"], "server_major": ["newest", 0, 9, 100],
        "throwaway": ["container", {"type": "contianer"}, {"type": "container"}, {"image": "x"}, {"type": "compose", "service": "db"}],
    },
    "key_escrow": {
        "system": TEXT,
        "keys": ["k", [], ["k"], [{"name": "k"}], [{"name": "k", "pth": "/x"}], [{"name": "k", "path": "x"}]],
        "key_repositories": ["vault", {}, {"vault": {"type": "psix"}}], "repositories": ["here", {"here": {"type": "psix"}}],
        "encryption": ["age", {}, {"methd": "age"}, {"recipients": [RECIPIENT]}, {"recipients": [RECIPIENT], "key_recipients": ["age1x"]}],
        "passphrase_files": [3, {"a": 1}], "state_dir": ["relative", *PATH], "signing_key": ["/nonexistent/key"],
        "application_version": TEXT, "stall_timeout": DURATION, "lock_dir": PATH,
    },
    "backup_copy": {
        "system": TEXT, "kind": ["databse"], "name": ["shop"], "backup_id": ["yesterday"], "repositories": REPOSITORIES[:-1],
        "targets": [["elsewhere"]], "source": [NOWHERE], "target": [NOWHERE], "verify_keys": KEYS, "parallel": ["many", 0, 17],
        "stall_timeout": DURATION, "lock_dir": PATH,
    },
    "backup_prune": {
        "system": TEXT, "kind": ["databse"], "name": ["shop"],
        "repositories": [*REPOSITORIES, {"here": {**NOWHERE, "retention": {"dayly": 7}}}, {"here": NOWHERE}],
        "targets": [["elsewhere"]], "retention": [{"daily": -1}, {"daily": 0}, {"max_age": "soon"}, {"dayly": 1}, 7],
        "objective": ["basline", {"tier": "best"}, {"rpo": "soon"}],
        "overrides": [["shop"], [{"retention": {"daily": 1}}], [{"name": "shop", "retention": {"daily": "many"}}]],
        "data_retention": ["90d", [{"data": "x"}], [{"data": "x", "max_age": "soon"}]],
        "data_repositories": ["here", {"data": {"type": "psix"}}], "report_repository": ["reports", {"type": "psix"}], "verify_keys": KEYS,
        "verify": ["sizes"], "max_remove": ["half", "101%", "-1", [1]], "accept": [["everything"], ["clock"]], "orphan_age": ["soon", "1s"],
        "wal": ["perhaps"], "state_dir": TEXT, "cache_dir": TEXT, "stall_timeout": DURATION, "lock_dir": PATH,
    },
    "backup_info": {
        "system": TEXT, "kind": ["databse"], "name": ["shop"], "repositories": REPOSITORIES, "query": ["[?good"], "verify": ["deep"],
        "verify_newest": ["many", -1], "verify_keys": KEYS, "report_repository": ["reports", {"type": "psix"}], "cache_dir": PATH,
    },
    "backup_audit": {
        "system": TEXT, "repositories": REPOSITORIES, "key_repositories": ["vault", {"vault": {"type": "psix"}}],
        "encryption": ["age", {"methd": "age"}, {"method": "aes"}, {"recipients": ["age1x"]}],
        "objective": ["basline", {"tier": "best"}, {"rpo": "soon"}], "data_directory": ["here", *PATH], "purpose": ["wite"],
        "try_credentials": ["perhaps"], "report_repository": ["reports", {"type": "psix"}], "retention_schedule": ["soon", "0s"],
    },
    "bucket_info": {
        "repositories": [*REPOSITORIES, {"here": NOWHERE}], "key_repositories": ["vault", {"vault": {"type": "psix"}}],
        "report_repository": ["reports", {"type": "psix"}], "targets": [["elsewhere"]],
        "administrators": ["boss", {"elsewhere": {}}, {"offsite": "boss"}, {"offsite": {"secret_key": "x"}}],
        "principals": ["drill", {"elsewhere": {}}, {"offsite": {"reed": ["drill"]}}, {"offsite": {"read": [3]}}],
        "retention": [{"daily": 0}, {"dayly": 1}, 7], "objective": ["basline", {"tier": "best"}], "require": [["version"]],
        "cold_after": DURATION, "cold_class": ["glacir"], "expire_after": DURATION, "noncurrent_after": [*DURATION, "1d"],
        "abort_after": DURATION, "encryption": ["des"], "public_access_block": ["perhaps"], "applied": ["perhaps"],
    },
}  # fmt: skip


def documented(module: str) -> set[str]:
    document = yaml.safe_load(importlib.import_module(f"{PLUGINS}.modules.{module}").DOCUMENTATION)
    found = set(document["options"])
    for fragment in document["extends_documentation_fragment"]:
        more = importlib.import_module(f"{PLUGINS}.doc_fragments.{fragment.rpartition('.')[2]}").ModuleDocFragment.DOCUMENTATION
        found |= set(yaml.safe_load(more).get("options", {}))
    return found


@pytest.mark.parametrize("module", WRONG)
def test_no_option_is_left_out_here(module: str) -> None:
    assert set(WRONG[module]) == documented(module)


ROWS = [(module, option, value) for module, options in WRONG.items() for option, values in options.items() for value in values]


@pytest.mark.parametrize(("module", "option", "value"), ROWS, ids=[f"{module} {option} {value!r:.40}" for module, option, value in ROWS])
def test_a_wrong_value_is_one_sentence_that_names_the_option(module: str, option: str, value: Any, tmp_path: Path) -> None:
    run, good = RUN[module]
    with pytest.raises(LifeboatError) as caught:
        run({**good, option: value})
    said = str(caught.value)
    assert "\n" not in said
    assert not said.startswith(("no server", "repository '", "the repository", "no repository can")), said
    assert any(word in said for word in (option, *NAMED_OTHERWISE.get(option, ()))), said


NAMED_OTHERWISE = {
    "key_repositories": ("repository 'vault'",),
    "repositories": ("repository 'here'", "no repository has copy_from", "no repository has retention", "no repository of type s3"),
    "data_repositories": ("repository 'data'",),
    "report_repository": ("repository 'report",),
    "verify_keys": ("public keys",),
    "signing_key": ("signing key",),
    "backup_id": ("backup id",),
    "query": ("JMESPath",),
}


@pytest.mark.parametrize("module", [module for module, (_run, good) in RUN.items() if "system" in good])
def test_an_unknown_option_is_named_with_the_nearest_known_one(module: str) -> None:
    run, good = RUN[module]
    with pytest.raises(LifeboatError, match=r"unknown key 'sytem'.*'system'"):
        run({**good, "sytem": "shop"})

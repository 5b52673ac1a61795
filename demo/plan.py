# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of the demo's playbooks: what an inventory would say once per host."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cases import Case
from keys import Keys
from places import Place
from servers import PORT, ObjectStore, Production

SYSTEM = "shop"
BACKUP_ROLE = "lifeboat"
BUCKET = "shop-backups"
VOLUME_SIZE = "2MiB"


@dataclass(frozen=True)
class Plan:
    """Everything the playbooks need to know of one run of the demo."""

    place: Place
    keys: Keys
    production: Production
    store: ObjectStore
    read_only_store: ObjectStore
    here: Path
    waive: list[str]

    def checks(self, master_key_file: Path) -> list[dict[str, Any]]:
        """What the shop promises about its data."""
        return [
            {"gapless": {"table": "invoices", "column": "number", "group_by": ["year"]}},
            {"integer": {"table": "orders", "columns": ["total_cents"]}},
            {"integer": {"table": "invoices", "columns": ["total_cents"]}},
            {"not_empty": {"tables": ["customers", "products"]}},
            {"recent": {"table": "orders", "column": "placed_at", "max_age": "15m"}},
            {"decrypt": {"table": "customers", "column": "secret", "key_file": str(master_key_file), "matches": "tax id [0-9]{11}"}},
        ]

    def offsite(self, read_only: bool) -> dict[str, Any]:
        """The S3 repository, with the credential that writes or with the one that only reads."""
        store = self.read_only_store if read_only else self.store
        return {
            "type": "s3",
            "endpoint": store.endpoint,
            "bucket": BUCKET,
            "prefix": "lifeboat",
            "path_style": True,
            "region": "us-east-1",
            "credentials_file": str(store.credentials_file),
        }

    def common(self) -> dict[str, Any]:
        """What both playbooks take."""
        return {
            "system": SYSTEM,
            "production": {
                "socket_dir": str(self.production.socket_dir),
                "port": PORT,
                "user": BACKUP_ROLE,
                "password_file": str(self.place.root / "keys" / "lifeboat.password"),
                "bin_dir": str(self.place.bin_dir),
            },
            "checks": self.checks(self.keys.master_key_file),
        }

    def backup_variables(self, backups: list[dict[str, Any]]) -> dict[str, Any]:
        """For playbooks/backup.yml."""
        return self.common() | {
            "recipients": list(self.keys.recipients),
            "signing_key_file": str(self.keys.signing_key_file),
            "volume_size": VOLUME_SIZE,
            "lock_dir": str(self.place.root / "locks"),
            "backups": backups,
        }

    def drill_variables(self, drills: list[dict[str, Any]]) -> dict[str, Any]:
        """For playbooks/drill.yml."""
        return self.common() | {
            "identity_file": str(self.keys.identity_file),
            "verify_keys": [self.keys.verify_key],
            "objective": {"rpo": "15m", "rto": "5m"},
            "work_dir": str(self.place.root / "drills"),
            "run_as": "" if self.place.account.is_own else self.place.account.name,
            "waive": self.waive,
            "drills": drills,
        }

    def drill_of(self, case: Case, repositories: dict[str, Any], report_dir: Path) -> dict[str, Any]:
        """One item of the drill playbook."""
        item: dict[str, Any] = {"title": case.name, "name": case.asset, "repositories": repositories, "report_dir": str(report_dir)}
        if "identity_file" in case.changes:
            item["identity_file"] = str(getattr(self.keys, case.changes["identity_file"]))
        if "master_key_file" in case.changes:
            item["checks"] = self.checks(getattr(self.keys, case.changes["master_key_file"]))
        return item


def machine_facts(place: Place, server_version: str) -> dict[str, Any]:
    """What the numbers of this run were measured on."""
    return {
        "system": os.uname().sysname,
        "release": os.uname().release,
        "architecture": os.uname().machine,
        "cpus": os.cpu_count(),
        "python": ".".join(map(str, sys.version_info[:3])),
        "postgresql": server_version,
        "servers_run_as": place.account.name,
        "root": os.geteuid() == 0,
    }

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must hold before a drill may begin (law 3): not production, room enough, a credential that only reads.

Each guard raises `DrillRefused` and touches nothing. Some can be waived, each by its name.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
from collections.abc import Iterable, Sequence

from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.plan import DrillPlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.workspace import check_work_dir
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import DrillRefused, ManifestError, SealError
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.cluster import wal_bytes
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import host_id, host_name
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.signature import verify
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import size

__all__ = [
    "check_credential",
    "check_extensions",
    "check_identity_place",
    "check_production",
    "check_same_host",
    "check_signature",
    "check_space",
    "needed_bytes",
]

CLUSTER_BYTES = 128 * 1024**2
"""What an empty cluster takes, with its first WAL."""
RESTORED_FACTOR = 1.3
"""Room for the restored database: its indexes are smaller than production's, building them takes room for sorting."""

_DEBIAN_PACKAGES = {
    "vector": "postgresql-{}-pgvector",
    "postgis": "postgresql-{}-postgis-3",
    "postgis_topology": "postgresql-{}-postgis-3",
    "postgis_raster": "postgresql-{}-postgis-3",
    "postgis_tiger_geocoder": "postgresql-{}-postgis-3",
    "timescaledb": "timescaledb-2-postgresql-{}",
    "pg_cron": "postgresql-{}-cron",
    "pg_partman": "postgresql-{}-partman",
    "pg_repack": "postgresql-{}-repack",
    "pgaudit": "postgresql-{}-pgaudit",
    "hypopg": "postgresql-{}-hypopg",
    "rum": "postgresql-{}-rum",
    "plpython3u": "postgresql-plpython3-{}",
    "plperl": "postgresql-plperl-{}",
    "plperlu": "postgresql-plperl-{}",
    "pltcl": "postgresql-pltcl-{}",
}
_CONTRIB = frozenset((
    "amcheck", "bloom", "btree_gin", "btree_gist", "citext", "cube", "dblink", "dict_int", "dict_xsyn", "earthdistance", "file_fdw",
    "fuzzystrmatch", "hstore", "insert_username", "intarray", "isn", "lo", "ltree", "moddatetime", "pageinspect", "pg_buffercache",
    "pg_freespacemap", "pg_prewarm", "pg_stat_statements", "pg_trgm", "pg_visibility", "pg_walinspect", "pgcrypto", "pgrowlocks",
    "pgstattuple", "postgres_fdw", "refint", "seg", "sslinfo", "tablefunc", "tcn", "tsm_system_rows", "tsm_system_time", "unaccent",
    "uuid-ossp", "xml2",
))  # fmt: skip


def check_production(hosts: Iterable[str]) -> list[str]:
    """Refuse to run on a host of the production group; return the names that could not be resolved, as notes.

    A name is this host when it is one of this host's names, or when it resolves to an address that this host has.
    """
    notes = []
    own = {name.lower() for full in (host_name(), socket.getfqdn()) for name in (full, full.partition(".")[0]) if name}
    for host in hosts:
        if host.lower().rstrip(".") in own:
            raise _on_production(host, "it is this host's name")
        try:
            addresses = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
        except (OSError, UnicodeError):
            notes.append(f"production host {host!r} does not resolve here, so it was compared by its name only")
            continue
        for address in sorted(addresses):
            if _is_own(address):
                raise _on_production(host, f"its address {address} is one of this host's")
    return notes


def check_same_host(manifest: Manifest) -> None:
    """Refuse the host that took the backup."""
    own = host_id()
    same = manifest.host_id == own if manifest.host_id and own else manifest.host_name == host_name()
    if same:
        raise DrillRefused(
            "this host took the backup, so it is production's own",
            host_name(),
            "Drill on another host. Where there is none, waive same_host; then a fire that takes this host takes the proof as well.",
        )


def check_signature(manifest: Manifest, verify_keys: Sequence[str]) -> None:
    """Who took the backup is known: its manifest is signed by one of the allowed keys.

    Raises `DrillRefused` when it cannot be known, `ManifestError` when it is somebody else.
    """
    where = f"backup {manifest.backup_id}"
    if verify_keys:
        try:
            verify(manifest.signed_bytes(), manifest.signature, verify_keys)
        except ManifestError as error:
            raise ManifestError(f"the manifest's signature: {error.what}", where, error.next_step) from None
        return
    how = "verify_keys is not set" if manifest.signature else "its manifest is not signed, and verify_keys is not set"
    raise DrillRefused(
        f"who took this backup cannot be known: {how}",
        where,
        "Sign backups (signing_key) and give the public key as verify_keys, or waive signature.",
    )


def check_credential(repository: Repository, system: str) -> None:
    """Refuse a credential that can write where backups rest: it is tried."""
    if repository.can_write(f"{layout.encode_name(system)}/probe"):
        raise DrillRefused(
            f"the credential for repository {repository.name!r} can write where backups rest",
            ", ".join(f"{key} {value}" for key, value in sorted(repository.description().items())),
            "Give the drill a credential that may list and read only, or waive writable_credential.",
        )


def check_identity_place(identity_file: str) -> None:
    """The identity is there and readable; it is used where it lies. Raises `SealError`."""
    if not os.access(identity_file, os.R_OK):
        raise SealError("the identity cannot be read", identity_file, "Give the path of the escrowed identity on this host.")


def needed_bytes(manifest: Manifest) -> int:
    """What a drill of this backup takes on the disk at its height: the opened dump, the database, its WAL.

    A base backup is unpacked where it is used; its log comes by the segment, and goes again.
    """
    database = manifest.database_bytes
    if manifest.kind == "base":
        return max(database, manifest.plain_bytes) + min(database, wal_bytes(database)) + CLUSTER_BYTES
    return manifest.plain_bytes + int(database * RESTORED_FACTOR) + min(database, wal_bytes(database)) + CLUSTER_BYTES


def check_space(plan: DrillPlan, *manifests: Manifest) -> None:
    """Refuse a work directory that is in use or somebody else's, or a disk that is too full for these, all at once."""
    check_work_dir(plan.work_dir)
    place = next(path for path in (plan.work_dir, *plan.work_dir.parents) if path.exists())
    status = os.statvfs(place)
    free, needed = status.f_bavail * status.f_frsize, sum(map(needed_bytes, manifests))
    if free < needed:
        raise DrillRefused(
            f"the disk is too full for this drill: it needs {size(needed)}, {size(free)} are free",
            str(plan.work_dir),
            "Make room, or name a work_dir on a larger disk.",
        )


def check_extensions(wanted: Iterable[str], available: Iterable[str], major: int, where: str = "on this host") -> None:
    """Every extension of production is installed where the drill's PostgreSQL is; the missing ones are named with their packages."""
    missing = sorted(set(wanted) - set(available))
    if missing:
        packages = sorted({_package(name, major) for name in missing})
        raise DrillRefused(
            f"extensions of production are missing {where}: {', '.join(missing)}",
            f"PostgreSQL {major}",
            f"Install {', '.join(packages)} (names of Debian and Ubuntu).",
        )


def _package(extension: str, major: int) -> str:
    if extension in _CONTRIB:
        return f"postgresql-{major}"  # its contrib modules are in it
    guess = f"postgresql-{{}}-{extension.replace('_', '-')}"
    return _DEBIAN_PACKAGES.get(extension, guess).format(major)


def _is_own(address: str) -> bool:
    """Whether this host has the address: only then it is also where a packet to it comes from. Nothing is sent."""
    plain = address.partition("%")[0]
    if ipaddress.ip_address(plain).is_loopback:
        return True
    family = socket.AF_INET6 if ":" in plain else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((address, 9))
        return str(probe.getsockname()[0]).partition("%")[0] == plain
    return False


def _on_production(host: str, why: str) -> DrillRefused:
    return DrillRefused(f"this is the production host {host!r}: {why}", host_name(), "Drill on a host outside of the production group.")

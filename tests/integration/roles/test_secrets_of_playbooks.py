# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Law 7 over every playbook at -vvv: a whole system with marked secrets of every kind, and nobody and nothing shows one.

Looked at are what Ansible says, arguments and environments of every process below it and below the server while it runs, every file
that is left (job files, logs, reports, states, temporary ones), and what lies in the repositories.
"""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.clusters import Server
from support.drills import work_dir
from support.hosts import Host, a_host
from support.keys import KeyPair, ssh_pair
from support.leaks import children
from support.logical import Identity, new_identity
from support.playbooks import command
from support.ports import free_port
from support.store_fixtures import Bucket, rclone_bucket, rclone_server
from support.vaults import written

__all__ = ["rclone_bucket", "rclone_server", "work_dir"]

pytestmark = pytest.mark.needs("postgresql:15", "program:age", "program:zstd", "program:rclone", "netns")

SETTINGS = {"archive_mode": "on", "wal_level": "replica", "max_wal_senders": "4"}
OF_THE_DATABASE_HOST = """
- import_playbook: lifeboat.postgres.site
- import_playbook: lifeboat.postgres.backup
  vars: {lifeboat_backup_max_age: ''}
- import_playbook: lifeboat.postgres.base_backup
- import_playbook: lifeboat.postgres.keys
- import_playbook: lifeboat.postgres.verify
- import_playbook: lifeboat.postgres.audit
"""
OF_OTHER_HOSTS = """
- import_playbook: lifeboat.postgres.prune
- import_playbook: lifeboat.postgres.drill
"""


@dataclass
class System:
    """A host with a server, a store, a vault, and secrets of every kind; `allowed` are the only files that may hold one."""

    host: Host
    server: Server
    bucket: Bucket
    data: Identity
    keys: Identity
    signer: KeyPair
    elsewhere: Path
    secrets: dict[str, bytes] = field(default_factory=dict)
    allowed: set[Path] = field(default_factory=set)

    def secret(self, name: str, text: bytes = b"") -> str:
        self.secrets[name] = text or secrets.token_hex(16).encode()
        return self.secrets[name].decode("latin-1")

    def file(self, path: Path, content: bytes) -> Path:
        """A file of the host's user that holds a secret, as the operator put it there."""
        self.own(written(path, content))
        self.allowed.add(path)
        return path

    def own(self, path: Path) -> None:
        for owned in (path.parent, path):
            shutil.chown(owned, self.host.user)

    @property
    def needles(self) -> list[bytes]:
        """Every secret as it could look wherever it leaked to."""
        return [
            needle
            for secret in self.secrets.values()
            for needle in (secret, secret.hex().encode(), base64.b64encode(secret), repr(secret)[2:-1].encode())
        ]

    def shared(self) -> dict[str, Any]:
        """What the inventory says on every host."""
        config = self.host.home / "config" / "shop"
        offsite = self.bucket.spec(credentials_file=str(config / "offsite.credentials"))
        return {
            **self.host.variables(),
            "lifeboat_databases": [{"name": "postgres"}],
            "lifeboat_repositories": {"here": {"type": "posix", "path": str(self.host.home / "here")}, "offsite": offsite},
            "lifeboat_key_repositories": {"vault": {"type": "posix", "path": str(self.host.home / "vault")}},
            "lifeboat_encryption": {"recipients": [self.data.recipient], "key_recipients": [self.keys.recipient]},
            "lifeboat_verify_keys": [self.signer.public],
            "lifeboat_bin_dir": str(self.server.bin_dir),
            "lifeboat_lock_dir": str(self.host.home / "locks"),
            "lifeboat_objective": "standard",
            "lifeboat_of_ours": "which none of the roles reads",
            "lifeboat_ignore_unknown": ["lifeboat_of_*"],
        }

    def database_host(self) -> dict[str, Any]:
        """What it says on the database host, with the secrets that are written into an inventory (from a vault of Ansible's)."""
        store = self.bucket.store
        credentials = f"[default]\naws_access_key_id = {store.access_key}\naws_secret_access_key = {store.secret_key}\n"
        hook, switch = (f"http://127.0.0.1:{free_port()}/{self.secret(name)}" for name in ("webhook", "dead man's switch"))
        config, production = self.host.home / "config" / "shop", self.host.home / "production"
        placed = {"offsite.credentials": credentials, "webhook": hook, "switch": switch}
        self.allowed |= {config / name for name in (*placed, "login_password")}
        self.secret("credential of the store", store.secret_key.encode())
        self.secret("password", self.server.password.encode())
        self.secret("signing key", Path(self.signer.path).read_bytes().splitlines()[3])
        self.secret("value in .env")
        master = self.file(production / "master.key", self.secret("master key", os.urandom(32)).encode("latin-1"))
        dotenv = self.file(production / ".env", b"SECRET_KEY_BASE=" + self.secrets["value in .env"] + b"\n")
        passphrase = self.file(production / "passphrase", self.secret("passphrase").encode() + b"\n")
        return {
            "lifeboat_login_host": "127.0.0.1",
            "lifeboat_login_port": self.server.port,
            "lifeboat_login_password": self.server.password,
            "lifeboat_secrets": placed,
            "lifeboat_on_failure": {"webhook_url_file": str(config / "webhook")},
            "lifeboat_dead_man_url_file": str(config / "switch"),
            "lifeboat_signing_key": self.signer.path,
            "lifeboat_keys": [
                {"name": "master-key", "path": str(master)},
                {"name": "env", "path": str(dotenv)},
                {"name": "one", "env_file": str(dotenv), "variable": "SECRET_KEY_BASE"},
            ],
            "lifeboat_key_passphrase_files": [str(passphrase)],
            "lifeboat_keys_state_dir": str(self.host.home / "fingerprints"),
            "lifeboat_keys_file": str(self.host.home / "fingerprints" / "shop" / "fingerprints.json"),
            **dict.fromkeys(("lifeboat_keys_become_user", "lifeboat_backup_become_user", "lifeboat_archiving_become_user"), ""),
            "lifeboat_audit_enforce": False,
        }


@pytest.fixture
def system(rclone_bucket: Bucket, tmp_path: Path) -> Iterator[System]:
    with (
        a_host(servers_user=True) as host,
        Server(15, SETTINGS, tcp=True, initdb=("--wal-segsize=1",), reads_all=True) as server,
    ):
        for name in ("here", "vault", "own"):
            host.folder(name)
        found = System(
            host=host,
            server=server,
            bucket=rclone_bucket,
            data=new_identity(tmp_path / "data.identity"),
            keys=new_identity(tmp_path / "keys.identity"),
            signer=ssh_pair(host.home / "own" / "signing"),
            elsewhere=tmp_path,
        )
        found.own(Path(found.signer.path))
        found.allowed |= {Path(found.signer.path), found.data.file, found.keys.file}
        for name, identity in (("identity of the data", found.data), ("identity of the keys", found.keys)):
            found.secret(name, identity.file.read_bytes().strip())
        server.execute("CREATE TABLE invoices AS SELECT n AS number, md5(n::text) FROM generate_series(1, 50000) n")
        yield found


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Where everybody's temporary files go, so that what is left of them is seen; a short name, since sockets lie there."""
    with tempfile.TemporaryDirectory(prefix="lb-", dir="/tmp") as folder:
        Path(folder).chmod(0o1777)
        yield Path(folder)


def look(pids: Sequence[int], needles: Sequence[bytes], seen: set[str], known: set[bytes]) -> list[str]:
    """Who below these processes shows a secret in arguments or environment; the programs that were looked at come into `seen`.

    What was looked at once, which is `known`, is the same for hundreds of processes.
    """
    shown = []
    for child in {found for pid in pids for found in (pid, *children(pid))}:
        for name in ("cmdline", "environ"):
            with contextlib.suppress(OSError):
                seen.add(Path(f"/proc/{child}/comm").read_text().strip())
                content = Path(f"/proc/{child}/{name}").read_bytes()
                if content not in known:
                    known.add(content)
                    shown += [f"{name}: {content[:100]!r}" for needle in needles if needle in content]
    return shown


def run(
    system: System, text: str, inventory: Mapping[str, Any], home: Path, temporary: Path, prefix: Sequence[str]
) -> tuple[bytes, set[str]]:
    """Run a playbook at -vvv and look at every process meanwhile: all that it said, and the programs that were seen."""
    home.mkdir(exist_ok=True)
    shutil.chown(home, system.host.user)
    playbook, log = home / "playbook.yml", home / "said"
    playbook.write_text(text)
    argv, environment = command(str(playbook), inventory, home, "-vvv", "--diff", prefix=prefix)
    environment |= {
        "TMPDIR": str(temporary),
        "ANSIBLE_REMOTE_TMP": str(temporary / "remote"),
        "ANSIBLE_LOCAL_TEMP": str(temporary / "local"),
    }
    seen: set[str] = set()
    shown: list[str] = []
    known: set[bytes] = set()
    server = system.server.process
    assert server is not None
    needles = system.needles
    with log.open("wb") as output:
        process = subprocess.Popen(argv, env=environment, stdout=output, stderr=subprocess.STDOUT, cwd="/")
        while process.poll() is None:
            shown += look([process.pid, server.pid], needles, seen, known)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
    said = log.read_bytes()
    (home / "inventory.json").unlink()
    assert process.returncode == 0, said.decode()[-20000:]
    assert shown == []
    return said, seen


def test_no_playbook_shows_or_leaves_a_secret(system: System, temporary: Path, work_dir: Path) -> None:
    host, elsewhere = system.host, system.elsewhere
    own = {"all": {"vars": {**system.shared(), **system.database_host()}, "children": {"databases": {"hosts": {"db1": {}}}}}}
    said, seen = run(system, OF_THE_DATABASE_HOST, own, host.home / "control", temporary, host.prefix)
    assert {"pg_dump", "pg_basebackup"} <= seen, "the test has to have looked while they ran"
    others = {
        **system.shared(),
        "ansible_python_interpreter": sys.executable,
        "lifeboat_repositories": {"here": {"type": "posix", "path": str(host.home / "here")}},
        "lifeboat_prune_repositories": {"here": {"retention": {"keep": 3}}},
        "lifeboat_prune_become_user": "",
        "lifeboat_prune_state_dir": str(elsewhere / "state"),
        "lifeboat_identity_file": str(system.data.file),
        "lifeboat_key_identity_file": str(system.keys.file),
        "lifeboat_drill_become_user": "",
        "lifeboat_drill_waive": ["same_host"],
        "lifeboat_work_dir": str(work_dir),
        "lifeboat_report_dir": str(elsewhere / "reports"),
        "lifeboat_lock_dir": str(elsewhere / "locks"),
    }
    groups: dict[str, Any] = {
        group: {"hosts": {name: {}}} for group, name in (("databases", "db1"), ("prune", "pruner"), ("drill", "drill1"))
    }
    more, _seen = run(system, OF_OTHER_HOSTS, {"all": {"vars": others, "children": groups}}, elsewhere / "control", temporary, ())
    for job in ("databases", "keys"):
        assert host.run_as_cron(job) == 0, [text for name, text in host.files().items() if name.startswith("log")]

    for name, secret in system.secrets.items():
        for needle in (secret, secret.hex().encode(), base64.b64encode(secret), repr(secret)[2:-1].encode()):
            assert needle not in said + more, name
    places = [host.home, elsewhere, temporary, work_dir, system.bucket.store.directory / system.bucket.name]
    files = [path for place in places for path in place.rglob("*") if path.is_file() and not path.is_symlink()]
    assert {"databases.json", "wal.json", "keys.jsonl", "login_password"} <= {path.name for path in files}
    assert list((elsewhere / "reports").rglob("*.json"))
    for path in set(files) - system.allowed:
        content = path.read_bytes()
        assert not [needle for needle in system.needles if needle in content], path
    for path in system.allowed:
        assert path.stat().st_mode & 0o077 == 0, path

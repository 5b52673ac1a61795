# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One real, signed backup of one small shop per format, taken once; tests copy what they break."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.clusters import Server, postgres18
from support.drills import BackedUp, back_up, work_dir
from support.keys import gpg_pair, ssh_pair
from support.logical import Identity
from support.parts import require

__all__ = ["postgres18", "work_dir"]

# A little of everything that can be lost.
SHOP = """
CREATE EXTENSION citext;
CREATE TYPE state AS ENUM ('open', 'paid');
CREATE FUNCTION with_tax(cents bigint) RETURNS bigint IMMUTABLE LANGUAGE sql AS 'SELECT cents + cents / 5';
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := coalesce(NEW.note, 'none'); RETURN NEW; END $$;
CREATE TABLE customers (id bigserial PRIMARY KEY, mail citext NOT NULL UNIQUE);
CREATE TABLE orders (
    id bigserial PRIMARY KEY, customer bigint NOT NULL REFERENCES customers, state state NOT NULL DEFAULT 'open',
    total_cents integer NOT NULL CHECK (total_cents >= 0), note text
);
CREATE INDEX orders_by_state ON orders (state);
CREATE TRIGGER stamped BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE VIEW paid AS SELECT * FROM orders WHERE state = 'paid';
INSERT INTO customers (mail) SELECT 'user' || n || '@example.com' FROM generate_series(1, 200) n;
INSERT INTO orders (customer, state, total_cents, note)
    SELECT 1 + n % 200, (ARRAY['open', 'paid'])[1 + n % 2]::state, n, md5(n::text) || md5((n * 7)::text) FROM generate_series(1, 12000) n;
CREATE MATERIALIZED VIEW turnover AS SELECT state, sum(total_cents) AS cents FROM orders GROUP BY state;
ALTER TABLE customers ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON customers USING (id = 1);
GRANT SELECT ON orders TO @ROLE@;
ALTER TABLE customers OWNER TO @ROLE@;
COMMENT ON TABLE orders IS 'what was sold';
SELECT lo_from_bytea(0, 'a contract');
"""

OPTIONS: Mapping[str, Any] = {"volume_size": "128KiB", "digests": {"tables": ["all"], "large_objects": True}}

FORMATS: Mapping[str, tuple[str, str]] = {
    "custom, age": ("custom", "age"),
    "directory, age": ("directory", "age"),
    "custom, gpg": ("custom", "gpg"),
    "custom, gpg-symmetric": ("custom", "gpg-symmetric"),
    "custom, none": ("custom", "none"),
}
"""Name of a format: that of the dump, and the method of the seal."""


@pytest.fixture(scope="session")
def role(postgres18: Server) -> Iterator[str]:
    """Somebody who owns and may read something in production."""
    with postgres18.role(f"app_{secrets.token_hex(3)}") as name:
        yield name


@pytest.fixture(scope="session")
def database(postgres18: Server, role: str) -> Iterator[str]:
    """Production."""
    with postgres18.database() as name:
        postgres18.execute(SHOP.replace("@ROLE@", role), name)
        yield name


@pytest.fixture(scope="session")
def taken(postgres18: Server, database: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], BackedUp]:
    """The backup in a format, taken when it is first asked for, in several volumes."""
    known: dict[str, BackedUp] = {}

    def take(form: str) -> BackedUp:
        if form not in known:
            if "gpg" in form:
                require("program:gpg", "program:gpg-agent", "program:gpgconf")
            known[form] = _taken(postgres18, database, tmp_path_factory.mktemp("shop"), *FORMATS[form])
        return known[form]

    return take


def _taken(server: Server, name: str, directory: Path, dump: str, method: str) -> BackedUp:
    file = directory / "identity"
    opened_by, more = "identity_file", dict[str, Any]()
    if method == "age":
        return back_up(server, name, directory, format=dump, **OPTIONS)
    if method == "gpg":
        pair = gpg_pair(file)
        identity, more = Identity(file, pair.public), {"recipients": [pair.public], "keyring_file": f"{file}.pub"}
    else:
        file.touch(mode=0o600)
        file.write_text("correct horse battery staple")
        identity = Identity(file, "")
        opened_by, more = ("passphrase_file", {"passphrase_file": str(file)}) if method == "gpg-symmetric" else ("", {})
    keys, encryption = (identity, ssh_pair(directory / "signing_key")), {"method": method, **more}
    taken = back_up(server, name, directory, keys, format=dump, encryption=encryption, **OPTIONS)
    return dataclasses.replace(taken, opened_by=opened_by)


@pytest.fixture
def shop(taken: Callable[[str], BackedUp], tmp_path: Path) -> BackedUp:
    """A copy of the backup in the custom format, sealed with age, to be broken."""
    return taken("custom, age").copy(tmp_path)


@pytest.fixture(params=list(FORMATS))
def any_shop(request: pytest.FixtureRequest, taken: Callable[[str], BackedUp], tmp_path: Path) -> BackedUp:
    """The same in each format in turn."""
    return taken(request.param).copy(tmp_path)


@pytest.fixture(scope="session")
def other(postgres18: Server, taken: Callable[[str], BackedUp], tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackedUp]:
    """A backup of another database by the same people: one key signs both, one identity opens both."""
    healthy = taken("custom, age")
    with postgres18.database() as name:
        postgres18.execute("CREATE TABLE others (id int PRIMARY KEY); INSERT INTO others SELECT generate_series(1, 5000)", name)
        yield back_up(postgres18, name, tmp_path_factory.mktemp("other"), (healthy.identity, healthy.signer), **OPTIONS)

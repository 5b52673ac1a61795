# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill the demo's shop: the same rows on every run, apart from keys, nonces and the dates, which end today."""

from __future__ import annotations

import datetime as dt
import os
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg
    from servers import Production

DATABASE = "shop"
SIZES = {"customers": 20_000, "products": 1_000, "orders": 70_000, "events": 80_000}
SCHEMA = Path(__file__).with_name("shop.sql")

FIRST = (
    "Ada Björn Chloé Dmitri Élodie Fatima Gustav Hana Ines Jürgen Kofi Lea "
    "Mateo Nia Oskar Priya Quentin Rosa Søren Tomás Uma Viktor Yara Zoë"
)
LAST = (
    "Albers Bianchi Castillo Dubois Eriksen Fischer García Haddad Ivanov Jansen "
    "Kowalska Larsen Moreau Novák O'Brien Petrov Rossi Şahin Tanaka Varga"
)
THINGS = "lantern kettle rope compass anchor blanket whistle flare oar bucket thermos torch chart raincoat biscuit"
KINDS = "brass sturdy folding waterproof orange spare nautical pocket heavy silent"


def load(production: Production, master_key: bytes) -> tuple[int, bool]:
    """Create the database `shop`, its owner and its rows; returns how many rows there are, and whether it has vectors."""
    production.add_role(DATABASE, "")
    with production.connect("postgres") as connection:
        connection.execute(f"CREATE DATABASE {DATABASE} OWNER {DATABASE} TEMPLATE template0")
        connection.execute(f"ALTER DATABASE {DATABASE} SET timezone = 'Europe/Berlin'")
    with production.connect(DATABASE) as connection:
        connection.execute("SET synchronous_commit = off")
        first, second = SCHEMA.read_text(encoding="utf-8").split("-- then\n")
        vector = connection.execute("SELECT FROM pg_available_extensions WHERE name = 'vector'").rowcount == 1
        if vector:
            connection.execute("CREATE EXTENSION vector")
        connection.execute(f"SET ROLE {DATABASE}")
        _run(connection, first if vector else without_vector(first))
        random_source = random.Random(1912)
        _copy(connection, "customers (name, email, country, secret, created_at, updated_at)", customers(random_source, master_key))
        _copy(connection, "products (title, price_cents, embedding)", products(random_source))
        _add_document(connection)
        _run(connection, second if vector else without_vector(second))
        connection.execute("RESET ROLE")
        connection.execute("ANALYZE")
        return count_rows(connection), vector


def add_backup_role(production: Production, name: str) -> None:
    """The role that takes backups: it reads everything and changes nothing."""
    production.add_role(name, "REPLICATION IN ROLE pg_read_all_data, pg_read_all_settings")
    with production.connect(DATABASE) as connection:
        for (oid,) in connection.execute("SELECT oid FROM pg_largeobject_metadata").fetchall():
            connection.execute(f"GRANT SELECT ON LARGE OBJECT {oid} TO {name}")


def count_rows(connection: psycopg.Connection[Any]) -> int:
    """The rows of all ordinary tables, exactly."""
    tables = connection.execute(
        "SELECT quote_ident(nspname) || '.' || quote_ident(relname) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE relkind = 'r' AND nspname = 'public'"
    ).fetchall()
    return sum(connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for (name,) in tables)  # type: ignore[index]


def customers(random_source: random.Random, master_key: bytes) -> Iterator[tuple[Any, ...]]:
    """Customers with a secret each, sealed by the application: nonce (12 bytes), ciphertext, tag (16 bytes)."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    cipher = AESGCM(master_key)
    first_names, last_names = FIRST.split(), LAST.split()
    now = dt.datetime.now(dt.timezone.utc)
    for number in range(1, SIZES["customers"] + 1):
        first, last = random_source.choice(first_names), random_source.choice(last_names)
        nonce = os.urandom(12)
        secret = nonce + cipher.encrypt(nonce, f"tax id {random_source.randrange(10**10, 10**11)}".encode(), None)
        joined = now - dt.timedelta(hours=random_source.randrange(24 * 700))
        country = random_source.choice(("DE", "AT", "CH", "FR", "IT", "NO"))
        yield f"{first} {last}", f"customer{number}@example.com", country, secret, joined, joined


def products(random_source: random.Random) -> Iterator[tuple[Any, ...]]:
    """Products with an embedding of eight numbers."""
    kinds, things = KINDS.split(), THINGS.split()
    for number in range(1, SIZES["products"] + 1):
        title = f"{random_source.choice(kinds)} {random_source.choice(things)} no. {number}"
        embedding = ",".join(f"{random_source.uniform(-1, 1):.4f}" for _ in range(8))
        yield title, random_source.randrange(99, 50_000), f"[{embedding}]"


def without_vector(text: str) -> str:
    """The schema for a server without pgvector: an array instead, and no index on it."""
    text = text.replace("embedding vector(8)", "embedding text")
    return re.sub(r"CREATE INDEX ON products USING hnsw.*?;", "", text)


def _add_document(connection: psycopg.Connection[Any]) -> None:
    terms = "\n".join(f"§ {number}. Whoever never lowered the boat has no boat." for number in range(1, 4000)).encode()
    connection.execute("INSERT INTO documents VALUES ('terms and conditions', lo_from_bytea(0, %s))", [terms])


def _copy(connection: psycopg.Connection[Any], target: str, rows: Iterator[tuple[Any, ...]]) -> None:
    with connection.cursor() as cursor, cursor.copy(f"COPY {target} FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def _run(connection: psycopg.Connection[Any], text: str) -> None:
    """A script with `:name` for the sizes; without parameters PostgreSQL takes several statements at once."""
    filled = re.sub(r"(?<!:):(customers|products|orders|events)\b", lambda found: str(SIZES[found.group(1)]), text)
    connection.execute(filled)

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups that are whole, sealed and signed, and do not hold what production had: each lack, and the words that name it.

Every row dumps an altered copy of production and puts that dump into a backup of production: as a broken program, a
forgotten option or a person with all the keys would leave it.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.clusters import Server
from support.damage import altered, dump_of, manifest_of, put, reseal_dump, sealed_for, sign_again, volumes
from support.drills import BackedUp, short_work_dir
from support.logical import opened


@dataclasses.dataclass(frozen=True)
class Lack:
    """What is different in the dumped copy, the check that fails, and the words that must appear in it.

    Rows of one `lot` do not get into each other's way: one dump lacks all that they say, and each has to be named.
    """

    lot: int
    statement: str
    check: str
    says: str


LACKS: Mapping[str, Lack] = {
    "rows are missing": Lack(1, "DELETE FROM orders WHERE id = 77", "row counts", "public.orders: expected 12000, found 11999"),
    "there are too many rows": Lack(
        1, "INSERT INTO customers (mail) VALUES ('x@example.com')", "row counts", "public.customers: expected 200, found 201"
    ),
    "a sequence is behind": Lack(1, "SELECT setval('orders_id_seq', 5)", "sequences", "orders_id_seq: expected 12000 or beyond, found 5"),
    "an index is missing": Lack(1, "DROP INDEX orders_by_state", "schema", "index public.orders_by_state is missing"),
    "a function has another body": Lack(
        1,
        "CREATE OR REPLACE FUNCTION with_tax(cents bigint) RETURNS bigint IMMUTABLE LANGUAGE sql AS 'SELECT cents'",
        "schema",
        r"function public.with_tax\(.*\) is different",
    ),
    "a trigger is missing": Lack(1, "DROP TRIGGER stamped ON orders", "schema", "trigger .*stamped.* is missing"),
    "a foreign key is missing": Lack(
        1, "ALTER TABLE orders DROP CONSTRAINT orders_customer_fkey", "schema", "orders_customer_fkey.* is missing"
    ),
    "a rule about values is missing": Lack(
        1, "ALTER TABLE orders DROP CONSTRAINT orders_total_cents_check", "schema", "orders_total_cents_check.* is missing"
    ),
    "a privilege is lost": Lack(1, "REVOKE ALL ON orders FROM @ROLE@", "privileges", "public.orders is different"),
    "a large object is lost": Lack(1, "SELECT lo_unlink(oid) FROM pg_largeobject_metadata", "large objects", "0 objects"),
    "there is another table": Lack(2, "CREATE TABLE loot ()", "row counts", "public.loot: found, and not in production"),
    "a default is missing": Lack(2, "ALTER TABLE orders ALTER state DROP DEFAULT", "schema", "orders.* is (different|missing)"),
    "an enum has another value": Lack(2, "ALTER TYPE state ADD VALUE 'gone'", "schema", "type public.state is different"),
    "a view is different": Lack(2, "CREATE OR REPLACE VIEW paid AS SELECT * FROM orders", "schema", "view public.paid is different"),
    "a materialised view is missing": Lack(2, "DROP MATERIALIZED VIEW turnover", "schema", "materialized view public.turnover is missing"),
    "a comment is missing": Lack(2, "COMMENT ON TABLE orders IS NULL", "schema", "orders.* is (different|missing)"),
    "an owner is another one": Lack(2, "ALTER TABLE customers OWNER TO postgres", "privileges", "public.customers is different"),
    "a trigger is switched off": Lack(3, "ALTER TABLE orders DISABLE TRIGGER stamped", "schema", "trigger .*stamped.* is different"),
    "a table is empty": Lack(3, "TRUNCATE orders", "row counts", "public.orders: expected 12000, found 0"),
    "a materialised view is not filled": Lack(
        3, "REFRESH MATERIALIZED VIEW turnover WITH NO DATA", "schema", "materialized view public.turnover is different"
    ),
    "rows are open to everybody": Lack(
        3, "ALTER TABLE customers DISABLE ROW LEVEL SECURITY", "schema", "table public.customers is different"
    ),
    "a policy is missing": Lack(3, "DROP POLICY own ON customers", "schema", "policy .*own.* is missing"),
    "a column has another type": Lack(
        3, "ALTER TABLE customers ALTER mail TYPE text", "schema", "column public.customers.mail is different"
    ),
    "an extension is missing": Lack(3, "DROP EXTENSION citext", "extensions", "citext is missing"),
    "a large object is shorter": Lack(
        3, "SELECT lo_unlink(oid), lo_from_bytea(99, 'a') FROM pg_largeobject_metadata", "large objects", "1 object, 1 byte"
    ),
    "a table's rows were changed": Lack(
        5, "UPDATE orders SET total_cents = total_cents + 1 WHERE id = 9", "content digests", "public.orders: other content"
    ),
    "two rows have exchanged a value": Lack(
        5,
        "UPDATE customers SET mail = 'x' || mail WHERE id IN (1, 2);"
        "UPDATE customers SET mail = CASE id WHEN 1 THEN 'user2@example.com' ELSE 'user1@example.com' END WHERE id IN (1, 2)",
        "content digests",
        "public.customers: other content",
    ),
    "a large object has other bytes": Lack(
        5, "SELECT lo_put(oid, 0, 'b') FROM pg_largeobject_metadata", "content digests", "large objects: other content"
    ),
    "a table is missing": Lack(4, "DROP TABLE orders CASCADE", "row counts", "public.orders: expected 12000, found no such table"),
}


@pytest.fixture(scope="module")
def failures(
    taken: Callable[[str], BackedUp], postgres18: Server, role: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], dict[str, str]]:
    """What the drill of a lot found to have failed: check to its words. Each lot is drilled once."""

    @functools.cache
    def drilled(lot: int) -> dict[str, str]:
        shop = taken("custom, age").copy(tmp_path_factory.mktemp("lot"))
        statements = ";".join(lack.statement for lack in LACKS.values() if lack.lot == lot).replace("@ROLE@", role)
        with altered(postgres18, shop.name, statements) as copy:
            reseal_dump(shop, dump_of(postgres18, copy))
        with short_work_dir() as work_dir:
            report = shop.drill(work_dir)
        assert report["verdict"] == "failed", report["reason"]
        return {check["name"]: f"{check['found']} {check['detail']}" for check in report["checks"] if check["verdict"] == "failed"}

    return drilled


@pytest.mark.parametrize("row", LACKS)
def test_what_is_lacking_is_found_and_named(failures: Callable[[int], dict[str, str]], row: str) -> None:
    lack = LACKS[row]
    said = failures(lack.lot)
    assert re.search(lack.says, said.get(lack.check, "")), said


def test_an_unaltered_dump_passes_on_the_same_way(shop: BackedUp, postgres18: Server, work_dir: Path) -> None:
    """Else the tests above would prove nothing."""
    with altered(postgres18, shop.name, "SELECT 1") as copy:
        reseal_dump(shop, dump_of(postgres18, copy))
    report = shop.drill(work_dir)
    assert report["verdict"] == "passed", report["reason"]


def test_what_only_rules_of_the_operator_can_see(shop: BackedUp, postgres18: Server, work_dir: Path) -> None:
    """The counts are right, and yet. (Here the digests tell, too; not every table has one.)"""
    psql = str(postgres18.bin_dir / "psql")
    rules: list[dict[str, Any]] = [
        {"sql": {"name": "money was changed", "query": "SELECT total_cents FROM orders WHERE id = 9", "expect": 9}},
        {"gapless": {"name": "a number is missing", "table": "orders", "column": "id", "start": 1}},
        {"unique": {"name": "a value is there twice", "tables": ["orders"], "columns": ["note"]}},
        {"foreign_keys": {"name": "nobody's orders"}},
        {"amcheck": {"name": "sound inside"}},
        {"command": {"name": "a program counts", "argv": [psql, "-XAtc", "SELECT count(*) FROM orders"], "matches": "^12000$"}},
    ]
    statements = (
        "UPDATE orders SET total_cents = 10 WHERE id = 9; UPDATE orders SET note = 'same' WHERE id IN (5, 6);"
        "DELETE FROM orders WHERE id = 50; INSERT INTO orders (customer, total_cents) VALUES (1, 1)"
    )
    healthy = {check["name"]: check["verdict"] for check in shop.drill(work_dir, checks=rules)["checks"][-len(rules) :]}
    with altered(postgres18, shop.name, statements) as copy:
        reseal_dump(shop, dump_of(postgres18, copy))
    report = shop.drill(work_dir, checks=rules)
    assert report["verdict"] == "failed", report["reason"]
    broken = {check["name"]: check["verdict"] for check in report["checks"] if check["name"] in healthy}
    # The backup was taken without these rules, so nothing was recorded for the numbering.
    assert healthy == {rule: "unverified" if rule == "a number is missing" else "passed" for rule in healthy}
    assert [name for name, verdict in broken.items() if verdict == "failed"] == [
        "money was changed",
        "a number is missing",
        "a value is there twice",
    ]


@pytest.mark.parametrize(
    ("option", "says"), [("--schema-only", "row counts"), ("--data-only", "restore"), ("--exclude-table=orders", "restore")]
)
def test_a_dump_that_was_taken_with_another_option_fails(
    shop: BackedUp, postgres18: Server, work_dir: Path, option: str, says: str
) -> None:
    reseal_dump(shop, dump_of(postgres18, shop.name, option))
    report = shop.drill(work_dir)
    assert (report["verdict"], says in report["reason"]) == ("failed", True), report["reason"]


class TestSealedAsIfNothingWereWrong:
    def test_another_database_fails(self, shop: BackedUp, other: BackedUp, postgres18: Server, work_dir: Path) -> None:
        reseal_dump(shop, dump_of(postgres18, other.name))
        report = shop.drill(work_dir)
        assert (report["verdict"], "row counts" in report["reason"]) == ("failed", True), report["reason"]

    def test_an_empty_database_fails(self, shop: BackedUp, postgres18: Server, work_dir: Path) -> None:
        with postgres18.database() as name:
            reseal_dump(shop, dump_of(postgres18, name))
        report = shop.drill(work_dir)
        assert (report["verdict"], "row counts" in report["reason"]) == ("failed", True), report["reason"]

    @pytest.mark.parametrize("share", [0.2, 0.99])
    def test_a_dump_that_was_cut_before_it_was_sealed_fails(self, shop: BackedUp, work_dir: Path, share: float) -> None:
        dump = opened(shop.repository, manifest_of(shop), "dump", shop.identity)
        reseal_dump(shop, dump[: int(len(dump) * share)])
        report = shop.drill(work_dir)
        assert (report["verdict"], "restore" in report["reason"]) == ("failed", True), report["reason"]

    def test_a_dump_with_a_flipped_bit_in_its_rows_fails(self, shop: BackedUp, work_dir: Path) -> None:
        dump = bytearray(opened(shop.repository, manifest_of(shop), "dump", shop.identity))
        position = dump.index(b"user199@example.com\n")
        dump[position : position + 8] = b"user198@"
        reseal_dump(shop, bytes(dump))
        report = shop.drill(work_dir)
        assert (report["verdict"], "customers_mail_key" in str(report["checks"])) == ("failed", True), report["reason"]

    def test_one_altered_byte_that_breaks_no_rule_fails_and_its_table_is_named(self, shop: BackedUp, work_dir: Path) -> None:
        dump = bytearray(opened(shop.repository, manifest_of(shop), "dump", shop.identity))
        position = dump.index(hashlib.md5(b"777").hexdigest().encode())  # in a note, of which nothing but its digest is known
        dump[position] = ord("0") if dump[position] != ord("0") else ord("1")
        reseal_dump(shop, bytes(dump))
        report = shop.drill(work_dir)
        assert (report["verdict"], report["verified_seconds"]) == ("failed", None), report["reason"]
        assert re.search(r"content digests.*orders", report["reason"]), report["reason"]

    @pytest.mark.parametrize("at", [0.0, 0.5, 1.0])
    def test_one_altered_byte_of_the_sealed_dump_of_which_the_manifest_knows_nothing_fails_when_it_is_opened(
        self, shop: BackedUp, work_dir: Path, at: float
    ) -> None:
        sealed = bytearray(b"".join(path.read_bytes() for path in volumes(shop)))
        sealed[min(int(len(sealed) * at), len(sealed) - 1)] ^= 1
        put(shop, "dump", bytes(sealed))
        report = shop.drill(work_dir)
        assert report["verdict"] == "failed", report["reason"]
        assert re.search(r"damaged|cannot be opened|not sealed|age", report["reason"]), report["reason"]

    def test_what_only_begins_like_a_dump_fails(self, shop: BackedUp, work_dir: Path) -> None:
        reseal_dump(shop, b"PGDMP")
        assert shop.drill(work_dir)["verdict"] == "failed"

    @pytest.mark.parametrize("content", [b"", b"{}", b'{"schema": 1}', b"\xff"])
    def test_what_is_no_evidence_fails(self, shop: BackedUp, work_dir: Path, content: bytes) -> None:
        put(shop, "evidence", sealed_for(shop.identity.recipient, content))
        report = shop.drill(work_dir)
        assert (report["verdict"], "evidence" in report["reason"]) == ("failed", True), report["reason"]

    def test_evidence_of_another_database_fails(self, shop: BackedUp, other: BackedUp, work_dir: Path) -> None:
        evidence = opened(other.repository, manifest_of(other), "evidence", other.identity)
        put(shop, "evidence", sealed_for(shop.identity.recipient, evidence))
        report = shop.drill(work_dir)
        assert (report["verdict"], "row counts" in str(report["checks"])) == ("failed", True), report["reason"]

    def test_evidence_that_says_nothing_of_a_table_proves_nothing(self, shop: BackedUp, work_dir: Path) -> None:
        document = json.loads(opened(shop.repository, manifest_of(shop), "evidence", shop.identity))
        document["tables"] = []
        put(shop, "evidence", sealed_for(shop.identity.recipient, json.dumps(document).encode()))
        assert shop.drill(work_dir)["verdict"] == "failed"

    def test_a_backup_without_evidence_proves_nothing(self, shop: BackedUp, work_dir: Path) -> None:
        artifacts = tuple(artifact for artifact in manifest_of(shop).artifacts if artifact.role != "evidence")
        sign_again(shop, artifacts=artifacts)
        report = shop.drill(work_dir)
        assert (report["verdict"], "evidence" in report["reason"]) == ("unverified", True), report["reason"]

    def test_a_manifest_that_says_another_size_fails(self, shop: BackedUp, work_dir: Path) -> None:
        sign_again(shop, plain_bytes=manifest_of(shop).plain_bytes - 1)
        report = shop.drill(work_dir)
        assert (report["verdict"], "not what was taken" in report["reason"]) == ("failed", True), report["reason"]

    def test_a_dump_of_another_version_than_the_manifest_says_is_not_restored_elsewhere(self, shop: BackedUp, work_dir: Path) -> None:
        sign_again(shop, server_version_num=990001, server_version="99.1")
        report = shop.drill(work_dir)
        assert (report["verdict"], "99" in report["reason"]) == ("unverified", True), report["reason"]

# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A shop's busy day, squeezed into the seconds a backup takes: what naive evidence gives false alarms about."""

from __future__ import annotations

import collections
import contextlib
import random
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import shop

if TYPE_CHECKING:
    import psycopg
    from servers import Production

PRODUCTS = shop.SIZES["products"]
CUSTOMERS = shop.SIZES["customers"]


class Traffic:
    """Threads that write while the block runs: orders with invoices, nextval, updates, TRUNCATE, REFRESH.

    A statement that meets the backup's locks gives up after a fifth of a second and is tried again later, as a patient
    application does; it must never stand in the way of the others behind it. Any other fault is raised at the end.
    """

    def __init__(self, production: Production, sellers: int = 2) -> None:
        self._production = production
        self._stop = threading.Event()
        self._faults: list[BaseException] = []
        self.done: collections.Counter[str] = collections.Counter()
        jobs = [(self._sell, 0.01)] * sellers + [(self._keep_house, 0.08)]
        self._threads = [threading.Thread(target=self._work, args=(*job, seed), daemon=True) for seed, job in enumerate(jobs)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self._faults and error is None:
            raise self._faults[0]

    def summary(self) -> str:
        """What was done, in one line."""
        return ", ".join(f"{count:,} {what}" for what, count in sorted(self.done.items()))

    def _work(self, job: Any, pause: float, seed: int) -> None:
        import psycopg

        source = random.Random(seed)
        try:
            with self._production.connect(shop.DATABASE, shop.DATABASE) as connection:
                connection.execute("SET lock_timeout = '200ms'")
                while not self._stop.wait(pause * source.uniform(0.5, 1.5)):
                    with contextlib.suppress(psycopg.errors.LockNotAvailable):
                        job(connection, source)
        except Exception as fault:  # noqa: BLE001 - reported by the thread that started the traffic
            self._faults.append(fault)

    def _sell(self, connection: psycopg.Connection[Any], source: random.Random) -> None:
        """One order with its lines and its invoice; the year's row is locked, so numbers have no gaps."""
        customer, lines = 1 + source.randrange(CUSTOMERS), 1 + source.randrange(3)
        with connection.transaction():
            order, total = connection.execute(
                "WITH basket AS (SELECT id, price_cents, row_number() OVER () AS line FROM products"
                " WHERE id BETWEEN %(first)s AND %(last)s),"
                " placed AS (INSERT INTO orders (customer_id, status, currency, total_cents)"
                " SELECT %(customer)s, 'paid', 'EUR', sum(price_cents) FROM basket RETURNING id, total_cents),"
                " lines AS (INSERT INTO order_lines SELECT placed.id, line, basket.id, 1, price_cents FROM placed, basket)"
                " SELECT id, total_cents FROM placed",
                {"customer": customer, "first": (first := 1 + source.randrange(PRODUCTS - 3)), "last": first + lines - 1},
            ).fetchone()  # type: ignore[misc]
            connection.execute(
                "WITH next AS (INSERT INTO invoice_numbers VALUES (extract(year FROM now() AT TIME ZONE 'UTC')::integer, 1)"
                " ON CONFLICT (year) DO UPDATE SET last_number = invoice_numbers.last_number + 1 RETURNING year, last_number)"
                " INSERT INTO invoices SELECT year, last_number, %s, 'EUR', %s FROM next",
                [order, total],
            )
        connection.execute("SELECT nextval('parcel_number')")
        connection.execute("UPDATE customers SET country = 'FR' WHERE id = %s", [customer])
        connection.execute("INSERT INTO access_log (path, milliseconds) VALUES ('/checkout', 12)")
        self.done["orders with invoices"] += 1

    def _keep_house(self, connection: psycopg.Connection[Any], source: random.Random) -> None:
        """What takes strong locks: empty the log, refresh the materialised view."""
        if source.random() < 0.5:
            connection.execute("TRUNCATE access_log")
            self.done["TRUNCATEs"] += 1
        else:
            connection.execute("REFRESH MATERIALIZED VIEW daily_revenue")
            self.done["REFRESHes"] += 1

-- SPDX-FileCopyrightText: The lifeboat.postgres contributors
-- SPDX-License-Identifier: GPL-3.0-or-later
CREATE EXTENSION vector;
CREATE ROLE clerk LOGIN;
CREATE TABLE customers (id bigserial PRIMARY KEY, name text NOT NULL);
CREATE TABLE products (id bigserial PRIMARY KEY, title text NOT NULL, embedding vector(3) NOT NULL);
CREATE TABLE orders (id bigserial PRIMARY KEY, customer_id bigint NOT NULL REFERENCES customers, total_cents bigint NOT NULL,
                     placed_at timestamptz NOT NULL DEFAULT now()) ;
CREATE TABLE invoices (number integer PRIMARY KEY, order_id bigint NOT NULL REFERENCES orders);
CREATE TABLE events (at timestamptz NOT NULL, kind text NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE events_old PARTITION OF events FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
CREATE TABLE events_new PARTITION OF events FOR VALUES FROM ('2026-01-01') TO (MAXVALUE);
CREATE TABLE "Gift cards & ""vouchers""" ("Card No." text PRIMARY KEY);
GRANT SELECT ON orders TO clerk;

INSERT INTO customers (name) SELECT 'Customer ' || n FROM generate_series(1, 1000) n;
INSERT INTO products (title, embedding) SELECT 'Product ' || n, ARRAY[n, n % 7, n % 11]::vector FROM generate_series(1, 500) n;
INSERT INTO orders (customer_id, total_cents) SELECT 1 + n % 1000, 100 * n FROM generate_series(1, 50000) n;
INSERT INTO invoices SELECT id, id FROM orders;
INSERT INTO events SELECT timestamptz '2025-12-01' + n * interval '1 hour', 'viewed' FROM generate_series(1, 5000) n;
INSERT INTO "Gift cards & ""vouchers""" SELECT 'GC-' || n FROM generate_series(1, 100) n;
CREATE INDEX ON products USING hnsw (embedding vector_l2_ops);
SELECT lo_from_bytea(0, 'a contract');

-- SPDX-FileCopyrightText: The lifeboat.postgres contributors
-- SPDX-License-Identifier: GPL-3.0-or-later
--
-- One of each kind of object, with whatever has been seen to read differently after a healthy restore.
-- The roles shop_owner and "the ""reader""" must be there.

CREATE EXTENSION hstore;
CREATE EXTENSION btree_gist;
CREATE EXTENSION pg_trgm;
CREATE EXTENSION postgres_fdw;
CREATE SCHEMA "Büro & Co";
CREATE SCHEMA app AUTHORIZATION shop_owner;
COMMENT ON SCHEMA app IS 'the application''s';
SET check_function_bodies = off;

-- types
CREATE TYPE app.status AS ENUM ('new', 'paid', 'it''s done');
ALTER TYPE app.status ADD VALUE 'refused' BEFORE 'paid';
COMMIT;
CREATE DOMAIN app.cents AS bigint DEFAULT 0 NOT NULL CONSTRAINT not_negative CHECK (VALUE >= 0);
CREATE DOMAIN app.code AS varchar(5) CHECK (VALUE IN ('a', 'b\')) CHECK (VALUE ~ '^[a-z\\]+$');
COMMENT ON DOMAIN app.code IS 'short';
CREATE TYPE app.address AS (street text, "house no." varchar(10), zip char(5));
COMMENT ON COLUMN app.address.zip IS 'five digits';
CREATE TYPE app.span AS RANGE (subtype = float8, subtype_diff = float8mi);
CREATE COLLATION app.german (provider = libc, locale = 'C');
CREATE TYPE app.shell;

-- sequences
CREATE SEQUENCE app.parcel_number START 1000 INCREMENT BY 10 MINVALUE 0 MAXVALUE 999999 CACHE 5;
CREATE SEQUENCE app.downwards INCREMENT BY -1 START -1;
CREATE SEQUENCE app.round MAXVALUE 3 CYCLE;
SELECT nextval('app.parcel_number'), nextval('app.downwards'), nextval('app.downwards'), nextval('app.round');

-- functions
CREATE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := 'a ''quoted'' \ text'; RETURN NEW; END $$;
CREATE FUNCTION app.total(of bigint, rate numeric DEFAULT 1.19, kind varchar DEFAULT 'x', VARIADIC more int[] DEFAULT '{}')
    RETURNS numeric LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 7
    SET search_path = app, "$user", pg_temp SET work_mem TO '8MB' AS 'SELECT of * rate';
CREATE FUNCTION app.standard(a int, OUT b int, OUT c text) LANGUAGE sql STABLE SECURITY DEFINER LEAKPROOF
    BEGIN ATOMIC SELECT a + 1, 'x'::varchar || a; END;
CREATE FUNCTION app.rows() RETURNS TABLE (x int, y app.address) LANGUAGE sql ROWS 7 AS $$ SELECT 1, NULL::app.address $$;
CREATE PROCEDURE app.clean(days int DEFAULT 3) LANGUAGE plpgsql AS $$ BEGIN PERFORM days; END $$;
CREATE FUNCTION app.add(text, int) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1 || $2';
CREATE AGGREGATE app.joined(int) (SFUNC = app.add, STYPE = text, INITCOND = '');
CREATE FUNCTION app.starts(text, app.address) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 = ($2).street';
CREATE OPERATOR app.=== (LEFTARG = text, RIGHTARG = app.address, FUNCTION = app.starts);
CREATE FUNCTION app.to_text(app.address) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT ($1).street';
CREATE CAST (app.address AS text) WITH FUNCTION app.to_text(app.address) AS ASSIGNMENT;
CREATE OPERATOR FAMILY app.bytes USING btree;
CREATE OPERATOR CLASS app.bytes_ops FOR TYPE bytea USING btree FAMILY app.bytes AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 byteacmp(bytea, bytea);
COMMENT ON FUNCTION app.touch() IS 'writes a note';

-- tables
CREATE UNLOGGED TABLE app.cache (key text PRIMARY KEY, value hstore) WITH (fillfactor = 70, autovacuum_enabled = false);
CREATE TABLE app.customers (
    id serial PRIMARY KEY,
    dropped int,
    name varchar(80) NOT NULL CHECK (name <> ''),
    kind varchar(10) DEFAULT 'private'::varchar CHECK (kind IN ('private', 'company', 'state')),
    level text CHECK (level = ANY (ARRAY['a'::varchar, 'b', upper('c')])),
    at app.address DEFAULT ROW('x', NULL, '12345')::app.address,
    homes app.address[],
    status app.status DEFAULT 'new' NOT NULL CHECK (status <> 'refused' OR status::text LIKE 'n%'),
    balance app.cents,
    short app.code,
    score numeric(10, 2) DEFAULT -1.5,
    small smallint DEFAULT (-1),
    seen timestamptz(3) DEFAULT now() + interval '1 day 02:00',
    flags bit varying(5) DEFAULT B'101',
    full_name text GENERATED ALWAYS AS (upper((name)::text) || ' (' || kind || ')') STORED,
    "sorted by" text COLLATE app.german,
    note text,
    CONSTRAINT either CHECK (level IS NOT NULL OR (balance > 0 AND score < 10)),
    EXCLUDE USING gist (name WITH =) WHERE (kind IN ('company', 'state'))
);
ALTER TABLE app.customers DROP COLUMN dropped;
ALTER TABLE app.customers ALTER note SET STORAGE EXTERNAL, ALTER score SET STATISTICS 300, ALTER note SET (n_distinct = -0.5);
ALTER TABLE app.customers OWNER TO shop_owner;
COMMENT ON COLUMN app.customers."sorted by" IS 'as in a book';
COMMENT ON CONSTRAINT either ON app.customers IS 'one of both';
CREATE INDEX by_kind ON app.customers USING btree (lower(kind), (score + 1), "sorted by" COLLATE "C" DESC NULLS LAST)
    INCLUDE (name) WITH (fillfactor = 80) WHERE kind IN ('private', 'state') AND NOT (small = 3 OR level = 'b');
CREATE INDEX by_words ON app.customers USING gin (name gin_trgm_ops);
CLUSTER app.customers USING customers_pkey;
ALTER TABLE app.customers REPLICA IDENTITY USING INDEX customers_pkey;
CREATE STATISTICS app.both (dependencies, ndistinct) ON name, kind FROM app.customers;
CREATE STATISTICS app.of_expression ON lower(kind), (score * 2) FROM app.customers;
CREATE TRIGGER touched BEFORE INSERT OR UPDATE OF name, note ON app.customers
    FOR EACH ROW WHEN (NEW.kind IN ('company', 'state') AND NEW.name <> 'it''s') EXECUTE FUNCTION app.touch();
CREATE CONSTRAINT TRIGGER later AFTER UPDATE ON app.customers DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.touch();
ALTER TABLE app.customers DISABLE TRIGGER later;

CREATE TABLE "Büro & Co"."my ""odd"" table; DROP" (
    "id'" bigint GENERATED ALWAYS AS IDENTITY (START 7 INCREMENT 3),
    "-- no comment" text DEFAULT E'tab\t and \\ back',
    "$(rm)" int UNIQUE NULLS DISTINCT,
    customer int REFERENCES app.customers ON DELETE CASCADE DEFERRABLE,
    PRIMARY KEY ("id'")
) ;
ALTER TABLE "Büro & Co"."my ""odd"" table; DROP" ADD CONSTRAINT "later ""valid" CHECK ("$(rm)" > 0) NOT VALID;
COMMENT ON TABLE "Büro & Co"."my ""odd"" table; DROP" IS E'line\nbreak';
CREATE TABLE "Büro & Co".customers (LIKE app.customers INCLUDING ALL);

CREATE TABLE app.base (id int, named text NOT NULL);
CREATE TABLE app.child (own int DEFAULT 4, extra text) INHERITS (app.base);
ALTER TABLE app.base ADD COLUMN late int DEFAULT 9 CHECK (late > 0);
ALTER TABLE app.child ALTER late SET DEFAULT 10;
CREATE TABLE app.typed OF app.address (street WITH OPTIONS NOT NULL);
CREATE RULE "no deletes" AS ON DELETE TO app.base WHERE (old.named IN ('a'::varchar, 'b')) DO INSTEAD NOTHING;

-- partitions: by time with a default, by hash of an enum, with an index and a trigger each
CREATE TABLE app.events (id bigint, at timestamptz NOT NULL, kind varchar(5) CHECK (kind IN ('x', 'y')), PRIMARY KEY (id, at))
    PARTITION BY RANGE (at);
CREATE TABLE app.events_1 PARTITION OF app.events FOR VALUES FROM ('2026-01-01 00:00+02') TO ('2026-07-01');
CREATE TABLE app.events_2 (kind varchar(5), gone int, at timestamptz NOT NULL, id bigint NOT NULL);
ALTER TABLE app.events_2 DROP COLUMN gone, ADD CONSTRAINT events_kind_check CHECK (kind IN ('x', 'y'));
ALTER TABLE app.events ATTACH PARTITION app.events_2 FOR VALUES FROM ('2026-07-01') TO (MAXVALUE);
CREATE TABLE app.events_rest PARTITION OF app.events DEFAULT PARTITION BY RANGE (id);
CREATE TABLE app.events_rest_x PARTITION OF app.events_rest FOR VALUES FROM (MINVALUE) TO (MAXVALUE);
CREATE INDEX events_by_kind ON app.events (kind);
CREATE TRIGGER noted BEFORE UPDATE ON app.events FOR EACH ROW EXECUTE FUNCTION app.touch();
CREATE TABLE app.refers (id bigint, at timestamptz, FOREIGN KEY (id, at) REFERENCES app.events);
CREATE TABLE app.by_status (status app.status, n int) PARTITION BY HASH (status);
CREATE TABLE app.by_status_0 PARTITION OF app.by_status FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE app.by_status_1 PARTITION OF app.by_status FOR VALUES WITH (MODULUS 2, REMAINDER 1);

-- views
CREATE VIEW app.companies AS
    SELECT c.id, c.name AS "the name", c.kind IN ('company', 'state') AS big, (c.at).zip, count(*) OVER w AS n, ARRAY[c.kind, 'z'] AS kinds
    FROM app.customers c LEFT JOIN "Büro & Co"."my ""odd"" table; DROP" o ON o.customer = c.id AND c.kind IN ('company', 'state')
    WINDOW w AS (PARTITION BY c.kind ORDER BY c.id);
COMMENT ON COLUMN app.companies.big IS 'more than one';
CREATE VIEW app.editable WITH (security_barrier) AS SELECT id, name, kind FROM app.customers WHERE kind = 'private' WITH CASCADED CHECK OPTION;
ALTER VIEW app.editable ALTER kind SET DEFAULT 'private';
CREATE RECURSIVE VIEW app.numbers (n) AS VALUES (1) UNION ALL SELECT n + 1 FROM numbers WHERE n < 100;
CREATE VIEW app.joins AS SELECT e.*, customers.name AS who FROM app.events e JOIN app.refers USING (id, at) JOIN app.customers ON true;
CREATE MATERIALIZED VIEW app.summary AS SELECT kind, count(*) AS n, sum(balance)::bigint AS cents FROM app.customers GROUP BY kind;
CREATE UNIQUE INDEX summary_kind ON app.summary (kind);
CREATE MATERIALIZED VIEW app.unfilled AS SELECT 1 AS one WITH NO DATA;

-- who may what
ALTER TABLE app.customers ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON app.customers AS RESTRICTIVE FOR SELECT TO shop_owner, "the ""reader""" USING (kind IN ('private', 'state') OR name = current_user);
CREATE POLICY "all" ON app.customers USING (true) WITH CHECK (balance >= 0);
GRANT USAGE ON SCHEMA app TO "the ""reader""";
GRANT SELECT, INSERT ON app.customers TO "the ""reader""" WITH GRANT OPTION;
GRANT UPDATE (name, note) ON app.customers TO "the ""reader""";
GRANT SELECT ON app.events TO PUBLIC;
REVOKE EXECUTE ON FUNCTION app.touch() FROM PUBLIC;
GRANT USAGE ON TYPE app.status TO shop_owner;
REVOKE USAGE ON TYPE app.status FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE shop_owner IN SCHEMA app GRANT SELECT ON TABLES TO "the ""reader""";
ALTER DEFAULT PRIVILEGES FOR ROLE shop_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER SEQUENCE app.parcel_number OWNER TO shop_owner;

-- the rest
CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '/nowhere', dbname 'it''s');
CREATE USER MAPPING FOR PUBLIC SERVER elsewhere OPTIONS (user 'u', password 'geheim');
CREATE FOREIGN TABLE app.far (id int OPTIONS (column_name 'Id') NOT NULL, t text DEFAULT 'x') SERVER elsewhere OPTIONS (table_name 'far');
CREATE TEXT SEARCH DICTIONARY app.plain (TEMPLATE = simple, accept = false);
CREATE TEXT SEARCH CONFIGURATION app.search (COPY = english);
ALTER TEXT SEARCH CONFIGURATION app.search ALTER MAPPING FOR asciiword WITH app.plain, english_stem;
CREATE PUBLICATION everything FOR ALL TABLES WITH (publish = 'insert, update');
CREATE PUBLICATION parts FOR TABLE app.customers (id, name) WHERE (id > 5 OR name IS NULL);
CREATE PUBLICATION "a schema" FOR TABLES IN SCHEMA "Büro & Co";
CREATE FUNCTION app.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE EVENT TRIGGER watch ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'DROP TABLE') EXECUTE FUNCTION app.on_ddl();
CREATE CONVERSION app.latin FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;

-- rows
INSERT INTO app.customers (name, kind, level, balance) SELECT 'c' || n, 'private', 'a', n FROM generate_series(1, 300) n;
INSERT INTO "Büro & Co"."my ""odd"" table; DROP" ("$(rm)", customer) SELECT n, n FROM generate_series(1, 50) n;
INSERT INTO app.base VALUES (1, 'x', 2), (2, 'y', 3);
INSERT INTO app.child (id, named, own) VALUES (3, 'z', 1);
INSERT INTO app.events SELECT n, timestamptz '2025-12-01' + n * interval '1 hour', 'x' FROM generate_series(1, 6000) n;
INSERT INTO app.by_status SELECT (enum_range(NULL::app.status))[1 + n % 4], n FROM generate_series(1, 100) n;
INSERT INTO app.cache VALUES ('k', 'a=>1');
SELECT lo_from_bytea(0, decode('00ff', 'hex')), lo_from_bytea(0, ''), lo_put(lo_create(0), 5000, 'after a hole');
REFRESH MATERIALIZED VIEW app.summary;

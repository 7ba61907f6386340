-- Who may do what with schemas jit and jit_private: nobody anything, beyond what is handed out one by one.

SELECT jit.create_scope('s', '{"key_type": "int", "approvers": {"support_lead": 1}}');
\c - alice
SELECT jit_request('s', 'test', key => '1') AS r \gset
\c - bob
SELECT jit_approve(:r);
\c - postgres
-- Says what became of each of some statements on each table.
CREATE FUNCTION try(VARIADIC statements text[]) RETURNS TABLE (statement text, code text, tables bigint, which text)
    LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    t name; s text; answer text;
    answers jsonb := '[]';
BEGIN
    FOR t IN SELECT relname FROM pg_class WHERE relnamespace = 'jit_private'::regnamespace AND relkind = 'r' ORDER BY 1 LOOP
        FOREACH s IN ARRAY statements LOOP
            -- Eight of the tables have a view of their name in schema jit.
            CONTINUE WHEN s ~ '\mjit\.' AND NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = 'jit'::regnamespace AND relname = t);
            BEGIN
                EXECUTE format(s, t);
                answer := 'done';
            EXCEPTION WHEN OTHERS THEN answer := sqlstate || ' ' || replace(sqlerrm, t, '...');
            END;
            answers := answers || jsonb_build_object('s', s, 'a', answer, 't', t);
        END LOOP;
    END LOOP;
    RETURN QUERY SELECT e ->> 's', e ->> 'a', count(*), CASE WHEN count(*) < 5 THEN string_agg(e ->> 't', ' ' ORDER BY e ->> 't') ELSE '(many)' END
                   FROM jsonb_array_elements(answers) e GROUP BY 1, 2 ORDER BY 1, 2;
END $$;

-- Tables and their sequences stand apart; each table has row-level security, and no policy.
SELECT relnamespace::regnamespace AS schema, relkind, count(*) FROM pg_class
 WHERE relnamespace IN ('jit'::regnamespace, 'jit_private'::regnamespace) AND relkind <> 'i' GROUP BY 1, 2 ORDER BY 1, 2;
SELECT relname FROM pg_class WHERE relnamespace = 'jit_private'::regnamespace AND relkind = 'r' AND relrowsecurity ORDER BY 1;
SELECT count(*) FROM pg_policy;
SELECT nspname, nspacl FROM pg_namespace WHERE nspname = 'jit_private';
SELECT count(*) FROM pg_constraint WHERE contype = 'f';

-- What an ordinary role may: four views, and functions that tell about the session alone.
\c - frank
SELECT c.relkind, c.oid::regclass FROM pg_class c
 WHERE c.relnamespace IN ('jit'::regnamespace, (SELECT oid FROM pg_namespace WHERE nspname = 'jit_private')) AND c.relkind IN ('r', 'v', 'm', 'f', 'p')
   AND (has_table_privilege(c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
        OR has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE, REFERENCES'))
 ORDER BY c.oid::regclass::text COLLATE "C";
SELECT c.oid::regclass FROM pg_class c
 WHERE c.relnamespace IN ('jit'::regnamespace, (SELECT oid FROM pg_namespace WHERE nspname = 'jit_private')) AND CASE c.relkind WHEN 'S' THEN has_sequence_privilege(c.oid, 'SELECT, USAGE, UPDATE') END;
SELECT p.oid::regprocedure, has_function_privilege(p.oid, 'EXECUTE') FROM pg_proc p
 WHERE p.pronamespace = 'jit'::regnamespace ORDER BY 2, p.oid::regprocedure::text COLLATE "C";
SELECT has_schema_privilege('jit', 'USAGE') AS usage, has_schema_privilege('jit', 'CREATE') AS create;
SELECT has_schema_privilege('jit_private', 'USAGE') AS usage, has_schema_privilege('jit_private', 'CREATE') AS create;

-- Tried: all of it is refused.
SELECT * FROM try('SELECT * FROM jit.%I', 'INSERT INTO jit.%I DEFAULT VALUES', 'DELETE FROM jit.%I', 'DROP VIEW jit.%I CASCADE',
                  'LOCK jit.%I', 'SELECT FROM jit.%I FOR UPDATE', 'ALTER VIEW jit.%I OWNER TO frank',
                  'CREATE OR REPLACE RULE r AS ON INSERT TO jit.%I DO INSTEAD NOTHING');
SELECT * FROM try('SELECT * FROM jit_private.%I', 'INSERT INTO jit_private.%I DEFAULT VALUES', 'DELETE FROM jit_private.%I', 'TRUNCATE jit_private.%I',
                  'LOCK jit_private.%I', 'DROP TABLE jit_private.%I CASCADE', 'ALTER TABLE jit_private.%I DISABLE TRIGGER ALL',
                  'CREATE RULE r AS ON INSERT TO jit_private.%I DO INSTEAD NOTHING', 'CREATE TEMP TABLE x () INHERITS (jit_private.%I)');
SELECT jit.create_scope('mine');
SELECT jit.alter_scope('s', '{"approvers": {"frank": 1}}');
SELECT jit.drop_scope('s');
SELECT jit.announce_installation();
SELECT jit.guard_write();
SELECT jit.append_only();
SELECT jit.invalidate();
SELECT jit.invalidate_plans();
SELECT jit.bind_rule();
SELECT jit.bind_record();
SELECT * FROM jit.advice;
SELECT * FROM jit_private.live_grants;
SELECT nextval('jit_private.requests_id_seq');
CREATE TABLE jit.mine ();
CREATE TABLE jit_private.mine ();
ALTER EXTENSION jit_rls UPDATE;
DROP EXTENSION jit_rls;
-- Nor can somebody's own table take one of our triggers.
CREATE TEMP TABLE mine (k int);
CREATE TRIGGER t AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION jit.invalidate();

-- pg_write_all_data and pg_read_all_data: PostgreSQL would let them write, our triggers do not; of the tables they see no row.
\c - postgres
CREATE ROLE wanda LOGIN IN ROLE pg_write_all_data, pg_read_all_data;
\c - wanda
SELECT count(*) FROM jit.grants;
SELECT count(*) FROM jit_private.grants;
SELECT (SELECT count(*) FROM jit_private.requests) + (SELECT count(*) FROM jit_private.scopes) + (SELECT count(*) FROM jit_private.events) AS seen;
BEGIN;
SELECT count(*) FROM (SELECT FROM jit_private.grants FOR UPDATE) locked;
SELECT count(*) FROM (SELECT FROM jit_private.scopes FOR SHARE) locked;
SELECT l.mode, c.relname FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
 WHERE l.pid = pg_backend_pid() AND c.relnamespace = 'jit_private'::regnamespace AND c.relkind = 'r' ORDER BY 2, 1;
ROLLBACK;
SELECT * FROM try('INSERT INTO jit_private.%I DEFAULT VALUES', 'INSERT INTO jit_private.%1$I OVERRIDING SYSTEM VALUE SELECT * FROM jit_private.%1$I', 'DELETE FROM jit_private.%I',
                  'DELETE FROM jit_private.%I WHERE false', 'MERGE INTO jit_private.%I USING (VALUES (1)) v ON true WHEN MATCHED THEN DELETE');
SELECT * FROM try('INSERT INTO jit.%I DEFAULT VALUES', 'INSERT INTO jit.%1$I OVERRIDING SYSTEM VALUE SELECT * FROM jit.%1$I', 'DELETE FROM jit.%I',
                  'DELETE FROM jit.%I WHERE false');
-- Nothing that takes a lock on a table, or leaves something on it: refused before the lock.
SELECT * FROM try('TRUNCATE jit_private.%I', 'LOCK TABLE jit_private.%I', 'LOCK TABLE jit_private.%I IN ACCESS SHARE MODE NOWAIT', 'LOCK TABLE pg_temp.mine, jit_private.%I',
                  'CREATE RULE r AS ON INSERT TO jit_private.%I DO INSTEAD NOTHING',
                  'CREATE TRIGGER t BEFORE INSERT ON jit_private.%I EXECUTE FUNCTION suppress_redundant_updates_trigger()',
                  'CREATE TEMP TABLE x (a int REFERENCES jit_private.%I)',
                  'CREATE TEMP TABLE x (a int, FOREIGN KEY (a) REFERENCES jit_private.%I (id))',
                  'CREATE TEMP TABLE x () INHERITS (jit_private.%I)',
                  'ALTER TABLE jit_private.%I ADD FOREIGN KEY (id) REFERENCES jit_private.grants',
                  'ALTER TABLE jit_private.%I DISABLE TRIGGER ALL', 'ALTER TABLE jit_private.%I RENAME TO x', 'ALTER TABLE jit_private.%I SET SCHEMA public',
                  'DROP TABLE jit_private.%I', 'CREATE INDEX ON jit_private.%I ((1))', 'CREATE POLICY p ON jit_private.%I USING (true)', 'COMMENT ON TABLE jit_private.%I IS ''x''',
                  'CREATE PUBLICATION p FOR TABLE jit_private.%I');
-- In other words since 17.
SELECT statement, left(code, 5) AS code, tables FROM try('CLUSTER jit_private.%I', 'REINDEX TABLE jit_private.%I');
CREATE TEMP TABLE mine (id bigint);
\set VERBOSITY terse
ALTER TABLE mine ADD FOREIGN KEY (id) REFERENCES jit_private.grants;
ALTER TABLE mine ADD COLUMN a bigint REFERENCES jit_private.requests;
ALTER TABLE mine INHERIT jit_private.outbox;
CREATE CONSTRAINT TRIGGER t AFTER INSERT ON mine FROM jit_private.grants FOR EACH ROW EXECUTE FUNCTION jit.invalidate();
CREATE TABLE jit_private.mine PARTITION OF jit_private.grants DEFAULT;
-- By a name without its schema, and with search_path changed in the same message.
SET search_path = jit_private, public;
LOCK TABLE grants;
LOCK grants, endings IN ROW EXCLUSIVE MODE;
LOCK TABLE ONLY scopes;
CREATE RULE r AS ON DELETE TO endings DO INSTEAD NOTHING;
RESET search_path;
SET search_path = jit_private \; LOCK TABLE grants;
RESET search_path;
-- Inside a function, a code block, and with EXPLAIN.
DO $$ BEGIN LOCK TABLE jit_private.endings; END $$;
DO $$ BEGIN EXECUTE 'LOCK TABLE jit_private.endings'; EXCEPTION WHEN OTHERS THEN RAISE NOTICE '%', SQLERRM; END $$;
CREATE SCHEMA mine CREATE TABLE x (a bigint REFERENCES jit_private.grants);
-- As a partition, and an index as one of an index.
CREATE TEMP TABLE parent (grant_id bigint) PARTITION BY LIST (grant_id);
ALTER TABLE parent ATTACH PARTITION jit_private.endings DEFAULT;
ALTER TABLE parent DETACH PARTITION jit_private.endings;
CREATE INDEX parent_index ON parent (grant_id);
ALTER INDEX pg_temp.parent_index ATTACH PARTITION jit_private.endings_grant;
-- A view of one's own over them shows and does no more than the tables.
CREATE TEMP VIEW over AS SELECT * FROM jit_private.grants;
SELECT count(*) FROM over;
DELETE FROM over;
\set VERBOSITY default
UPDATE jit_private.grants SET ends_at = ends_at + '1 year';
\set VERBOSITY terse
UPDATE jit_private.scopes SET enabled = false;
UPDATE jit_private.approvers SET role_id = 'wanda'::regrole;
INSERT INTO jit_private.endings (grant_id, at, kind) VALUES (1, now(), 'revoked');
COPY jit.endings (grant_id, at, kind) FROM STDIN;
1	now	revoked
\.
COPY jit_private.endings (grant_id, at, kind) FROM STDIN;
1	now	revoked
\.
COPY jit_private.events TO STDOUT;
-- session_replication_role would switch ordinary triggers off; only superusers may set it, and ours fire all the same.
SET session_replication_role = replica;
\c - postgres
GRANT SET ON PARAMETER session_replication_role TO wanda;
\c - wanda
SET session_replication_role = replica;
DELETE FROM jit_private.endings;
UPDATE jit_private.grants SET ends_at = ends_at + '1 year';
DELETE FROM jit_private.endings;
UPDATE jit_private.grants SET ends_at = ends_at + '1 year';
RESET session_replication_role;
-- A role that was given everything on the tables is no better off.
\c - postgres
GRANT ALL ON ALL TABLES IN SCHEMA jit, jit_private TO frank;
GRANT ALL ON SCHEMA jit_private TO frank;
\c - frank
SET client_min_messages = warning;
SELECT * FROM try('INSERT INTO jit.%I DEFAULT VALUES', 'DELETE FROM jit.%I');
SELECT * FROM try('INSERT INTO jit_private.%I DEFAULT VALUES', 'DELETE FROM jit_private.%I', 'TRUNCATE jit_private.%I CASCADE', 'LOCK jit_private.%I',
                  'CREATE TRIGGER t BEFORE INSERT ON jit_private.%I EXECUTE FUNCTION suppress_redundant_updates_trigger()',
                  'CREATE TEMP TABLE x (a int REFERENCES jit_private.%I)');
SELECT count(*) FROM jit_private.grants;
\c - postgres
REVOKE ALL ON SCHEMA jit_private FROM frank;
REVOKE ALL ON ALL TABLES IN SCHEMA jit, jit_private FROM frank;
\set VERBOSITY default

-- EXECUTE on all functions of the schema of the everyday functions gives nothing that not everybody has.
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO frank;
\c - alice
SELECT jit_request('s', 'test', key => '2') AS r2 \gset
\c - frank
SELECT jit_approve(:r2);
SELECT jit_revoke(:r, 'test');
SELECT jit.alter_scope('s', '{}');
SELECT count(*) FROM jit.pending;
-- Nor does having it on ours in schema jit that everybody has.
SELECT jit.may_decide(:r2), jit.oversees(1);

-- An admin by EXECUTE on one function can do just that.
\c - postgres
GRANT EXECUTE ON FUNCTION jit.create_scope TO erin;
\c - erin
SELECT jit.create_scope('erins');
SELECT jit.alter_scope('erins', '{"description": "x"}');
SELECT jit.drop_scope('erins');
SELECT * FROM jit.scopes;
-- Who may execute jit.alter_scope() may end access; it makes nobody an approver.
\c - postgres
REVOKE EXECUTE ON FUNCTION jit.create_scope FROM erin;
GRANT EXECUTE ON FUNCTION jit.alter_scope TO erin;
\c - bob
SELECT jit_approve(:r2);
\c - erin
SELECT jit.create_scope('more');
SELECT jit.alter_scope('s', '{"description": "by erin"}');
SELECT jit_revoke(:r2, 'not needed');
\c - alice
SELECT jit_active('s', 2);
SELECT jit_request('s', 'test', key => '3') AS r3 \gset
\c - erin
SELECT jit_approve(:r3);
\c - postgres
REVOKE EXECUTE ON FUNCTION jit.alter_scope FROM erin;
\c - erin
SELECT jit.alter_scope('s', '{"description": "again"}');

-- An auditor by SELECT on jit.events reads the events, reasons included, and nothing else.
\c - postgres
GRANT SELECT ON jit.events TO erin;
\c - erin
SELECT kind, request_id, login, details ->> 'reason' AS reason FROM jit.events WHERE request_id = :r2 ORDER BY id;
SELECT count(*) FROM jit.requests;
DELETE FROM jit_private.events;
\c - postgres
REVOKE SELECT ON jit.events FROM erin;

-- Events, endings and reviews: a superuser cannot change them by oversight.
\set VERBOSITY terse
UPDATE jit_private.events SET details = '{}';
DELETE FROM jit_private.endings WHERE false;
TRUNCATE jit_private.reviews;
BEGIN;
SET LOCAL session_replication_role = replica;
DELETE FROM jit_private.events;
ROLLBACK;

REVOKE SET ON PARAMETER session_replication_role FROM wanda;
DROP ROLE wanda;

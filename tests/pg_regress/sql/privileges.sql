-- Who may do what with schema jit: nobody anything, beyond what is handed out one by one.

SELECT jit.create_scope('s', '{"key_type": "int", "approvers": {"support_lead": 1}}');
\c - alice
SELECT jit_request('s', 'test', key => '1') AS r \gset
\c - bob
SELECT jit_approve(:r);
\c - postgres
-- Says what became of each of some statements on each table of schema jit.
CREATE FUNCTION try(VARIADIC statements text[]) RETURNS TABLE (statement text, code text, tables bigint, which text)
    LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    t name; s text; answer text;
    answers jsonb := '[]';
BEGIN
    FOR t IN SELECT relname FROM pg_class WHERE relnamespace = 'jit'::regnamespace AND relkind = 'r' ORDER BY 1 LOOP
        FOREACH s IN ARRAY statements LOOP
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

-- What an ordinary role may: four views, and functions that tell about the session alone.
\c - frank
SELECT c.relkind, c.oid::regclass FROM pg_class c
 WHERE c.relnamespace = 'jit'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'f', 'p')
   AND (has_table_privilege(c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
        OR has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE, REFERENCES'))
 ORDER BY c.oid::regclass::text COLLATE "C";
SELECT c.oid::regclass FROM pg_class c
 WHERE c.relnamespace = 'jit'::regnamespace AND CASE c.relkind WHEN 'S' THEN has_sequence_privilege(c.oid, 'SELECT, USAGE, UPDATE') END;
SELECT p.oid::regprocedure, has_function_privilege(p.oid, 'EXECUTE') FROM pg_proc p
 WHERE p.pronamespace = 'jit'::regnamespace ORDER BY 2, p.oid::regprocedure::text COLLATE "C";
SELECT has_schema_privilege('jit', 'USAGE') AS usage, has_schema_privilege('jit', 'CREATE') AS create;

-- Tried: all of it is refused.
SELECT * FROM try('SELECT * FROM jit.%I', 'INSERT INTO jit.%I DEFAULT VALUES', 'DELETE FROM jit.%I', 'TRUNCATE jit.%I',
                  'LOCK jit.%I', 'DROP TABLE jit.%I CASCADE', 'ALTER TABLE jit.%I DISABLE TRIGGER ALL');
SELECT jit.create_scope('mine');
SELECT jit.alter_scope('s', '{"approvers": {"frank": 1}}');
SELECT jit.drop_scope('s');
SELECT jit.announce_installation();
SELECT jit.guard_write();
SELECT jit.append_only();
SELECT jit.invalidate();
SELECT jit.bind_rule();
SELECT jit.bind_record();
SELECT * FROM jit.advice;
SELECT * FROM jit.live_grants;
SELECT nextval('jit.requests_id_seq');
CREATE TABLE jit.mine ();
ALTER EXTENSION jit_rls UPDATE;
DROP EXTENSION jit_rls;
-- Nor can somebody's own table take one of our triggers.
CREATE TEMP TABLE mine (k int);
CREATE TRIGGER t AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION jit.invalidate();

-- pg_write_all_data and pg_read_all_data: PostgreSQL would let them write, our triggers do not.
\c - postgres
CREATE ROLE wanda LOGIN IN ROLE pg_write_all_data, pg_read_all_data;
\c - wanda
SELECT count(*) FROM jit.grants;
SELECT * FROM try('INSERT INTO jit.%I DEFAULT VALUES', 'INSERT INTO jit.%1$I OVERRIDING SYSTEM VALUE SELECT * FROM jit.%1$I', 'DELETE FROM jit.%I', 'TRUNCATE jit.%I',
                  'DELETE FROM jit.%I WHERE false', 'MERGE INTO jit.%I USING (VALUES (1)) v ON true WHEN MATCHED THEN DELETE');
UPDATE jit.grants SET ends_at = ends_at + '1 year';
\set VERBOSITY terse
UPDATE jit.scopes SET enabled = false;
UPDATE jit.approvers SET role_id = 'wanda'::regrole;
INSERT INTO jit.endings (grant_id, at, kind) VALUES (1, now(), 'revoked');
COPY jit.endings (grant_id, at, kind) FROM STDIN;
1	now	revoked
\.
-- session_replication_role would switch ordinary triggers off; only superusers may set it, and ours fire all the same.
SET session_replication_role = replica;
\c - postgres
GRANT SET ON PARAMETER session_replication_role TO wanda;
\c - wanda
SET session_replication_role = replica;
DELETE FROM jit.endings;
UPDATE jit.grants SET ends_at = ends_at + '1 year';
RESET session_replication_role;
-- A role that was given everything on the tables is no better off.
\c - postgres
GRANT ALL ON ALL TABLES IN SCHEMA jit TO frank;
\c - frank
SET client_min_messages = warning;
SELECT * FROM try('INSERT INTO jit.%I DEFAULT VALUES', 'DELETE FROM jit.%I', 'TRUNCATE jit.%I CASCADE');
\c - postgres
REVOKE ALL ON ALL TABLES IN SCHEMA jit FROM frank;
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
DELETE FROM jit.events;
\c - postgres
REVOKE SELECT ON jit.events FROM erin;

-- Events, endings and reviews: a superuser cannot change them by oversight.
\set VERBOSITY terse
UPDATE jit.events SET details = '{}';
DELETE FROM jit.endings WHERE false;
TRUNCATE jit.reviews;
BEGIN;
SET LOCAL session_replication_role = replica;
DELETE FROM jit.events;
ROLLBACK;

REVOKE SET ON PARAMETER session_replication_role FROM wanda;
DROP ROLE wanda;

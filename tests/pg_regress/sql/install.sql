-- CREATE EXTENSION and DROP EXTENSION.

-- It is here already.
CREATE EXTENSION jit_rls;
CREATE EXTENSION IF NOT EXISTS jit_rls;
-- Its schema was chosen at installation.
CREATE SCHEMA elsewhere;
ALTER EXTENSION jit_rls SET SCHEMA elsewhere;

-- Not while a policy needs it; CASCADE drops the policy.
CREATE TABLE t (k int);
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY jit ON t USING (jit_active('s', k));
DROP EXTENSION jit_rls;
DROP EXTENSION jit_rls CASCADE;
SELECT count(*) FROM pg_policy;
-- Nothing is left behind.
SELECT nspname FROM pg_namespace WHERE nspname LIKE 'jit%';
SELECT p.oid::regprocedure FROM pg_proc p WHERE p.proname LIKE 'jit%' OR p.probin LIKE '%jit_rls%';
SELECT c.oid::regclass FROM pg_class c WHERE c.relname ~ 'jit' AND c.relname !~ '^pg_';
SELECT t.tgname FROM pg_trigger t;
SELECT e.evtname FROM pg_event_trigger e;
SELECT d.defaclobjtype FROM pg_default_acl d;

-- Refused where everybody may create objects, with both ways out.
\set SHOW_CONTEXT never
GRANT CREATE ON SCHEMA public TO PUBLIC;
CREATE EXTENSION jit_rls;
\echo :LAST_ERROR_SQLSTATE
SELECT nspname FROM pg_namespace WHERE nspname LIKE 'jit%';
CREATE SCHEMA "Open House";
GRANT CREATE ON SCHEMA "Open House" TO PUBLIC;
CREATE EXTENSION jit_rls SCHEMA "Open House";
-- The first way out …
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
CREATE EXTENSION jit_rls;
SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'jit_rls';
DROP EXTENSION jit_rls;
-- … and the second, here with a name that needs quotes.
GRANT CREATE ON SCHEMA public TO PUBLIC;
CREATE SCHEMA "Just in Time";
CREATE EXTENSION jit_rls SCHEMA "Just in Time";
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = '"Just in Time"'::regnamespace ORDER BY p.oid::regprocedure::text COLLATE "C";
GRANT USAGE ON SCHEMA "Just in Time" TO PUBLIC;
SELECT jit.create_scope('s', '{"key_type": "int", "approvers": {"support_lead": 1}}');
CREATE POLICY jit ON t USING ("Just in Time".jit_active('s', k));
INSERT INTO t VALUES (1), (2);
GRANT SELECT ON t TO PUBLIC;
\c - alice
SELECT "Just in Time".jit_request('s', 'test', key => '1');
\c - bob
SELECT "Just in Time".jit_approve(id) FROM jit.pending;
\c - alice
SELECT * FROM t;
SELECT "Just in Time".jit_keys('s', NULL::int), (SELECT actor FROM "Just in Time".jit_whoami());
\c - postgres
SELECT about, finding FROM jit.advice;
DROP EXTENSION jit_rls CASCADE;
SELECT count(*) FROM pg_proc p WHERE p.pronamespace = '"Just in Time"'::regnamespace;

-- Without a schema named, it goes to the first of search_path.
SET search_path = "Just in Time", public;
CREATE EXTENSION jit_rls;
SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'jit_rls';
RESET search_path;
DROP EXTENSION jit_rls;

-- Schema jit is taken: refused, and what is there stays as it is.
CREATE SCHEMA jit AUTHORIZATION alice;
CREATE TABLE jit.grants (mine int);
CREATE EXTENSION jit_rls;
SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'jit';
-- So is schema jit_private.
ALTER SCHEMA jit RENAME TO jit_private;
CREATE EXTENSION jit_rls;
SELECT nspname, nspowner::regrole FROM pg_namespace WHERE nspname LIKE 'jit%';
ALTER SCHEMA jit_private RENAME TO jit;
-- It cannot be installed into that either.
CREATE EXTENSION jit_rls SCHEMA jit;
DROP SCHEMA jit CASCADE;

-- Settings of the installing user do not matter.
SET standard_conforming_strings = off;
SET escape_string_warning = off;
SET check_function_bodies = off;
SET default_tablespace = pg_default;
SET client_min_messages = notice;
CREATE FUNCTION public.gen_random_uuid() RETURNS uuid LANGUAGE sql AS $$ SELECT '00000000-0000-0000-0000-000000000000'::uuid $$;
CREATE FUNCTION public.pg_extension_config_dump(regclass, text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'hijacked'; END $$;
SET search_path = public, pg_catalog;
CREATE EXTENSION jit_rls;
RESET ALL;
SELECT id = '00000000-0000-0000-0000-000000000000' AS hijacked FROM jit_private.installation;

-- Only who may create extensions that are not trusted: superusers.
DROP EXTENSION jit_rls;
GRANT CREATE ON DATABASE :DBNAME TO alice;
\c - alice
CREATE EXTENSION jit_rls;
\c - postgres
-- Inside a transaction that is rolled back: nothing of it stays, and this session can install it again.
BEGIN;
CREATE EXTENSION jit_rls;
SELECT jit.create_scope('s');
SELECT jit_active('s');
ROLLBACK;
SELECT nspname FROM pg_namespace WHERE nspname LIKE 'jit%';
CREATE EXTENSION jit_rls;
SELECT jit_active('s');

-- A database that is not in UTF8: refused, with the way out.
CREATE DATABASE install_latin1 ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C';
\set main :DBNAME
\c install_latin1
\set SHOW_CONTEXT never
CREATE EXTENSION jit_rls;
\echo :LAST_ERROR_SQLSTATE
SELECT nspname FROM pg_namespace WHERE nspname LIKE 'jit%';
\c :main
DROP DATABASE install_latin1;
CREATE DATABASE install_ascii ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C';
\c install_ascii
\set SHOW_CONTEXT never
CREATE EXTENSION jit_rls;
\echo :LAST_ERROR_SQLSTATE
\c :main
DROP DATABASE install_ascii;

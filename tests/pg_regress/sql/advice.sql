-- jit.advice: each weakness is found, and is gone from the list when it has been remedied.

\pset format unaligned
SELECT jit.create_scope('s', '{"key_type": "int"}');
CREATE TABLE t (k int, owner text);
-- Nothing to find in what has nothing to do with us.
CREATE POLICY everybody ON t USING (true);
SELECT * FROM jit.advice;
DROP POLICY everybody ON t;

-- Row-level security is off.
CREATE POLICY jit ON t USING (jit_active('s', k));
SELECT * FROM jit.advice;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
SELECT * FROM jit.advice;

-- A login owns the table, or may become its owner; the superuser's own tables are not worth a word.
ALTER TABLE t OWNER TO alice;
SELECT * FROM jit.advice;
ALTER TABLE t FORCE ROW LEVEL SECURITY;
SELECT * FROM jit.advice;
ALTER TABLE t NO FORCE ROW LEVEL SECURITY;
ALTER TABLE t OWNER TO support;
SELECT * FROM jit.advice;
ALTER TABLE t OWNER TO oncall;
SELECT * FROM jit.advice;
ALTER TABLE t OWNER TO postgres;

-- A permissive policy beside ours that lets everything through.
CREATE POLICY everybody ON t USING (true);
SELECT * FROM jit.advice;
DROP POLICY everybody ON t;
-- One that lets something through.
CREATE POLICY own ON t FOR SELECT USING (owner = current_user);
SELECT * FROM jit.advice;
-- Restrictive ones are no danger.
DROP POLICY own ON t;
CREATE POLICY own ON t AS RESTRICTIVE USING (true);
SELECT * FROM jit.advice;
DROP POLICY own ON t;
-- Nor are those for another command, or for other people.
ALTER TABLE t DISABLE ROW LEVEL SECURITY;
DROP POLICY jit ON t;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY jit ON t FOR SELECT TO support USING (jit_active('s', k));
CREATE POLICY changes ON t FOR UPDATE USING (true);
CREATE POLICY others ON t TO security USING (true);
SELECT * FROM jit.advice;
DROP POLICY changes ON t;
DROP POLICY others ON t;
-- A policy for a member of the role that ours is for, or for a role that one of its members belongs to, opens the rows to that member.
CREATE POLICY alices ON t TO alice USING (true);
SELECT severity, about FROM jit.advice;
DROP POLICY alices ON t;
DROP POLICY jit ON t;
CREATE POLICY jit ON t TO alice USING (jit_active('s', k));
CREATE POLICY everybodys ON t TO support USING (true);
SELECT severity, about FROM jit.advice;
DROP POLICY everybodys ON t;
-- Through more than one step; and by SET ROLE only.
CREATE ROLE advice_top;
CREATE ROLE advice_middle IN ROLE advice_top;
GRANT advice_middle TO alice;
CREATE POLICY tops ON t TO advice_top USING (true);
SELECT severity, about FROM jit.advice;
ALTER ROLE advice_middle NOINHERIT;
SELECT severity, about FROM jit.advice;
DROP POLICY tops ON t;
-- One whose roles are one by one nobody's that ours binds.
CREATE POLICY others ON t TO security, pooler USING (true);
SELECT severity, about FROM jit.advice;
DROP POLICY others ON t;
DROP POLICY jit ON t;
-- Two groups that have a member in common: the rows are open to that member.
CREATE POLICY jit ON t TO support USING (jit_active('s', k));
CREATE POLICY tops ON t TO advice_top USING (true);
SELECT severity, about FROM jit.advice;
REVOKE advice_middle FROM alice;
SELECT severity, about FROM jit.advice;
DROP POLICY tops ON t;
DROP ROLE advice_middle, advice_top;
DROP POLICY jit ON t;
-- One for INSERT that lets everything be written.
CREATE POLICY jit ON t FOR INSERT WITH CHECK (jit_active('s', k));
CREATE POLICY anything ON t FOR INSERT WITH CHECK (true);
SELECT * FROM jit.advice;
ALTER POLICY anything ON t WITH CHECK (owner = current_user);
SELECT * FROM jit.advice;
DROP POLICY anything ON t;
CREATE POLICY anything ON t USING (false) WITH CHECK (true);
SELECT * FROM jit.advice;
DROP POLICY anything ON t;
DROP POLICY jit ON t;
-- Ours as a restrictive policy needs a permissive one beside it.
CREATE POLICY jit ON t AS RESTRICTIVE USING (jit_active('s', k));
CREATE POLICY everybody ON t USING (true);
SELECT * FROM jit.advice;
DROP POLICY everybody ON t;
DROP POLICY jit ON t;
-- On a partitioned table and with names that need quotes.
CREATE SCHEMA "My Shop";
CREATE TABLE "My Shop"."Orders" (k int) PARTITION BY RANGE (k);
CREATE POLICY "Just in time" ON "My Shop"."Orders" USING (jit_active('s', k));
CREATE POLICY "All of it" ON "My Shop"."Orders" USING (true);
SELECT * FROM jit.advice ORDER BY finding;
DROP TABLE "My Shop"."Orders";

-- A scope that does not exist, in the check and in jit_keys(), in USING and in WITH CHECK.
CREATE POLICY jit ON t USING (jit_active('ss', k) OR k = ANY (jit_keys('s.s', NULL::int))) WITH CHECK (jit_active('it''s', k));
SELECT * FROM jit.advice ORDER BY finding;
SELECT jit.create_scope('ss', '{"key_type": "int"}');
ALTER POLICY jit ON t USING (jit_active('ss', k)) WITH CHECK (jit_active('s', k));
SELECT * FROM jit.advice;
SELECT jit.drop_scope('ss');
SELECT * FROM jit.advice;
ALTER POLICY jit ON t USING (jit_active('s', k)) WITH CHECK (jit_active('s', k));
-- A scope that is disabled is one on purpose.
SELECT jit.alter_scope('s', '{"enabled": false}');
SELECT * FROM jit.advice;

-- Logins that no policy binds.
CREATE ROLE bypasser LOGIN BYPASSRLS;
SELECT * FROM jit.advice;
ALTER ROLE bypasser NOBYPASSRLS;
SELECT * FROM jit.advice;
DROP ROLE bypasser;

-- What has been handed out of schema jit: a notice for what admins and auditors are meant to have, a warning for the rest.
GRANT SELECT ON jit.events TO erin;
GRANT EXECUTE ON FUNCTION jit.create_scope TO erin;
SELECT * FROM jit.advice ORDER BY about;
REVOKE SELECT ON jit.events FROM erin;
REVOKE EXECUTE ON FUNCTION jit.create_scope FROM erin;
GRANT SELECT ON jit.requests TO erin WITH GRANT OPTION;
GRANT INSERT ON jit.grants TO PUBLIC;
GRANT CREATE ON SCHEMA jit TO frank;
GRANT EXECUTE ON FUNCTION jit.drop_scope TO PUBLIC;
GRANT UPDATE ON SEQUENCE jit_private.events_id_seq TO frank;
GRANT SELECT ON jit_private.grants TO erin;
GRANT USAGE ON SCHEMA jit_private TO erin;
GRANT SELECT ON jit.events TO PUBLIC;
GRANT EXECUTE ON FUNCTION jit.origin TO frank;
SELECT * FROM jit.advice ORDER BY about;
REVOKE ALL ON jit.requests FROM erin;
REVOKE INSERT ON jit.grants FROM PUBLIC;
REVOKE CREATE ON SCHEMA jit FROM frank;
REVOKE EXECUTE ON FUNCTION jit.drop_scope FROM PUBLIC;
REVOKE UPDATE ON SEQUENCE jit_private.events_id_seq FROM frank;
REVOKE SELECT ON jit_private.grants FROM erin;
REVOKE USAGE ON SCHEMA jit_private FROM erin;
REVOKE SELECT ON jit.events FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION jit.origin FROM frank;
SELECT * FROM jit.advice;
-- Single columns have privileges of their own.
GRANT SELECT (reason), UPDATE (state) ON jit.requests TO frank;
GRANT SELECT (details) ON jit.events TO PUBLIC;
GRANT UPDATE (ends_at) ON jit_private.grants TO frank WITH GRANT OPTION;
SELECT * FROM jit.advice ORDER BY about;
REVOKE SELECT (reason), UPDATE (state) ON jit.requests FROM frank;
REVOKE SELECT (details) ON jit.events FROM PUBLIC;
REVOKE UPDATE (ends_at) ON jit_private.grants FROM frank;
SELECT * FROM jit.advice;

-- Look-alikes: functions of our names that we did not make, in whatever schema, with whatever arguments.
CREATE SCHEMA advice_app;
CREATE FUNCTION advice_app.jit_approve(integer) RETURNS text LANGUAGE sql AS $$ SELECT 'approved' $$;
CREATE FUNCTION public.jit_active(text, anyelement) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION jit.create_scope(text) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION jit.helper() RETURNS void LANGUAGE sql AS '';
CREATE PROCEDURE "My Shop".jit_deny(integer, text) LANGUAGE sql AS '';
-- Not a name of ours.
CREATE FUNCTION advice_app.create_scope(text) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION advice_app.jit_approval() RETURNS void LANGUAGE sql AS '';
SELECT severity, about, finding FROM jit.advice ORDER BY about;
SELECT DISTINCT remedy FROM jit.advice;
-- A policy on a look-alike is not one of ours.
CREATE TABLE advice_app.u (k int);
CREATE POLICY p ON advice_app.u USING (public.jit_active('nowhere', k::numeric));
SELECT count(*) FROM jit.advice WHERE about = 'advice_app.u';
DROP TABLE advice_app.u;
DROP SCHEMA advice_app CASCADE;
DROP FUNCTION public.jit_active(text, anyelement);
DROP FUNCTION jit.create_scope(text);
DROP FUNCTION jit.helper();
DROP PROCEDURE "My Shop".jit_deny(integer, text);
SELECT * FROM jit.advice;

-- It is for whom it is given to.
\c - alice
SELECT * FROM jit.advice;
\c - postgres
GRANT SELECT ON jit.advice TO erin;
ALTER TABLE t DISABLE ROW LEVEL SECURITY;
\c - erin
SELECT severity, about, finding FROM jit.advice ORDER BY finding;

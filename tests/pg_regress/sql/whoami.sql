-- How a session is seen, and why.
\pset tuples_only on
\pset format unaligned
\pset expanded on
-- A login that acts as itself: it, and what it inherits.
\c - alice
SELECT * FROM jit_whoami();
-- After SET ROLE: both are the person; what counts is inherited by the role.
\c - postgres
GRANT oncall TO support;
CREATE ROLE whoami_other;
GRANT whoami_other TO alice;
\c - alice
SELECT * FROM jit_whoami();
SET ROLE support;
SELECT * FROM jit_whoami();
-- NOINHERIT, since 16 a matter of the membership rather than the role: only itself.
\c - postgres
SELECT current_setting('server_version_num')::int < 160000 AS of_role \gset
\if :of_role
ALTER ROLE alice NOINHERIT;
\else
REVOKE INHERIT OPTION FOR support, whoami_other FROM alice;
\endif
\c - alice
SELECT inherited_roles FROM jit_whoami();
SET ROLE support;
SELECT inherited_roles FROM jit_whoami();
-- A superuser sees every row but inherits nothing by it.
\c - postgres
\if :of_role
ALTER ROLE alice INHERIT;
\else
GRANT support TO alice WITH INHERIT TRUE;
\endif
SELECT * FROM jit_whoami();
SET ROLE frank;
SELECT * FROM jit_whoami();
RESET ROLE;
-- BYPASSRLS.
CREATE ROLE whoami_bypass LOGIN BYPASSRLS;
\c - whoami_bypass
SELECT * FROM jit_whoami();
-- Inside somebody else's SECURITY DEFINER function the caller stays the caller.
\c - postgres
CREATE FUNCTION who() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ SELECT format('%s as %s, current_user %s', login, actor, current_user) FROM jit_whoami() $$;
\c - alice
SELECT who();
SET ROLE support;
SELECT who();
-- In a read-only transaction, and under SET SESSION AUTHORIZATION.
BEGIN READ ONLY;
SELECT login, actor FROM jit_whoami();
COMMIT;
\c - postgres
SET SESSION AUTHORIZATION carol;
SELECT login, actor FROM jit_whoami();
RESET SESSION AUTHORIZATION;
-- The names of quoted roles.
CREATE ROLE "Who ""am"" I" LOGIN;
SET SESSION AUTHORIZATION "Who ""am"" I";
SELECT login, actor, person FROM jit_whoami();
\c - postgres
DROP ROLE "Who ""am"" I", whoami_other, whoami_bypass;
REVOKE oncall FROM support;

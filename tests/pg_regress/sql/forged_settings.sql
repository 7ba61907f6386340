-- The settings that protect are a superuser's. (A session without shared_preload_libraries, in which the library is loaded
-- after somebody has made up settings of that name, is a matter for the cluster tests: here it is preloaded.)

SELECT jit.create_scope('s', '{"key_type": "int", "approvers": {"support_lead": 1}}');
SELECT name, context, vartype, boot_val, setting FROM pg_settings WHERE name LIKE 'jit\_rls.%' ORDER BY name;

-- Nobody else can set them in any way.
\c - alice
SET jit_rls.shared_logins = 'carol';
SET SESSION jit_rls.allow_indirect_decisions = on;
SET LOCAL jit_rls.allow_indirect_decisions = on;
RESET jit_rls.shared_logins;
SELECT set_config('jit_rls.allow_indirect_decisions', 'on', false);
\set VERBOSITY sqlstate
SELECT set_config('JIT_RLS.Shared_Logins', 'carol', true);
\set VERBOSITY default
UPDATE pg_settings SET setting = 'on' WHERE name = 'jit_rls.allow_indirect_decisions';
ALTER ROLE alice SET jit_rls.allow_indirect_decisions = on;
ALTER ROLE alice SET jit_rls.shared_logins = 'carol';
ALTER SYSTEM SET jit_rls.allow_indirect_decisions = on;
CREATE FUNCTION pg_temp.f() RETURNS void LANGUAGE sql SET jit_rls.allow_indirect_decisions = on AS 'SELECT';
-- Nor one that does not exist, so that nobody takes a misspelt one for protection.
SET jit_rls.shared_login = 'carol';
SELECT set_config('jit_rls.x', 'on', false);
ALTER ROLE alice SET jit_rls.x = 'y';
SHOW jit_rls.x;
SELECT current_setting('jit_rls.x', true);
\c - postgres
SET jit_rls.shared_login = 'carol';
-- For a reason that is another one since 16.
\! psql -X -q -c 'ALTER SYSTEM SET jit_rls.x = 1' 2>&1 | grep -o '^ERROR'
-- They can be read by everybody: jit_whoami() tells as much.
\c - alice
SHOW jit_rls.shared_logins;
SHOW jit_rls.allow_indirect_decisions;

-- A superuser can wrap decisions: in a definer function of theirs that sets it for as long as it runs. Those who call it decide.
\c - postgres
CREATE FUNCTION wraps(request bigint) RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET jit_rls.allow_indirect_decisions = on
    AS $$ BEGIN RETURN jit_approve(request); END $$;
CREATE FUNCTION only_sets(request bigint) RETURNS text LANGUAGE plpgsql SET jit_rls.allow_indirect_decisions = on
    AS $$ BEGIN RETURN jit_approve(request); END $$;
CREATE FUNCTION plain(request bigint) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN jit_approve(request); END $$;
\c - alice
SELECT jit_request('s', 'test', key => '1') AS one, jit_request('s', 'test', key => '2') AS two \gset
\c - bob
SELECT plain(:one);
SELECT only_sets(:one);
SELECT wraps(:one);
SELECT plain(:two);
SHOW jit_rls.allow_indirect_decisions;
\c - alice
SELECT wraps(:two);
\c - postgres
SELECT details ->> 'approved_by' AS by FROM jit.events WHERE kind = 'approved';
-- A malformed list is refused; names are read as PostgreSQL reads identifiers.
\c - postgres
SET jit_rls.shared_logins = 'a,,b';
SET jit_rls.shared_logins = '"a';
SET jit_rls.shared_logins = 'a b';
SET jit_rls.shared_logins = ' Pooler , "Odd, ""Name" ';
SHOW jit_rls.shared_logins;
SET SESSION AUTHORIZATION pooler;
SELECT shared_login, person FROM jit_whoami();
-- After SET ROLE a superuser has no more rights than that role.
\c - postgres
SET ROLE alice;
SET jit_rls.shared_logins = 'pooler';
-- Given to somebody with GRANT SET, as for any other setting.
\c - postgres
GRANT SET ON PARAMETER jit_rls.shared_logins TO erin;
\c - erin
SET jit_rls.shared_logins = 'pooler';
SET jit_rls.allow_indirect_decisions = on;
\c - postgres
REVOKE SET ON PARAMETER jit_rls.shared_logins FROM erin;

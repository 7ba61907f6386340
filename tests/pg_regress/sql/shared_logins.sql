-- Logins that many people share hold, ask and decide nothing; after SET ROLE the actor alone is the person.
\pset tuples_only on
\pset format unaligned
-- What is on record, readable by all here: every refusal can show that nothing changed.
CREATE VIEW record AS SELECT format('requests: %s; %s reviews, %s grants, %s endings, %s events',
    (SELECT string_agg(id || ' ' || state, ', ' ORDER BY id) FROM jit.requests), (SELECT count(*) FROM jit.reviews),
    (SELECT count(*) FROM jit.grants), (SELECT count(*) FROM jit.endings), (SELECT count(*) FROM jit.events));
GRANT SELECT ON record TO PUBLIC;
SELECT jit.create_scope('support', '{"key_type": "int", "approvers": {"support_lead": 1}}');
SELECT jit.create_scope('two', '{"key_type": "int", "approvers": {"support_lead": 2}}');
SELECT jit.create_scope('listed', '{"key_type": "int", "approvers": {"support_lead": 1}, "requesters": ["support"]}');
GRANT alice, bob, carol, dave, oncall, support_lead TO pooler;
ALTER ROLE pooler NOINHERIT;
CREATE ROLE shared_upper LOGIN;
ALTER ROLE shared_upper RENAME TO "Shared App";
GRANT oncall TO "Shared App", bob;

-- Not named anywhere, the pooler is a person like any other: what alice and bob do through it is one person's.
\c - pooler
SELECT login, actor, shared_login, person, why FROM jit_whoami();
SET ROLE alice;
SELECT login, actor, shared_login, person, why FROM jit_whoami();
SELECT jit_request('support', 'refund', key => '1');
SET ROLE bob;
TABLE record;
SELECT jit_approve(1); \echo :SQLSTATE
TABLE record;
SET ROLE alice;
SELECT jit_cancel(1);

-- Named for everybody in this database, as ALTER SYSTEM would do for the cluster.
\c - postgres
SELECT format('ALTER DATABASE %I SET jit_rls.shared_logins = ''pooler, "Shared App"''', current_database()) \gexec
\c - pooler
SHOW jit_rls.shared_logins;
SELECT login, actor, shared_login, person, inherited_roles, why FROM jit_whoami();
-- The login itself asks for nothing, for nobody.
TABLE record;
SELECT jit_request('support', 'refund', key => '1'); \echo :SQLSTATE
SELECT jit_request('support', 'refund', key => '1', grantee => 'alice'); \echo :SQLSTATE
SELECT jit_request('support', 'refund', key => '1', grantee => 'oncall'); \echo :SQLSTATE
TABLE record;
-- After SET ROLE the actor alone is the person, who need not share anything with the login.
SET ROLE alice;
SELECT login, actor, shared_login, person, why FROM jit_whoami();
SELECT jit_request('support', 'refund', key => '1') AS one \gset
SELECT jit_request('listed', 'refund', key => '1') AS listed \gset
-- Nobody can ask for the shared login.
SELECT jit_request('support', 'refund', key => '2', grantee => 'pooler'); \echo :SQLSTATE
RESET ROLE;
-- It decides nothing, although it belongs to the approvers; neither does it take back, give back or revoke.
SELECT count(*) FROM jit.pending;
TABLE record;
SELECT jit_approve(:one); \echo :SQLSTATE
SELECT jit_deny(:one, 'no'); \echo :SQLSTATE
SELECT jit_cancel(:one); \echo :SQLSTATE
TABLE record;
-- Alice through the pooler is alice, with the pooler or without.
SET ROLE alice;
SELECT jit_approve(:one); \echo :SQLSTATE
\c - alice
SELECT jit_approve(:one); \echo :SQLSTATE
SELECT id, state FROM jit.my_requests WHERE id = :one;
-- So the same wish is the same, whichever way it comes.
SELECT jit_request('support', 'refund', key => '1'); \echo :SQLSTATE
TABLE record;
-- Two people through the same pooler are two.
\c - pooler
SET ROLE bob;
SELECT id FROM jit.pending ORDER BY id;
SELECT jit_approve(:one);
SELECT jit_approve(:listed);
SET ROLE alice;
SELECT jit_active('support', 1);
SELECT jit_request('two', 'refund', key => '1') AS two \gset
SET ROLE bob;
SELECT jit_approve(:two);
-- But each of them is one, however they come.
SELECT jit_approve(:two); \echo :SQLSTATE
\c - bob
SELECT jit_approve(:two); \echo :SQLSTATE
\c - pooler
SET ROLE dave;
SELECT jit_approve(:two);
SET ROLE alice;
SELECT jit_active('two', 1);
-- The login has nothing of it, nor has the next person.
RESET ROLE;
SELECT jit_active('two', 1), jit_active('support', 1), jit_keys('support', NULL::int);
SELECT count(*) FROM jit.my_grants;
SELECT count(*) FROM jit.my_requests;
SELECT jit_release(:two); \echo :SQLSTATE
SELECT jit_revoke(:two, 'enough'); \echo :SQLSTATE
SET ROLE carol;
SELECT jit_active('two', 1);
SELECT jit_release(:two); \echo :SQLSTATE
SET ROLE alice;
SELECT jit_release(:two);

-- A shared login that inherits a group holds nothing of the group's either; those who become a member do.
\c - postgres
GRANT oncall TO alice;
\c - alice
SELECT jit_request('support', 'tonight', key => '7', grantee => 'oncall') AS id \gset
\c - dave
SELECT jit_approve(:id);
\c - "Shared App"
SELECT shared_login, inherited_roles FROM jit_whoami();
SELECT jit_active('support', 7), jit_keys('support', NULL::int);
SELECT count(*) FROM jit.my_grants;
SELECT count(*) FROM jit.active_grants;
SET ROLE oncall;
SELECT jit_active('support', 7);
\c - alice
SELECT jit_active('support', 7);
-- Becoming the shared login makes nobody of a person.
\c - postgres
GRANT "Shared App" TO alice;
\c - alice
SET ROLE "Shared App";
SELECT login, actor, shared_login, person, inherited_roles FROM jit_whoami();
SELECT jit_active('support', 7), jit_keys('support', NULL::int);
SELECT jit_request('support', 'refund', key => '8'); \echo :SQLSTATE
RESET ROLE;
SELECT jit_request('support', 'refund', key => '8', grantee => '"Shared App"'); \echo :SQLSTATE
\c - postgres
REVOKE oncall, "Shared App" FROM alice;

SELECT format('ALTER DATABASE %I RESET jit_rls.shared_logins', current_database()) \gexec
-- Named for the pooler's own sessions alone, which suffices for what it does itself.
ALTER ROLE pooler SET jit_rls.shared_logins = 'pooler';
\c - pooler
SHOW jit_rls.shared_logins;
SELECT jit_request('support', 'refund', key => '9'); \echo :SQLSTATE
SET ROLE carol;
SELECT jit_request('support', 'refund', key => '9') > 0;
SET ROLE dave;
SELECT jit_approve(id) FROM jit.pending WHERE scope = 'support';
SET ROLE carol;
SELECT jit_active('support', 9);
RESET ROLE;
SELECT jit_active('support', 9);

-- The setting: who may change it, and what it takes.
SET jit_rls.shared_logins = ''; \echo :SQLSTATE
SET LOCAL jit_rls.shared_logins = ''; \echo :SQLSTATE
SELECT set_config('jit_rls.shared_logins', '', false); \echo :SQLSTATE
ALTER ROLE pooler RESET jit_rls.shared_logins; \echo :SQLSTATE
ALTER ROLE pooler SET jit_rls.shared_logins = ''; \echo :SQLSTATE
UPDATE pg_settings SET setting = '' WHERE name = 'jit_rls.shared_logins'; \echo :SQLSTATE
CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql SET jit_rls.shared_logins = '' AS 'SELECT 1'; \echo :SQLSTATE
-- RESET and DISCARD give back what the session began with.
RESET jit_rls.shared_logins; \echo :SQLSTATE
RESET ALL;
DISCARD ALL;
SHOW jit_rls.shared_logins;
SELECT jit_request('support', 'refund', key => '9'); \echo :SQLSTATE
-- Becoming a role with other settings changes nothing.
\c - postgres
ALTER ROLE alice SET jit_rls.shared_logins = '';
\c - pooler
SET ROLE alice;
SHOW jit_rls.shared_logins;
\c - postgres
ALTER ROLE alice RESET jit_rls.shared_logins;
-- Malformed lists.
SET jit_rls.shared_logins = ','; \echo :SQLSTATE
SET jit_rls.shared_logins = 'pooler,'; \echo :SQLSTATE
SET jit_rls.shared_logins = 'pooler,,frank'; \echo :SQLSTATE
SET jit_rls.shared_logins = 'pooler frank'; \echo :SQLSTATE
SET jit_rls.shared_logins = '"pooler'; \echo :SQLSTATE
SET jit_rls.shared_logins = '""'; \echo :SQLSTATE
ALTER ROLE pooler SET jit_rls.shared_logins = 'pooler,'; \echo :SQLSTATE
ALTER SYSTEM SET jit_rls.shared_logins = 'pooler,'; \echo :SQLSTATE
SHOW jit_rls.shared_logins;
-- Unquoted names are folded to lower case, quoted ones are kept; a name that is no role harms nobody.
SET jit_rls.shared_logins = ' POOLER , "Shared App", nobody_here';
SET SESSION AUTHORIZATION "Shared App";
SELECT shared_login FROM jit_whoami();
SET SESSION AUTHORIZATION pooler;
SELECT shared_login FROM jit_whoami();
SET SESSION AUTHORIZATION frank;
SELECT shared_login FROM jit_whoami();
RESET SESSION AUTHORIZATION;
SET jit_rls.shared_logins = '"POOLER", shared app'; \echo :SQLSTATE
SET jit_rls.shared_logins = '"POOLER"';
SET SESSION AUTHORIZATION pooler;
SELECT shared_login FROM jit_whoami();

-- Tidy up.
\c - postgres
ALTER ROLE pooler RESET jit_rls.shared_logins;
ALTER ROLE pooler INHERIT;
REVOKE alice, bob, carol, dave, oncall, support_lead FROM pooler;
REVOKE oncall FROM bob;
DROP ROLE "Shared App";

-- Being a superuser or an admin makes nobody an approver, nor does it give anybody a grant.
\pset tuples_only on
\pset format unaligned
-- What is on record, readable by all here: every refusal can show that nothing changed.
CREATE VIEW record AS SELECT format('requests: %s; %s reviews, %s grants, %s endings, %s events',
    (SELECT string_agg(id || ' ' || state, ', ' ORDER BY id) FROM jit.requests), (SELECT count(*) FROM jit.reviews),
    (SELECT count(*) FROM jit.grants), (SELECT count(*) FROM jit.endings), (SELECT count(*) FROM jit.events));
GRANT SELECT ON record TO PUBLIC;
SELECT jit.create_scope('support', '{"key_type": "int", "approvers": {"support_lead": 1}}');
CREATE ROLE chief LOGIN SUPERUSER;
CREATE ROLE chief_admin LOGIN;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA jit TO chief_admin WITH GRANT OPTION;
GRANT SELECT ON ALL TABLES IN SCHEMA jit TO chief_admin;
CREATE ROLE chief_creator LOGIN CREATEROLE BYPASSRLS IN ROLE pg_write_all_data, pg_read_all_data, pg_monitor;
\c - alice
SELECT jit_request('support', 'refund', key => '1');
SELECT jit_request('support', 'refund', key => '2');
TABLE record;

-- The superuser that owns the extension.
\c - postgres
SELECT count(*) FROM jit.pending;
SELECT jit_approve(1); \echo :SQLSTATE
SELECT jit_deny(1, 'no'); \echo :SQLSTATE
-- Also not after SET ROLE to the approver role, for the login must qualify as well.
SET ROLE support_lead;
SELECT count(*) FROM jit.pending;
SELECT jit_approve(1); \echo :SQLSTATE
SELECT jit_deny(1, 'no'); \echo :SQLSTATE
SET ROLE bob;
SELECT jit_approve(1); \echo :SQLSTATE
-- It does not belong to every role, and nobody's request is its own.
RESET ROLE;
SELECT jit_request('support', 'refund', key => '1', grantee => 'alice'); \echo :SQLSTATE
SELECT jit_cancel(1); \echo :SQLSTATE
TABLE record;
-- Another superuser.
\c - chief
SELECT jit_approve(1); \echo :SQLSTATE
-- An admin with every right on schema jit, who sees everything.
\c - chief_admin
SELECT count(*) FROM jit.pending;
SELECT jit_approve(1); \echo :SQLSTATE
SELECT jit_deny(1, 'no'); \echo :SQLSTATE
-- One who may make roles and write everywhere.
\c - chief_creator
SELECT jit_approve(1); \echo :SQLSTATE
SELECT jit_deny(1, 'no'); \echo :SQLSTATE
TABLE record;

-- The login behind a SET SESSION AUTHORIZATION is the one it has become: a superuser who does that acts as bob,
-- which no function can tell from bob.
\c - postgres
SET SESSION AUTHORIZATION bob;
SELECT jit_approve(1);
RESET SESSION AUTHORIZATION;

-- No grant of anybody's serves a superuser.
SELECT jit_active('support', 1), jit_keys('support', NULL::int);
\c - alice
SELECT jit_active('support', 1);

-- A superuser who is an approver by membership is one, and an admin likewise; like anybody not for themselves.
\c - postgres
GRANT support_lead TO chief, chief_admin;
\c - chief
SELECT id FROM jit.pending;
SELECT jit_request('support', 'look', key => '3');
SELECT jit_approve(3); \echo :SQLSTATE
SELECT jit_active('support', 3);
\c - chief_admin
SELECT jit_approve(3);
\c - chief
SELECT jit_approve(2);
SELECT jit_active('support', 3), jit_active('support', 2), jit_keys('support', NULL::int);
-- As alice, whom it approved for, it is not served.
SET ROLE alice;
SELECT jit_active('support', 2), jit_active('support', 1);

-- An admin who makes themselves an approver by the rules does so on record, and needs to belong to the role.
\c - chief_admin
SELECT jit.alter_scope('support', '{"approvers": {"security": 1}}');
\c - alice
SELECT jit_request('support', 'refund', key => '4');
\c - chief_admin
TABLE record;
SELECT jit_approve(4); \echo :SQLSTATE
TABLE record;
-- An admin may stop things: revoke, disable.
SELECT jit_revoke(2, 'incident');
\c - postgres
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA jit FROM chief_admin;
REVOKE ALL ON ALL TABLES IN SCHEMA jit FROM chief_admin;
DROP ROLE chief, chief_admin, chief_creator;

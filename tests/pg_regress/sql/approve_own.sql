-- Nobody decides on their own request, whichever way they come. Each try is in the server log, which
-- client_min_messages = log shows to the client as well.
\pset tuples_only on
\pset format unaligned
-- What is on record, readable by all here: every refusal can show that nothing changed.
CREATE VIEW record AS SELECT format('requests: %s; %s reviews, %s grants, %s endings, %s events',
    (SELECT string_agg(id || ' ' || state, ', ' ORDER BY id) FROM jit.requests), (SELECT count(*) FROM jit.reviews),
    (SELECT count(*) FROM jit.grants), (SELECT count(*) FROM jit.endings), (SELECT count(*) FROM jit.events));
GRANT SELECT ON record TO PUBLIC;
SELECT jit.create_scope('support', '{"key_type": "int", "approvers": {"support_lead": 1, "security": 1}}');
SELECT jit.create_scope('quick', '{"key_type": "int", "approvers": {"support_lead": 1}}');
GRANT support_lead TO alice;
GRANT oncall TO bob;
CREATE ROLE own_second LOGIN IN ROLE support_lead;
CREATE ROLE own_inherits LOGIN IN ROLE support_lead, oncall;
CREATE ROLE own_sleeper LOGIN NOINHERIT IN ROLE support_lead, oncall;
CREATE ROLE own_admin LOGIN IN ROLE support_lead;
GRANT oncall TO own_admin WITH ADMIN OPTION;
CREATE ROLE own_nested IN ROLE oncall;
CREATE ROLE own_deep LOGIN IN ROLE support_lead, own_nested;
CREATE ROLE own_shared IN ROLE support_lead, support;
GRANT own_shared TO alice, carol, dave;
GRANT own_second TO alice;

-- alice, who is an approver, asks for herself.
\c - alice
SET client_min_messages = log;
SELECT jit_request('quick', 'refund', key => '42');
TABLE record;
SELECT count(*) FROM jit.pending;
-- Plain.
SELECT jit_approve(1); \echo :SQLSTATE
SELECT jit_deny(1, 'no'); \echo :SQLSTATE
-- After SET ROLE: to the approver role, to another login's role, to one shared by several.
SET ROLE support_lead;
SELECT count(*) FROM jit.pending;
SELECT jit_approve(1); \echo :SQLSTATE
SET ROLE own_second;
SELECT jit_approve(1); \echo :SQLSTATE
SET ROLE own_shared;
SELECT jit_approve(1); \echo :SQLSTATE
RESET ROLE;
-- In a transaction with SET LOCAL ROLE.
BEGIN;
SET LOCAL ROLE own_second;
SELECT jit_approve(1); \echo :SQLSTATE
ROLLBACK;
TABLE record;

-- She asks while she acts as another role: login and actor are both the requester.
SET ROLE own_second;
SELECT jit_request('quick', 'refund', key => '43');
RESET ROLE;
SELECT jit_approve(2); \echo :SQLSTATE
-- The login whose role she had borrowed cannot approve either: the grant would be its own.
\c - own_second
SET client_min_messages = log;
SELECT count(*) FROM jit.pending WHERE id = 2;
SELECT jit_approve(2); \echo :SQLSTATE
TABLE record;

-- Another login that shares the actor: carol asks as own_shared, alice and dave come as own_shared or as themselves.
\c - carol
SET ROLE own_shared;
SELECT jit_request('quick', 'refund', key => '44');
\c - dave
SET client_min_messages = log;
SET ROLE own_shared;
SELECT jit_approve(3); \echo :SQLSTATE
RESET ROLE;
-- He belongs to own_shared, which the grant would serve.
SELECT jit_approve(3); \echo :SQLSTATE
TABLE record;
-- Somebody outside can.
\c - bob
SELECT jit_approve(3);

-- For a group one belongs to: inheriting, NOINHERIT, through another group, with ADMIN OPTION only.
\c - postgres
GRANT oncall TO carol;
\c - carol
SELECT jit_request('quick', 'tonight', key => '45', grantee => 'oncall');
\c - postgres
-- own_admin may hand out oncall and has given itself nothing else.
SELECT m.rolname, a.admin_option, m.rolinherit FROM pg_auth_members a JOIN pg_roles m ON m.oid = a.member
 WHERE a.roleid = 'oncall'::regrole AND m.rolname LIKE 'own%' ORDER BY 1;
TABLE record;
\c - own_inherits
SET client_min_messages = log;
SELECT count(*) FROM jit.pending WHERE id = 4;
SELECT jit_approve(4); \echo :SQLSTATE
\c - own_sleeper
SET client_min_messages = log;
SELECT count(*) FROM jit.pending WHERE id = 4;
SELECT jit_approve(4); \echo :SQLSTATE
\c - own_deep
SET client_min_messages = log;
SELECT jit_approve(4); \echo :SQLSTATE
\c - own_admin
SET client_min_messages = log;
SELECT count(*) FROM jit.pending WHERE id = 4;
SELECT jit_approve(4); \echo :SQLSTATE
-- Becoming the approver role first does not help.
SET ROLE support_lead;
SELECT jit_approve(4); \echo :SQLSTATE
RESET ROLE;
TABLE record;
-- To say no, they are as good as anybody: else a requester could choose her approvers, by letting the others into her group.
BEGIN;
SELECT jit_deny(4, 'no');
TABLE record;
ROLLBACK;
\c - own_deep
BEGIN;
SELECT jit_deny(4, 'no');
TABLE record;
ROLLBACK;
-- Whoever asked may not, by whichever of their roles.
\c - postgres
GRANT support_lead TO carol;
\c - carol
SELECT jit_deny(4, 'no'); \echo :SQLSTATE
SET ROLE oncall;
SELECT jit_deny(4, 'no'); \echo :SQLSTATE
\c - postgres
REVOKE support_lead FROM carol;
TABLE record;

-- Somebody who does not qualify at all, and one who borrows an approver's role.
\c - frank
SET client_min_messages = log;
SELECT jit_approve(4); \echo :SQLSTATE
SELECT jit_deny(4, 'no'); \echo :SQLSTATE
\c - postgres
CREATE ROLE own_lender IN ROLE support_lead;
CREATE ROLE own_borrower LOGIN NOINHERIT;
GRANT own_lender TO own_borrower;
-- One who may SET ROLE qualifies also without doing so; that is membership, too.
\c - own_borrower
SELECT count(*) FROM jit.pending WHERE id = 4;
SET ROLE own_lender;
SELECT count(*) FROM jit.pending WHERE id = 4;
TABLE record;

-- Leaving the group afterwards helps to approve, but coming back does not bring the rows.
\c - postgres
REVOKE oncall FROM own_inherits;
\c - own_inherits
SELECT jit_approve(4);
SELECT jit_active('quick', 45);
\c - postgres
GRANT oncall TO own_inherits;
\c - own_inherits
SELECT jit_active('quick', 45), jit_keys('quick', NULL::int);
SET ROLE oncall;
SELECT jit_active('quick', 45);
\c - carol
SELECT jit_active('quick', 45);
\c - own_sleeper
-- NOINHERIT: only after SET ROLE.
SELECT jit_active('quick', 45);
SET ROLE oncall;
SELECT jit_active('quick', 45);

\c - postgres
REVOKE support_lead, own_second, own_shared FROM alice;
REVOKE oncall FROM bob, carol;
DROP ROLE own_second, own_inherits, own_sleeper, own_admin, own_nested, own_deep, own_shared, own_lender, own_borrower;

-- The views of everybody: each shows what the session may see, and nothing of the rest.

SELECT jit.create_scope('s', '{"key_type": "int", "allow_all_rows": true, "approvers": {"support_lead": 1}}');
SELECT jit.create_scope('two', '{"key_type": "int", "approvers": {"support_lead": 2}}');
SELECT jit.create_scope('other', '{"approvers": {"security": 1}}');

-- jit.pending: what this session could decide now.
\c - alice
SELECT jit_request('s', 'refund 981', key => '1') AS one, jit_request('two', 'refund 982', key => '2') AS two,
       jit_request('other', 'refund 983') AS other, jit_request('s', 'for us all', grantee => 'support', all_rows => true) AS shared \gset
\c - bob
SELECT id, scope, key, all_rows, grantee, login, actor, reason, duration, starts_at, lapses_at - created_at AS ttl, approvals FROM jit.pending ORDER BY id;
SELECT bool_and(time_left > '23 hours' AND time_left <= '1 day') AS time_left FROM jit.pending;
\c - erin
SELECT id, scope, reason FROM jit.pending;
-- Nothing for the requester, for others, for a superuser.
\c - alice
SELECT id FROM jit.pending;
\c - frank
SELECT id FROM jit.pending;
\c - postgres
SELECT id FROM jit.pending;
-- A yes that does not suffice: the request is now for the others to decide.
\c - bob
SELECT jit_approve(:two);
SELECT id, approvals FROM jit.pending ORDER BY id;
\c - dave
SELECT id, approvals FROM jit.pending ORDER BY id;
-- An approver who belongs to the group that a grant would serve.
\c - postgres
GRANT support TO dave;
\c - dave
SELECT id FROM jit.pending ORDER BY id;
\c - postgres
REVOKE support FROM dave;
-- Login and acting role must both be approvers.
GRANT frank TO dave;
GRANT support_lead TO frank;
\c - dave
SET ROLE frank;
SELECT id FROM jit.pending ORDER BY id;
\c - postgres
REVOKE support_lead FROM frank;
\c - dave
SET ROLE frank;
SELECT id FROM jit.pending ORDER BY id;
\c - postgres
REVOKE frank FROM dave;
-- Whoever is no approver any more. Nor is what a disabled scope waits for, or what has lapsed, shown.
REVOKE support_lead FROM dave;
\c - dave
SELECT id FROM jit.pending ORDER BY id;
\c - postgres
GRANT support_lead TO dave;
BEGIN;
UPDATE jit_private.requests SET lapses_at = clock_timestamp() WHERE id = :one;
SET SESSION AUTHORIZATION dave;
SELECT id FROM jit.pending ORDER BY id;
ROLLBACK;
BEGIN;
UPDATE jit_private.scopes SET enabled = false WHERE name = 's';
SET SESSION AUTHORIZATION dave;
SELECT id FROM jit.pending ORDER BY id;
ROLLBACK;

-- jit.my_requests: what one has asked for, and what became of it. As effective, before anybody has marked it.
\c - alice
SELECT jit_request('s', 'to deny', key => '5') AS deny, jit_request('s', 'to cancel', key => '6') AS cancel \gset
SELECT jit_cancel(:cancel);
\c - bob
SELECT jit_approve(:one, 'fine'), jit_approve(:shared), jit_deny(:deny, 'not needed');
\c - alice
SELECT id, scope, key, all_rows, grantee, reason, duration, state, decided_by, decided_at IS NOT NULL AS decided, time_left > '0' AS time_left
  FROM jit.my_requests ORDER BY id;
\c - postgres
BEGIN;
UPDATE jit_private.requests SET lapses_at = clock_timestamp() WHERE id = :two;
UPDATE jit_private.scopes SET enabled = false WHERE name = 'other';
SELECT id, state FROM jit.requests WHERE id IN (:two, :other) ORDER BY id;
SET SESSION AUTHORIZATION alice;
SELECT id, state, time_left FROM jit.my_requests WHERE id = :two;
SELECT id, state FROM jit.my_requests WHERE id = :other;
ROLLBACK;
-- Somebody else's are not there, not for approvers either; for whoever acts as the same role they are.
\c - carol
SELECT id FROM jit.my_requests;
\c - bob
SELECT id FROM jit.my_requests;
\c - alice
SET ROLE support;
SELECT jit_request('s', 'as support', key => '7') AS seven \gset
RESET ROLE;
SELECT id, reason FROM jit.my_requests WHERE id = :seven;
\c - carol
SELECT id, reason FROM jit.my_requests;
SET ROLE support;
SELECT id, reason FROM jit.my_requests;

-- jit.my_grants: what serves, will serve or has served the acting role.
\c - alice
SELECT jit_request('s', 'later', key => '8', starts_at => clock_timestamp() + '1 day') AS later,
       jit_request('s', 'given back', key => '9') AS back, jit_request('s', 'taken', key => '10') AS taken \gset
\c - bob
SELECT jit_approve(id) FROM jit.pending WHERE id >= :later ORDER BY id;
SELECT jit_revoke(:taken, 'no');
\c - alice
SELECT jit_release(:back);
SELECT id, scope, key, all_rows, grantee, reason, ends_at - starts_at AS length, state, ended_how, time_left > '0' AS time_left
  FROM jit.my_grants ORDER BY id;
-- One that has ended by the clock, before the worker has made a note of it.
\c - postgres
BEGIN;
UPDATE jit_private.grants SET starts_at = clock_timestamp() - interval '1 hour', ends_at = clock_timestamp() WHERE id = :one;
SET SESSION AUTHORIZATION alice;
SELECT id, state, ended_how FROM jit.my_grants WHERE id = :one;
ROLLBACK;
-- Of the group: its members. Of a scope that was disabled: how they ended.
\c - carol
SELECT id, grantee, reason, state FROM jit.my_grants;
\c - frank
SELECT id FROM jit.my_grants;
\c - bob
SELECT id FROM jit.my_grants;
\c - postgres
BEGIN;
SELECT jit.alter_scope('s', '{"enabled": false}');
SET SESSION AUTHORIZATION alice;
SELECT id, state, ended_how, time_left FROM jit.my_grants ORDER BY id;
ROLLBACK;
-- An approver whom a group's grant does not serve does not see it as theirs.
GRANT support TO bob, dave;
\c - bob
SELECT id FROM jit.my_grants;
\c - dave
SELECT id FROM jit.my_grants;
\c - postgres
REVOKE support FROM bob, dave;

-- jit.active_grants: one's own; for approvers of the scope, admins and auditors all of it. Scheduled and ended ones are not active.
\c - alice
SELECT id, scope, key, all_rows, grantee, ends_at - starts_at AS length, time_left > '0' AS time_left FROM jit.active_grants ORDER BY id;
\c - carol
SELECT id, grantee FROM jit.active_grants ORDER BY id;
\c - bob
SELECT id, grantee FROM jit.active_grants ORDER BY id;
\c - erin
SELECT id, grantee FROM jit.active_grants ORDER BY id;
\c - frank
SELECT id, grantee FROM jit.active_grants ORDER BY id;
-- frank as admin, and as auditor.
\c - postgres
GRANT EXECUTE ON FUNCTION jit.alter_scope TO frank;
\c - frank
SELECT id, grantee FROM jit.active_grants ORDER BY id;
\c - postgres
REVOKE EXECUTE ON FUNCTION jit.alter_scope FROM frank;
GRANT SELECT ON jit.events TO frank;
\c - frank
SELECT id, grantee FROM jit.active_grants ORDER BY id;
\c - postgres
REVOKE SELECT ON jit.events FROM frank;
-- What one has asked for on behalf of a group that one has left.
REVOKE support FROM alice;
\c - alice
SELECT id, grantee FROM jit.active_grants ORDER BY id;
\c - postgres
GRANT support TO alice;
-- A shared login has none, and oversees nothing.
GRANT support, support_lead TO pooler;
SET jit_rls.shared_logins = 'pooler';
SET SESSION AUTHORIZATION pooler;
SELECT (SELECT count(*) FROM jit.active_grants) AS active, (SELECT count(*) FROM jit.my_grants) AS mine,
       (SELECT count(*) FROM jit.my_requests) AS requests, (SELECT count(*) FROM jit.pending) AS pending;
RESET SESSION AUTHORIZATION;
RESET jit_rls.shared_logins;
REVOKE support, support_lead FROM pooler;

-- A role that has been renamed is shown by the name it has now.
ALTER ROLE support RENAME TO helpdesk;
\c - carol
SELECT grantee FROM jit.my_grants;
SELECT grantee FROM jit.active_grants;
\c - postgres
ALTER ROLE helpdesk RENAME TO support;

-- Read through somebody else's view or definer function, they still show what the session may see.
CREATE VIEW theirs AS SELECT id FROM jit.active_grants;
GRANT SELECT ON theirs TO PUBLIC;
CREATE FUNCTION theirs() RETURNS SETOF bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT id FROM jit.my_requests UNION ALL SELECT id FROM jit.my_grants';
\c - frank
SELECT * FROM theirs;
SELECT * FROM theirs();

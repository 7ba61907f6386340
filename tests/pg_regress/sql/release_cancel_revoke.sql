-- Taking back, giving back, taking away: by whom, in which state, and what is refused.
\pset tuples_only on
\pset format unaligned
-- What is on record, readable by all here: every refusal can show that nothing changed.
CREATE VIEW record AS SELECT format('requests: %s; %s reviews, %s grants, %s endings, %s events',
    (SELECT string_agg(id || ' ' || state, ', ' ORDER BY id) FROM jit.requests), (SELECT count(*) FROM jit.reviews),
    (SELECT count(*) FROM jit.grants), (SELECT count(*) FROM jit.endings), (SELECT count(*) FROM jit.events));
GRANT SELECT ON record TO PUBLIC;
SELECT jit.create_scope('support', '{"key_type": "int", "approvers": {"support_lead": 1}}');
SELECT jit.create_scope('leads', '{"key_type": "int", "approvers": {"support_lead": 1}, "requesters": ["support_lead"]}');
CREATE ROLE taking_admin LOGIN;
GRANT EXECUTE ON FUNCTION jit.alter_scope(text, jsonb) TO taking_admin;
CREATE ROLE taking_half_admin LOGIN;
GRANT EXECUTE ON FUNCTION jit.create_scope(text, jsonb), jit.drop_scope(text) TO taking_half_admin;
CREATE ROLE taking_auditor LOGIN;
GRANT SELECT ON jit.events TO taking_auditor;
\set VERBOSITY terse
\c - alice
SELECT jit_request('support', 'refund', key => k::text) FROM generate_series(1, 9) k;
\c - bob
SELECT jit_approve(id) FROM jit.pending WHERE id <= 6 ORDER BY id;
SELECT jit_deny(7, 'no');

-- Cancel: the requester alone, while it is pending.
\c - carol
TABLE record;
SELECT jit_cancel(8); \echo :SQLSTATE
\c - bob
SELECT jit_cancel(8); \echo :SQLSTATE
\c - taking_admin
SELECT jit_cancel(8); \echo :SQLSTATE
\c - postgres
SELECT jit_cancel(8); \echo :SQLSTATE
\c - alice
SELECT jit_cancel(1); \echo :SQLSTATE
SELECT jit_cancel(7); \echo :SQLSTATE
SELECT jit_cancel(999); \echo :SQLSTATE
SELECT jit_cancel(NULL); \echo :SQLSTATE
TABLE record;
SELECT jit_cancel(8);
TABLE record;
-- Also while she acts as another role: she is still alice.
SET ROLE support;
SELECT jit_cancel(9);
RESET ROLE;
SELECT id, state, decided_by FROM jit.my_requests WHERE id >= 7 ORDER BY id;

-- Release: the requester alone, while the grant lives.
\c - carol
TABLE record;
SELECT jit_release(1); \echo :SQLSTATE
\c - bob
SELECT jit_release(1); \echo :SQLSTATE
\c - taking_admin
SELECT jit_release(1); \echo :SQLSTATE
\c - alice
SELECT jit_release(7); \echo :SQLSTATE
SELECT jit_release(8); \echo :SQLSTATE
SELECT jit_release(999); \echo :SQLSTATE
SELECT jit_release(NULL); \echo :SQLSTATE
TABLE record;
SELECT jit_keys('support', NULL::int);
SELECT jit_release(1);
SELECT jit_keys('support', NULL::int);
TABLE record;
-- Once: what has ended has ended, for the requester and for everybody.
SELECT jit_release(1); \echo :SQLSTATE
\c - bob
SELECT jit_revoke(1, 'enough'); \echo :SQLSTATE
TABLE record;

-- Revoke: not the holder (who can give it back), nor anybody without a say.
\c - alice
SELECT jit_revoke(2, 'enough'); \echo :SQLSTATE
\c - carol
SELECT jit_revoke(2, 'enough'); \echo :SQLSTATE
\c - erin
SELECT jit_revoke(2, 'enough'); \echo :SQLSTATE
\c - taking_half_admin
SELECT jit_revoke(2, 'enough'); \echo :SQLSTATE
\c - taking_auditor
SELECT jit_revoke(2, 'enough'); \echo :SQLSTATE
TABLE record;
-- With a reason that can be put on record.
\c - bob
SELECT jit_revoke(2, NULL); \echo :SQLSTATE
SELECT jit_revoke(2, ''); \echo :SQLSTATE
SELECT jit_revoke(2, E'a\tb'); \echo :SQLSTATE
SELECT jit_revoke(2, repeat('x', 4097)); \echo :SQLSTATE
-- Of something that is a grant.
SELECT jit_revoke(7, 'enough'); \echo :SQLSTATE
SELECT jit_revoke(8, 'enough'); \echo :SQLSTATE
SELECT jit_revoke(999, 'enough'); \echo :SQLSTATE
SELECT jit_revoke(NULL, 'enough'); \echo :SQLSTATE
\c - alice
SELECT jit_request('support', 'refund', key => '10');
\c - bob
SELECT jit_revoke(10, 'enough'); \echo :SQLSTATE
TABLE record;
-- By who approved it, by another approver, by an admin, by a superuser (who may execute everything, and is thus an admin).
SELECT jit_revoke(2, 'enough');
\c - dave
SELECT jit_revoke(3, 'done');
\c - taking_admin
SELECT jit_revoke(4, 'incident');
\c - postgres
SELECT jit_revoke(5, 'incident');
\c - alice
SELECT jit_keys('support', NULL::int);
-- Not twice; and the one who comes second changes nothing.
\c - dave
TABLE record;
SELECT jit_revoke(2, 'enough'); \echo :SQLSTATE
\c - alice
SELECT jit_release(2); \echo :SQLSTATE
TABLE record;
\c - postgres
SELECT grant_id, kind, login, actor, reason FROM jit.endings ORDER BY at;
SELECT kind, request_id, login, actor, details FROM jit.events WHERE kind IN ('released', 'revoked', 'cancelled') ORDER BY id;

-- Every present approver of the scope, also one whom the grant serves: else a holder could keep an approver from
-- revoking, by letting them into her group. Whom it serves without being an approver cannot.
GRANT oncall TO dave, alice, carol;
\c - bob
SELECT jit_request('leads', 'refund', key => '1') AS bobs \gset
\c - dave
SELECT jit_approve(:bobs);
\c - alice
SELECT jit_request('support', 'tonight', key => '1', grantee => 'oncall') AS groups \gset
\c - bob
SELECT jit_approve(:groups);
TABLE record;
SELECT jit_revoke(:bobs, 'my own');
\c - carol
SELECT jit_active('support', 1);
SELECT jit_revoke(:groups, 'serves me'); \echo :SQLSTATE
-- Nor can a member of the group give back what somebody else asked for.
SELECT jit_release(:groups); \echo :SQLSTATE
\c - dave
SELECT jit_release(:groups); \echo :SQLSTATE
TABLE record;
SELECT jit_active('support', 1);
SELECT jit_revoke(:groups, 'serves me');
SELECT jit_active('support', 1);
TABLE record;
-- An admin can, also their own; the requester can give back what serves a group.
\c - postgres
GRANT EXECUTE ON FUNCTION jit.alter_scope(text, jsonb) TO carol;
\c - carol
SELECT jit_request('support', 'refund', key => '20') AS carols \gset
\c - alice
SELECT jit_request('support', 'tonight', key => '1', grantee => 'oncall') AS groups \gset
\c - bob
SELECT jit_approve(id) FROM jit.pending WHERE id IN (:carols, :groups) ORDER BY id;
\c - carol
SELECT jit_revoke(:carols, 'my own');
SELECT jit_active('support', 20), jit_active('support', 1);
\c - postgres
REVOKE EXECUTE ON FUNCTION jit.alter_scope(text, jsonb) FROM carol;
\c - alice
SELECT jit_release(:groups);
\c - carol
SELECT jit_active('support', 1);

-- "Present" approvers: who has lost the role may not revoke what they approved.
\c - alice
SELECT jit_active('support', 6);
\c - postgres
REVOKE support_lead FROM bob;
\c - bob
SELECT jit_revoke(6, 'enough'); \echo :SQLSTATE
\c - postgres
GRANT support_lead TO bob;
-- A grant that has not begun can be given back and taken away, too.
\c - alice
SELECT jit_request('support', 'refund', key => '11', starts_at => clock_timestamp() + interval '1 hour') AS later \gset
SELECT jit_request('support', 'refund', key => '12', starts_at => clock_timestamp() + interval '1 hour') AS latest \gset
\c - bob
SELECT jit_approve(:later);
SELECT jit_approve(:latest);
SELECT jit_revoke(:latest, 'not needed');
\c - alice
SELECT jit_release(:later);
SELECT id, state, ended_how FROM jit.my_grants WHERE id IN (:later, :latest) ORDER BY id;

-- What has expired needs no ending, also before anybody has put it on record.
\c - postgres
\set ON_ERROR_ROLLBACK on
BEGIN;
UPDATE jit_private.grants SET starts_at = starts_at - interval '1 day', ends_at = ends_at - interval '1 day' WHERE id = 6;
SET SESSION AUTHORIZATION bob;
SELECT jit_revoke(6, 'enough'); \echo :SQLSTATE
SET SESSION AUTHORIZATION alice;
SELECT jit_release(6); \echo :SQLSTATE
RESET SESSION AUTHORIZATION;
SELECT count(*) FROM jit.endings WHERE grant_id = 6;
ROLLBACK;
\unset ON_ERROR_ROLLBACK

-- Ending is not bound to the client's own statement: a function may revoke, give back and cancel.
CREATE FUNCTION panic(request bigint) RETURNS void LANGUAGE sql AS $$ SELECT jit_revoke(request, 'panic button') $$;
\c - bob
SELECT panic(6);
\c - alice
SELECT jit_active('support', 6);
-- A rolled-back ending is none; an ending in one's own transaction counts at once.
\c - alice
SELECT jit_request('support', 'refund', key => '13') AS id \gset
\c - bob
SELECT jit_approve(:id);
\c - alice
BEGIN;
SELECT jit_release(:id);
SELECT jit_active('support', 13);
ROLLBACK;
SELECT jit_active('support', 13);

\c - postgres
REVOKE oncall FROM dave, alice, carol;
REVOKE EXECUTE ON FUNCTION jit.alter_scope(text, jsonb), jit.create_scope(text, jsonb), jit.drop_scope(text) FROM taking_admin, taking_half_admin;
REVOKE SELECT ON jit.events FROM taking_auditor;
DROP ROLE taking_admin, taking_half_admin, taking_auditor;

-- Disabling and dropping a scope end its grants and close its requests, for good.
\pset tuples_only on
\pset format unaligned
CREATE VIEW requests AS SELECT id, scope, state, decided_by FROM jit.requests ORDER BY id;
CREATE VIEW endings AS SELECT grant_id, kind, login, actor, reason FROM jit.endings ORDER BY at, grant_id;
SELECT jit.create_scope('support', '{"key_type": "int", "approvers": {"support_lead": 1}}');
SELECT jit.create_scope('other', '{"key_type": "int", "approvers": {"support_lead": 1}}');
\c - alice
SELECT jit_request('support', 'refund', key => '1');
SELECT jit_request('support', 'refund', key => '2', starts_at => clock_timestamp() + interval '1 hour');
SELECT jit_request('support', 'refund', key => '3');
SELECT jit_request('other', 'refund', key => '1');
SELECT jit_request('other', 'refund', key => '2');
\c - bob
SELECT jit_approve(1);
SELECT jit_approve(2);
SELECT jit_approve(4);
\c - alice
SELECT jit_active('support', 1), jit_active('other', 1);

-- Disabling ends running and scheduled grants of this scope alone, and closes what waits.
\c - postgres
SELECT max(id) AS last FROM jit.events \gset
SELECT jit.alter_scope('support', '{"enabled": false}');
TABLE requests;
TABLE endings;
SELECT kind, request_id, scope, login, actor, details FROM jit.events WHERE id > :last ORDER BY id;
\c - alice
SELECT jit_active('support', 1), jit_keys('support', NULL::int), jit_active('other', 1);
SELECT id, state, ended_how FROM jit.my_grants ORDER BY id;
-- Nothing can be asked for, approved, cancelled, given back.
SELECT jit_request('support', 'refund', key => '4'); \echo :SQLSTATE
\set VERBOSITY terse
SELECT jit_cancel(3); \echo :SQLSTATE
SELECT jit_release(1); \echo :SQLSTATE
\c - bob
SELECT jit_approve(3); \echo :SQLSTATE
SELECT jit_deny(3, 'no'); \echo :SQLSTATE
SELECT jit_revoke(1, 'enough'); \echo :SQLSTATE
\set VERBOSITY default
\c - postgres
TABLE requests;
TABLE endings;
-- Disabling what is disabled changes nothing.
SELECT count(*) FROM jit.events;
SELECT jit.alter_scope('support', '{"enabled": false}');
SELECT count(*) FROM jit.events;

-- Enabling it again revives nothing, neither grants nor requests; one can ask anew.
SELECT jit.alter_scope('support', '{"enabled": true}');
\c - alice
SELECT jit_active('support', 1), jit_keys('support', NULL::int);
SELECT id, state FROM jit.my_requests ORDER BY id;
\set VERBOSITY terse
\c - bob
SELECT jit_approve(3); \echo :SQLSTATE
\set VERBOSITY default
\c - alice
SELECT jit_request('support', 'refund', key => '1') AS again \gset
\c - bob
SELECT jit_approve(:again);
\c - alice
SELECT jit_keys('support', NULL::int);

-- Dropping does the same, and frees the name; the records stay.
\c - postgres
SELECT max(id) AS last FROM jit.events \gset
SELECT jit.drop_scope('support');
SELECT kind, request_id, scope, login, actor, details FROM jit.events WHERE id > :last ORDER BY id;
TABLE endings;
SELECT jit.alter_scope('support', '{"enabled": true}'); \echo :SQLSTATE
SELECT jit.drop_scope('support'); \echo :SQLSTATE
\c - alice
SELECT jit_active('support', 1), jit_keys('support', NULL::int), jit_active('other', 1);
SELECT jit_request('support', 'refund', key => '1'); \echo :SQLSTATE
-- The new scope of that name is another one: no grant of the old one comes back, whatever its keys.
\c - postgres
SELECT jit.create_scope('support', '{"key_type": "int", "approvers": {"support_lead": 1}}');
SELECT name, enabled, dropped_at IS NOT NULL AS dropped FROM jit.scopes ORDER BY id;
\c - alice
SELECT jit_active('support', 1), jit_keys('support', NULL::int);
SELECT id, scope, state, ended_how FROM jit.my_grants ORDER BY id;
SELECT jit_request('support', 'refund', key => '9') AS fresh \gset
\c - bob
SELECT jit_approve(:fresh);
\c - alice
SELECT jit_keys('support', NULL::int);
-- Its key_type is free, for nobody has asked in the new one.
\c - postgres
SELECT jit.create_scope('reused', '{"key_type": "int"}');
\c - alice
SELECT jit_request('reused', 'refund', key => '1') > 0;
\c - postgres
SELECT jit.drop_scope('reused');
SELECT jit.create_scope('reused', '{"key_type": "uuid"}');
SELECT jit.alter_scope('reused', '{"key_type": "text"}');

-- What became of a request is nothing for strangers, when its scope has been dropped as little as before.
SELECT jit.create_scope('secret', '{"key_type": "int", "requesters": ["support"], "approvers": {"support_lead": 1}}');
\c - alice
SELECT jit_request('secret', 'refund', key => '1') AS denied \gset
SELECT jit_request('secret', 'refund', key => '2') AS open \gset
\c - bob
SELECT jit_deny(:denied, 'no');
\c - frank
SELECT jit_approve(:open); \echo :SQLSTATE
SELECT jit_deny(:denied, 'x'); \echo :SQLSTATE
SELECT jit_review(:denied, true, 'x'); \echo :SQLSTATE
\c - postgres
SELECT jit.drop_scope('secret');
\c - frank
SELECT jit_approve(:open); \echo :SQLSTATE
SELECT jit_deny(:denied, 'x'); \echo :SQLSTATE
SELECT jit_review(:denied, true, 'x'); \echo :SQLSTATE
\c - dave
\set VERBOSITY terse
SELECT jit_approve(:open); \echo :SQLSTATE
SELECT jit_approve(:denied); \echo :SQLSTATE
SELECT jit_review(:denied, true, 'x'); \echo :SQLSTATE
\c - postgres

-- A role that is gone is nobody, and does not stand in the way of other changes.
CREATE ROLE scope_gone;
CREATE ROLE scope_asker_gone;
SELECT jit.create_scope('orphan', '{"approvers": {"scope_gone": 1}, "requesters": ["scope_asker_gone", "support"]}');
\c - alice
SELECT jit_request('orphan', 'look') AS orphan \gset
\c - postgres
DROP ROLE scope_gone, scope_asker_gone;
SELECT jit.alter_scope('orphan', '{"description": "still here"}');
-- A namesake is somebody else: only naming it again binds it.
CREATE ROLE scope_gone;
GRANT scope_gone TO bob;
SELECT jit.alter_scope('orphan', '{"description": "bound again?"}');
\c - bob
SELECT count(*) FROM jit.pending;
SELECT jit_approve(:orphan); \echo :SQLSTATE
\c - postgres
SELECT details FROM jit.events WHERE scope = 'orphan' AND kind = 'scope altered' ORDER BY id;
SELECT jit.alter_scope('orphan', '{"approvers": {"scope_gone": 1}}');
SELECT details FROM jit.events WHERE scope = 'orphan' ORDER BY id DESC LIMIT 1;
\c - alice
SELECT jit_cancel(:orphan);
SELECT jit_request('orphan', 'look') AS orphan \gset
\c - bob
SELECT jit_approve(:orphan);
\c - alice
SELECT jit_active('orphan');
\c - postgres
DROP ROLE scope_gone;
SELECT jit.alter_scope('orphan', '{"enabled": false}');
SELECT jit.drop_scope('orphan');
\c - alice
SELECT jit_active('orphan');

-- Stages: one after the other; in each, distinct people for all its slots; nobody counts in two of them.

SELECT jit.create_scope('s', '{"key_type": "int", "approvers": [{"support_lead": 1}, {"security": 1, "support_lead": 1}]}');
SELECT name, stage, role, people FROM jit.approvers a JOIN jit.scopes s ON s.id = a.scope_id ORDER BY stage, role;
CREATE ROLE grace LOGIN IN ROLE security, support_lead;
CREATE ROLE heidi LOGIN;
CREATE ROLE team_a;
GRANT team_a TO heidi;
GRANT security TO team_a;

\c - alice
SELECT jit_request('s', 'refund', key => '1') AS id \gset
-- The second stage does not see it yet, and cannot decide on it; saying no is possible at any time.
\c - erin
SELECT id FROM jit.pending;
SELECT jit_approve(:id); \echo :SQLSTATE
\c - bob
SELECT id FROM jit.pending;
SELECT jit_approve(:id);
-- Who has said yes in one stage is not asked in another.
SELECT id FROM jit.pending;
SELECT jit_approve(:id); \echo :SQLSTATE
\c - erin
SELECT id FROM jit.pending;
SELECT jit_approve(:id);
\c - alice
SELECT jit_active('s', 1);
\c - dave
SELECT id FROM jit.pending;
SELECT jit_approve(:id);
\c - alice
SELECT jit_active('s', 1);
\c - postgres
SELECT actor, decision, stage, roles, paths FROM jit.reviews WHERE request_id = :id ORDER BY id;
SELECT kind, actor, details - 'starts_at' - 'ends_at' AS details FROM jit.events WHERE request_id = :id ORDER BY id;

-- Matching within a stage: grace could fill either slot, heidi comes to security through team_a.
\c - alice
SELECT jit_request('s', 'refund', key => '2') AS id \gset
\c - bob
SELECT jit_approve(:id);
\c - grace
SELECT jit_approve(:id);
\c - heidi
SELECT jit_approve(:id);
\c - postgres
SELECT actor, stage, roles, paths FROM jit.reviews WHERE request_id = :id ORDER BY id;

-- A yes whose giver has lost the role before the end: the request goes back to that stage.
\c - alice
SELECT jit_request('s', 'refund', key => '3') AS id \gset
\c - bob
SELECT jit_approve(:id);
\c - postgres
REVOKE support_lead FROM bob;
\c - erin
SELECT id FROM jit.pending;
SELECT jit_approve(:id); \echo :SQLSTATE
\c - dave
SELECT id FROM jit.pending;
SELECT jit_approve(:id);
\c - erin
SELECT jit_approve(:id);
-- And when it comes back, it stands again.
\c - postgres
GRANT support_lead TO bob;
\c - bob
SELECT jit_approve(:id); \echo :SQLSTATE
\c - grace
SELECT jit_approve(:id);

-- One no from any stage.
\c - alice
SELECT jit_request('s', 'refund', key => '4') AS id \gset
\c - erin
SELECT jit_deny(:id, 'no ticket');
\c - bob
\set VERBOSITY terse
SELECT jit_approve(:id); \echo :SQLSTATE
\set VERBOSITY default

-- Through SET ROLE: login and acting role must both belong to the stage.
\c - alice
SELECT jit_request('s', 'refund', key => '5') AS id \gset
\c - grace
SET ROLE security;
SELECT jit_approve(:id); \echo :SQLSTATE
RESET ROLE;
SET ROLE support_lead;
SELECT jit_approve(:id);
RESET ROLE;
SELECT jit_approve(:id); \echo :SQLSTATE

-- Rules that change meanwhile: in each stage the stricter of then and now.
\c - alice
SELECT jit_request('s', 'refund', key => '6') AS id \gset
\c - postgres
SELECT jit.alter_scope('s', '{"approvers": {"support_lead": 1}}');
\c - bob
SELECT jit_approve(:id);
\c - dave
SELECT jit_approve(:id);
\c - postgres
SELECT jit.alter_scope('s', '{"approvers": [{"support_lead": 1}, {"security": 1}]}');
\c - erin
SELECT jit_approve(:id);
-- Stages that have come in since count as well.
\c - postgres
SELECT jit.alter_scope('s', '{"approvers": {"support_lead": 1}}');
\c - alice
SELECT jit_request('s', 'refund', key => '7') AS id \gset
\c - postgres
SELECT jit.alter_scope('s', '{"approvers": [{"support_lead": 1}, {"security": 1}]}');
\c - bob
SELECT jit_approve(:id);
\c - erin
SELECT jit_approve(:id);

-- A yes counts again once its giver has come back. If nothing is missing then, whoever has said yes concludes it, and counts once.
\c - postgres
SELECT jit.create_scope('two', '{"approvers": {"support_lead": 2}}');
\c - alice
SELECT jit_request('two', 'refund') AS id \gset
\c - bob
SELECT jit_approve(:id);
SELECT jit_approve(:id); \echo :SQLSTATE
\c - alice
SELECT detail FROM jit_explain('two') WHERE reason = 'pending request';
\c - postgres
REVOKE support_lead FROM bob;
\c - dave
SELECT jit_approve(:id, duration => '30 minutes');
\c - postgres
GRANT support_lead TO bob;
\c - alice
SELECT detail FROM jit_explain('two') WHERE reason = 'pending request';
\c - bob
SELECT id, approvals FROM jit.pending ORDER BY id;
SELECT jit_approve(:id);
\c - postgres
SELECT actor, decision FROM jit.reviews WHERE request_id = :id ORDER BY at;
SELECT ends_at - starts_at AS length, cardinality(approved_by) AS approved_by FROM jit.grants WHERE id = :id;
SELECT details->'approved_by' AS approved_by FROM jit.events WHERE request_id = :id AND kind = 'approved';

-- Bad input.
\c - postgres
SELECT jit.alter_scope('s', '{"approvers": [{"support_lead": 1}, {}]}'); \echo :SQLSTATE
SELECT jit.alter_scope('s', '{"approvers": [{"support_lead": 1}, {"nobody": 1}]}'); \echo :SQLSTATE
SELECT jit.alter_scope('s', '{"approvers": [{"support_lead": 1}, {"security": 0}]}'); \echo :SQLSTATE
SELECT jit.alter_scope('s', '{"approvers": [[{"support_lead": 1}]]}'); \echo :SQLSTATE
SELECT jit.alter_scope('s', jsonb_build_object('approvers', (SELECT jsonb_agg('{"security": 1}'::jsonb) FROM generate_series(1, 11)))); \echo :SQLSTATE
SELECT stage, role, people FROM jit.approvers a ORDER BY stage, role;
DROP ROLE grace, heidi, team_a;

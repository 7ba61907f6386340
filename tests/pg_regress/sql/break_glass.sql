-- Access at once, for those whom the rules name, on record, and reviewed afterwards.

SELECT jit.create_scope('s', '{"key_type": "int", "reason_pattern": "^T-[0-9]+", "break_glass": ["support"], "break_glass_max": "30 minutes",
                               "approvers": {"support_lead": 1}}');
SELECT jit.create_scope('closed', '{"key_type": "int", "approvers": {"support_lead": 1}}');
SELECT jit.create_scope('all', '{"key_type": "int", "allow_all_rows": true, "break_glass": ["support"], "approvers": {"support_lead": 1}}');
SELECT jit.create_scope('whole', '{"break_glass": ["support"], "approvers": {"support_lead": 1}}');
CREATE TABLE t AS SELECT k FROM generate_series(1, 10) k;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY jit ON t USING (jit_active('s', k));
GRANT SELECT ON t TO PUBLIC;

\c - alice
\set VERBOSITY terse
SELECT jit_break_glass('s', 'patient is bleeding', '1') AS id \gset
\set VERBOSITY default
SELECT k FROM t;
-- It serves nobody before its transaction has committed.
BEGIN;
\set VERBOSITY terse
SELECT jit_break_glass('s', 'just looking', '2') > 0 AS broken;
\set VERBOSITY default
SELECT k FROM t;
ROLLBACK;
\c - postgres
SELECT id, ends_at - starts_at AS lasts, approved_by FROM jit.grants;
SELECT id, state, break_glass, review_due - created_at AS to_be_reviewed_within, reviewed_at FROM jit.requests;
SELECT kind, login, details - 'ends_at' - 'review_due' AS details FROM jit.events WHERE request_id = :id ORDER BY id;

-- Never longer than break_glass_max, and no extension.
\c - alice
SELECT jit_break_glass('s', 'patient is bleeding', '3', '31 minutes'); \echo :SQLSTATE
SELECT jit_extend(:id, '10 minutes', 'T-1'); \echo :SQLSTATE
-- A forgotten key is an error here as well; a scope without keys has none.
SELECT jit_break_glass('s', 'patient is bleeding'); \echo :SQLSTATE
\set VERBOSITY terse
SELECT jit_break_glass('whole', 'all is lost') > 0 AS broken;
\set VERBOSITY default
SELECT jit_active('whole');
SELECT jit_break_glass('whole', 'all is lost', '1'); \echo :SQLSTATE
-- Only those named; login and acting role both.
SELECT jit_break_glass('all', 'patient is bleeding'); \echo :SQLSTATE
SELECT jit_break_glass('closed', 'patient is bleeding', '1'); \echo :SQLSTATE
\c - frank
SELECT jit_break_glass('s', 'patient is bleeding', '1'); \echo :SQLSTATE
\c - postgres
SELECT jit_break_glass('s', 'patient is bleeding', '1'); \echo :SQLSTATE
GRANT alice TO frank;
\c - frank
SET ROLE alice;
SELECT jit_break_glass('s', 'patient is bleeding', '1'); \echo :SQLSTATE
\c - postgres
REVOKE alice FROM frank;
-- For oneself, not for everybody who belongs to a role.
\c - alice
SET ROLE support;
SELECT jit_break_glass('s', 'patient is bleeding', '1'); \echo :SQLSTATE
\c - postgres
-- Deliberately.
CREATE FUNCTION breaks() RETURNS bigint LANGUAGE sql AS $$ SELECT jit_break_glass('s', 'not mine', '5') $$;
CREATE FUNCTION reviews(bigint) RETURNS void LANGUAGE sql AS $$ SELECT jit_review($1, true, 'fine') $$;
\c - alice
SELECT breaks(); \echo :SQLSTATE
DO $$ BEGIN PERFORM jit_break_glass('s', 'not mine', '5'); END $$; \echo :SQLSTATE
-- Bad input.
SELECT jit_break_glass(NULL, 'x', '1'); \echo :SQLSTATE
SELECT jit_break_glass('nowhere', 'x', '1'); \echo :SQLSTATE
SELECT jit_break_glass('s', NULL, '1'); \echo :SQLSTATE
SELECT jit_break_glass('s', '', '1'); \echo :SQLSTATE
SELECT jit_break_glass('s', 'x', 'one'); \echo :SQLSTATE
SELECT jit_break_glass('s', 'x', '1', '-1 minute'); \echo :SQLSTATE

-- The review: by an approver whom it does not serve.
SELECT id FROM jit.pending_reviews;
SELECT jit_review(:id, true, 'I was right'); \echo :SQLSTATE
\c - erin
SELECT id FROM jit.pending_reviews;
SELECT jit_review(:id, true, 'fine'); \echo :SQLSTATE
\c - bob
SELECT id, grantee, reason FROM jit.pending_reviews ORDER BY id;
SELECT reviews(:id); \echo :SQLSTATE
SELECT jit_review(NULL, true, 'x'); \echo :SQLSTATE
SELECT jit_review(:id, NULL, 'x'); \echo :SQLSTATE
SELECT jit_review(:id, true, NULL); \echo :SQLSTATE
SELECT jit_review(-1, true, 'x'); \echo :SQLSTATE
SELECT jit_review(:id, true, 'she was');
SELECT jit_review(:id, true, 'she was'); \echo :SQLSTATE
SELECT count(*) FROM jit.pending_reviews WHERE id = :id;
\c - alice
SELECT k FROM t;
-- Not justified: what is left of it ends.
\set VERBOSITY terse
SELECT jit_break_glass('s', 'curious', '7') AS bad \gset
\set VERBOSITY default
SELECT k FROM t;
\c - bob
SELECT jit_review(:bad, false, 'that was none');
\c - alice
SELECT k FROM t;
\c - postgres
SELECT decision, actor, roles, comment FROM jit.reviews ORDER BY id;
SELECT kind, actor, details FROM jit.events WHERE request_id = :bad AND kind <> 'break-glass' ORDER BY id;
SELECT kind, actor, reason FROM jit.endings;
-- An approver whom it could serve may find it unjustified, not justified: nobody chooses her reviewers by letting the others in.
\c - alice
\set VERBOSITY terse
SELECT jit_break_glass('s', 'curious', '6') AS served \gset
\set VERBOSITY default
\c - postgres
GRANT alice TO bob;
\c - bob
SELECT id = :served AS mine FROM jit.pending_reviews WHERE scope = 's' ORDER BY id DESC LIMIT 1;
SELECT jit_review(:served, true, 'fine'); \echo :SQLSTATE
SELECT jit_review(:served, false, 'curious');
\c - alice
SELECT k FROM t;
\c - postgres
REVOKE alice FROM bob;
-- What was asked for in the ordinary way needs none.
\c - alice
SELECT jit_request('s', 'T-1', key => '9') AS id \gset
\c - bob
SELECT jit_approve(:id);
SELECT jit_review(:id, true, 'fine'); \echo :SQLSTATE

-- Overdue: on record, and in the way of the next time where the rules say so.
\c - postgres
SELECT jit.alter_scope('s', '{"review_within": "1 microsecond"}');
\c - alice
\set VERBOSITY terse
SELECT jit_break_glass('s', 'patient is bleeding', '8') AS late \gset
SELECT id FROM jit.overdue_reviews;
SELECT jit_break_glass('s', 'patient is bleeding', '8') > 0 AS broken;
\c - postgres
SELECT jit.alter_scope('s', '{"break_glass_block_overdue": true}');
\c - alice
SELECT jit_break_glass('s', 'patient is bleeding', '8'); \echo :SQLSTATE
-- Nobody else's business.
\c - carol
SELECT count(*) FROM jit.overdue_reviews;
\set VERBOSITY terse
SELECT jit_break_glass('s', 'patient is bleeding', '8') > 0 AS broken;
\c - bob
SELECT count(*) FROM jit.overdue_reviews;
SELECT count(jit_review(id, true, 'fine')) FROM jit.pending_reviews WHERE grantee = 'alice' AND scope = 's';
\c - alice
\set VERBOSITY terse
SELECT jit_break_glass('s', 'patient is bleeding', '8') > 0 AS broken;
-- The scope's switch stops it like everything else.
\c - postgres
SELECT jit.alter_scope('s', '{"enabled": false}');
\c - alice
SELECT jit_break_glass('s', 'patient is bleeding', '8'); \echo :SQLSTATE
SELECT k FROM t;
-- Without the scope there is nobody who could review it.
\c - bob
SELECT id AS orphan FROM jit.pending_reviews WHERE scope = 'whole' \gset
\c - postgres
SELECT jit.drop_scope('whole');
\c - bob
SELECT count(*) FROM jit.pending_reviews WHERE id = :orphan;
\set VERBOSITY default
SELECT jit_review(:orphan, true, 'fine'); \echo :SQLSTATE
SELECT jit_review(:orphan, false, 'that was none'); \echo :SQLSTATE
\c - postgres
SELECT reviewed_at FROM jit.requests WHERE id = :orphan;
DROP TABLE t;

-- What has been decided, cancelled or has lapsed stays so: 55000, by whom and (in the DETAIL, not shown here) when.
\pset tuples_only on
\pset format unaligned
-- What is on record, readable by all here: every refusal can show that nothing changed.
CREATE VIEW record AS SELECT format('requests: %s; %s reviews, %s grants, %s endings, %s events',
    (SELECT string_agg(id || ' ' || state, ', ' ORDER BY id) FROM jit.requests), (SELECT count(*) FROM jit.reviews),
    (SELECT count(*) FROM jit.grants), (SELECT count(*) FROM jit.endings), (SELECT count(*) FROM jit.events));
GRANT SELECT ON record TO PUBLIC;
SELECT jit.create_scope('support', '{"key_type": "int", "approvers": {"support_lead": 1}}');
SELECT jit.create_scope('two', '{"key_type": "int", "approvers": {"support_lead": 2}}');
\c - alice
SELECT jit_request('support', 'refund', key => k::text) FROM generate_series(1, 5) k;
\c - bob
SELECT jit_approve(1);
SELECT jit_deny(2, 'no');
\c - alice
SELECT jit_cancel(3);
\set VERBOSITY terse
TABLE record;

-- Approved: by nobody again, not by the one who did it nor by another; not denied, not cancelled.
\c - bob
SELECT jit_approve(1); \echo :SQLSTATE
SELECT jit_deny(1, 'changed my mind'); \echo :SQLSTATE
\c - dave
SELECT jit_approve(1); \echo :SQLSTATE
SELECT jit_deny(1, 'no'); \echo :SQLSTATE
\c - alice
SELECT jit_cancel(1); \echo :SQLSTATE
TABLE record;
-- Denied.
SELECT jit_cancel(2); \echo :SQLSTATE
\c - bob
SELECT jit_approve(2); \echo :SQLSTATE
SELECT jit_deny(2, 'no again'); \echo :SQLSTATE
\c - dave
SELECT jit_approve(2); \echo :SQLSTATE
TABLE record;
-- Cancelled.
SELECT jit_approve(3); \echo :SQLSTATE
SELECT jit_deny(3, 'no'); \echo :SQLSTATE
\c - alice
SELECT jit_cancel(3); \echo :SQLSTATE
TABLE record;
-- Whoever is not entitled is told so, and nothing about the state: a stranger, the requester herself, a superuser.
\c - frank
SELECT jit_approve(1); \echo :SQLSTATE
SELECT jit_deny(2, 'no'); \echo :SQLSTATE
SELECT jit_approve(3); \echo :SQLSTATE
SELECT jit_cancel(1); \echo :SQLSTATE
SELECT jit_release(1); \echo :SQLSTATE
SELECT jit_release(2); \echo :SQLSTATE
SELECT jit_revoke(2, 'no'); \echo :SQLSTATE
\c - alice
SELECT jit_approve(1); \echo :SQLSTATE
SELECT jit_deny(2, 'no'); \echo :SQLSTATE
\c - postgres
SELECT jit_approve(1); \echo :SQLSTATE
TABLE record;
-- No such request; none named. 42704 and 22023.
\c - bob
\set VERBOSITY default
SELECT jit_approve(999); \echo :SQLSTATE
SELECT jit_approve(0); \echo :SQLSTATE
SELECT jit_approve(-9223372036854775808); \echo :SQLSTATE
SELECT jit_deny(999, 'no'); \echo :SQLSTATE
SELECT jit_approve(NULL); \echo :SQLSTATE
SELECT jit_deny(NULL, 'no'); \echo :SQLSTATE
\c - alice
SELECT jit_cancel(999); \echo :SQLSTATE
SELECT jit_cancel(NULL); \echo :SQLSTATE
TABLE record;
-- When it was decided is in the DETAIL.
\c - postgres
CREATE FUNCTION detail(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    detail text;
BEGIN
    EXECUTE statement;
    RETURN 'done';
EXCEPTION WHEN object_not_in_prerequisite_state THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    RETURN regexp_replace(detail, '\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?\+00', 'TIME');
END
$$;
\c - alice
SELECT detail('SELECT jit_cancel(1)'), detail('SELECT jit_cancel(2)'), detail('SELECT jit_cancel(3)');

-- Lapsed. Its time is over from the moment on, whether or not the worker has come by; in one transaction,
-- so that it cannot.
\c - postgres
\set ON_ERROR_ROLLBACK on
BEGIN;
UPDATE jit_private.requests SET lapses_at = clock_timestamp() - interval '1 second' WHERE id = 4;
SET SESSION AUTHORIZATION bob;
SELECT count(*) FROM jit.pending WHERE id = 4;
SELECT jit_approve(4); \echo :SQLSTATE
SELECT jit_deny(4, 'no'); \echo :SQLSTATE
SET SESSION AUTHORIZATION alice;
SELECT jit_cancel(4); \echo :SQLSTATE
SELECT id, state, time_left FROM jit.my_requests WHERE id = 4;
TABLE record;
-- It does not stand in the way of asking again; then it is on record as lapsed.
SELECT jit_request('support', 'refund', key => '4') > 4;
TABLE record;
RESET SESSION AUTHORIZATION;
SELECT state, decided_at IS NOT NULL, decided_by FROM jit.requests WHERE id = 4;
SELECT kind, request_id, login, actor, details FROM jit.events ORDER BY id DESC LIMIT 2;
ROLLBACK;
\unset ON_ERROR_ROLLBACK
-- The worker puts it on record by itself; a yes that was given before does not help.
\c - alice
SELECT jit_request('two', 'refund', key => '1') AS id \gset
\c - bob
SELECT jit_approve(:id);
\c - postgres
UPDATE jit_private.requests SET lapses_at = clock_timestamp() WHERE id = :id;
-- Wakes the worker.
SELECT jit.alter_scope('two', '{"description": "wake up"}');
CREATE PROCEDURE wait_for_lapse(request bigint) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 3000 LOOP
        PERFORM FROM jit.requests WHERE id = request AND state = 'lapsed';
        EXIT WHEN FOUND;
        COMMIT;
        PERFORM pg_sleep(0.01);
    END LOOP;
END
$$;
CALL wait_for_lapse(:id);
\set VERBOSITY terse
\c - dave
SELECT jit_approve(:id); \echo :SQLSTATE
SELECT jit_deny(:id, 'no'); \echo :SQLSTATE
\c - alice
SELECT jit_cancel(:id); \echo :SQLSTATE
SELECT state FROM jit.my_requests WHERE id = :id;
TABLE record;
\c - postgres
SELECT kind, login, actor FROM jit.events WHERE request_id = :id ORDER BY id;

-- A decision that fails with its transaction leaves it pending.
\c - bob
BEGIN;
SELECT jit_approve(5);
ROLLBACK;
BEGIN;
SAVEPOINT a;
SELECT jit_approve(5);
ROLLBACK TO a;
COMMIT;
BEGIN;
SELECT jit_approve(5);
SELECT 1 / 0;
COMMIT;
SELECT id FROM jit.pending ORDER BY id;
\c - alice
SELECT jit_active('support', 5);
TABLE record;
\c - bob
BEGIN;
SAVEPOINT a;
SELECT jit_approve(5);
RELEASE a;
COMMIT;
\c - alice
SELECT jit_active('support', 5);

-- More time for the same grant: a request of its own, approved by the same rules, up to max_total.

SELECT jit.create_scope('s', '{"key_type": "int", "max_duration": "2 hours", "max_total": "3 hours", "approvers": {"support_lead": 1}}');
SELECT jit.create_scope('short', '{"key_type": "int", "max_duration": "2 hours", "approvers": {"support_lead": 1}}');
\c - alice
SELECT jit_request('s', 'refund', key => '1', duration => '1 hour') AS id \gset
SELECT jit_extend(:id, '1 hour', 'not yet approved'); \echo :SQLSTATE
\c - bob
SELECT jit_approve(:id);
\c - alice
SELECT jit_extend(:id, '1 hour', 'takes longer') AS more \gset
SELECT id, state FROM jit.my_requests ORDER BY id;
-- It is one grant, as long as before until somebody says yes.
\c - postgres
SELECT id, ends_at - starts_at AS lasts FROM jit.grants;
\c - alice
SELECT jit_approve(:more); \echo :SQLSTATE
SELECT jit_extend(:id, '1 hour', 'again'); \echo :SQLSTATE
-- The approver may shorten.
\c - bob
SELECT id, duration, extends FROM jit.pending;
SELECT jit_approve(:more, duration => '2 hours'); \echo :SQLSTATE
SELECT jit_approve(:more, 'half of it', duration => '30 minutes');
\c - postgres
SELECT id, ends_at - starts_at AS lasts, approved_by::regrole[] FROM jit.grants;
SELECT kind, login, details - 'ends_at' - 'ended_at' - 'starts_at' AS details FROM jit.events WHERE request_id = :more ORDER BY id;
-- Up to max_total, extensions included.
\c - alice
SELECT jit_extend(:id, '2 hours', 'even longer'); \echo :SQLSTATE
SELECT jit_extend(:id, '3 hours', 'even longer'); \echo :SQLSTATE
SELECT jit_extend(:id, '1 hour 30 minutes', 'even longer') AS more2 \gset
\c - dave
SELECT jit_approve(:more2);
\c - postgres
SELECT id, ends_at - starts_at AS lasts, approved_by::regrole[] FROM jit.grants;
\c - alice
SELECT jit_extend(:id, '1 minute', 'just a little'); \echo :SQLSTATE
-- An extension has no grant of its own.
SELECT jit_release(:more); \echo :SQLSTATE
SELECT jit_extend(:more, '1 minute', 'just a little'); \echo :SQLSTATE
SELECT jit_active('s', 1);
\c - bob
SELECT jit_revoke(:more, 'enough'); \echo :SQLSTATE
SELECT jit_revoke(:id, 'enough');
\c - alice
SELECT jit_active('s', 1);
\set VERBOSITY terse
SELECT jit_extend(:id, '1 minute', 'just a little'); \echo :SQLSTATE
\set VERBOSITY default

-- Without max_total, no longer than one request may ask for.
SELECT jit_request('short', 'refund', key => '1', duration => '1 hour') AS id \gset
\c - bob
SELECT jit_approve(:id);
\c - alice
SELECT jit_extend(:id, '1 hour 1 second', 'takes longer'); \echo :SQLSTATE
SELECT jit_extend(:id, '1 hour', 'takes longer') AS more \gset
-- Rules that get stricter meanwhile: the grant gets no longer than they allow.
\c - postgres
SELECT jit.alter_scope('short', '{"max_duration": "90 minutes"}');
\c - bob
SELECT jit_approve(:more);
\c - postgres
SELECT id, ends_at - starts_at AS lasts FROM jit.grants WHERE scope = 'short';
-- So strict that it would get no longer at all.
\c - alice
SELECT jit_request('short', 'refund', key => '2', duration => '1 hour') AS id \gset
\c - bob
SELECT jit_approve(:id);
\c - alice
SELECT jit_extend(:id, '30 minutes', 'takes longer') AS more \gset
\c - postgres
SELECT jit.alter_scope('short', '{"max_duration": "1 hour"}');
\c - bob
SELECT jit_approve(:more); \echo :SQLSTATE
\c - alice
SELECT state FROM jit.my_requests WHERE id = :more;
SELECT ends_at - starts_at AS lasts FROM jit.my_grants WHERE id = :id;

-- What has ended meanwhile never comes back.
\c - alice
SELECT jit_request('s', 'refund', key => '2', duration => '1 hour') AS id \gset
\c - bob
SELECT jit_approve(:id);
\c - alice
SELECT jit_extend(:id, '1 hour', 'takes longer') AS more \gset
SELECT jit_release(:id);
\c - bob
\set VERBOSITY terse
SELECT jit_approve(:more); \echo :SQLSTATE
\set VERBOSITY default
\c - alice
SELECT jit_active('s', 2);
SELECT state FROM jit.my_requests WHERE id = :more;

-- Who approved it is not served by it.
\c - postgres
GRANT oncall TO alice;
\c - alice
SELECT jit_request('s', 'tonight', key => '3', grantee => 'oncall', duration => '1 hour') AS id \gset
\c - bob
SELECT jit_approve(:id);
\c - alice
SELECT jit_extend(:id, '1 hour', 'takes longer') AS more \gset
\c - dave
SELECT jit_approve(:more);
\c - postgres
GRANT oncall TO dave;
\c - dave
SELECT jit_active('s', 3);
\c - alice
SELECT jit_active('s', 3);

-- Not in a transaction that somebody could commit at any time later.
SELECT jit_extend(:id, '30 minutes', 'takes longer') AS more \gset
\c - bob
BEGIN;
SELECT jit_approve(:more);
PREPARE TRANSACTION 'extension'; \echo :SQLSTATE
ROLLBACK;

-- It is a request like the first one: its reason has the form that the scope asks for, a no is followed by a pause, and it counts
-- among those that are pending.
\c - postgres
SELECT jit.create_scope('few', '{"key_type": "int", "requesters": ["oncall"], "reason_pattern": "^T-[0-9]+", "max_pending": 2,
                                 "denial_pause": "1 day", "approvers": {"support_lead": 1}}');
\c - alice
SELECT jit_request('few', 'T-1', key => '1', duration => '1 hour') AS own \gset
SELECT jit_request('few', 'T-1', key => '2', grantee => 'oncall', duration => '1 hour') AS teams \gset
\c - bob
SELECT jit_approve(:own), jit_approve(:teams);
\c - alice
SELECT jit_extend(:own, '1 hour', 'takes longer'); \echo :SQLSTATE
SELECT jit_extend(:own, '1 hour', 'T-1') AS more \gset
\c - bob
SELECT jit_deny(:more, 'that was enough');
\c - alice
-- Detail and hint tell a time.
DO $$
DECLARE hint text;
BEGIN
    PERFORM jit_extend(id, '1 hour', 'T-1') FROM jit.my_grants WHERE scope = 'few' AND key = '1';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RAISE NOTICE '% %. %', SQLSTATE, SQLERRM, regexp_replace(hint, ' at [-0-9T:.+]+', ' at (a time)');
END $$;
SELECT jit_request('few', 'T-1', key => '3') AS a, jit_request('few', 'T-1', key => '4') AS b \gset
SELECT jit_extend(:teams, '1 hour', 'T-1'); \echo :SQLSTATE
-- And whoever has lost the role asks for no more of what they have.
\c - postgres
REVOKE oncall FROM alice;
\c - alice
SELECT jit_extend(:teams, '1 hour', 'T-1'); \echo :SQLSTATE
SELECT jit_extend(:own, '1 hour', 'T-1'); \echo :SQLSTATE
SELECT jit_active('few', 1), jit_active('few', 2);
\c - postgres
GRANT oncall TO alice;

-- Bad input, and other people's.
\c - carol
SELECT jit_extend(:id, '1 hour', 'mine now'); \echo :SQLSTATE
\c - alice
SELECT jit_extend(NULL, '1 hour', 'x'); \echo :SQLSTATE
SELECT jit_extend(:id, NULL, 'x'); \echo :SQLSTATE
SELECT jit_extend(:id, '1 hour', NULL); \echo :SQLSTATE
SELECT jit_extend(:id, '0', 'x'); \echo :SQLSTATE
SELECT jit_extend(:id, '-1 hour', 'x'); \echo :SQLSTATE
SELECT jit_extend(:id, '1 month', 'x'); \echo :SQLSTATE
SELECT jit_extend(:id, '1 hour', ''); \echo :SQLSTATE
SELECT jit_extend(-1, '1 hour', 'x'); \echo :SQLSTATE
\c - postgres
SELECT jit.alter_scope('s', '{"max_total": "1 hour"}'); \echo :SQLSTATE
REVOKE oncall FROM alice, dave;

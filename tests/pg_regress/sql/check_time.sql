-- A grant serves if and only if starts_at <= clock < ends_at, on the database's own clock at the moment of the check.

SELECT jit.create_scope('s', '{"key_type": "int", "approvers": {"support_lead": 1}, "on_end": "none"}');
CREATE TABLE t (k int);
INSERT INTO t SELECT generate_series(1, 10);
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY jit ON t USING (jit_active('s', k));
GRANT SELECT ON t TO PUBLIC;

-- Waits for a point in time, not for a length of it, and to the moment: nobody has put an ending on record by then. It runs no
-- statement of its own, which might be one too many in a transaction whose grant ends meanwhile.
CREATE FUNCTION wait_until(at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    slept text;
BEGIN
    WHILE clock_timestamp() < at LOOP
        IF at - clock_timestamp() > '30 milliseconds' THEN slept := pg_sleep(0.01); END IF;
    END LOOP;
END $$;

\c - alice
SELECT jit_request('s', 'test', key => '1') AS r \gset
\c - bob
SELECT jit_approve(:r);

-- The window starts with the approval, and is as long as was asked for.
\c - alice
SELECT starts_at <= clock_timestamp() AS has_begun, ends_at - starts_at AS length FROM jit.my_grants WHERE id = :r;
SELECT jit_active('s', 1);

-- Both ends of the window, moved by a superuser in transactions of their own. The start belongs to it …
\c - postgres
UPDATE jit_private.grants SET starts_at = clock_timestamp() + '1 hour', ends_at = clock_timestamp() + '2 hours';
\c - alice
SELECT jit_active('s', 1), jit_keys('s', NULL::int), count(*) FROM t;
\c - postgres
UPDATE jit_private.grants SET starts_at = clock_timestamp();
\c - alice
SELECT jit_active('s', 1), jit_keys('s', NULL::int), count(*) FROM t;
-- … the end does not.
\c - postgres
UPDATE jit_private.grants SET ends_at = clock_timestamp();
\c - alice
SELECT jit_active('s', 1), jit_keys('s', NULL::int), count(*) FROM t;

-- Inside one transaction a grant that ends is denied from then on, though now() stands still. The transaction has asked about
-- another key, and has not used the grant.
SELECT jit_request('s', 'test', key => '2', duration => '3 seconds') AS r \gset
\c - bob
SELECT jit_approve(:r);
\c - alice
SELECT ends_at FROM jit.my_grants WHERE id = :r \gset
SELECT jit_active('s', 2), jit_keys('s', NULL::int), count(*) FROM t;
BEGIN;
SELECT jit_active('s', 1), now() < :'ends_at' AS before_the_end;
SELECT wait_until(:'ends_at');
SELECT jit_active('s', 2), jit_keys('s', NULL::int), now() < :'ends_at' AS before_the_end;
SELECT count(*) FROM t;
COMMIT;

-- So it is inside one DO block, where statement_timestamp() stands still as well. The block has used the grant, so that
-- expressions are all that it can go on with: a statement is refused, not just denied …
SELECT jit_request('s', 'test', key => '3', duration => '3 seconds') AS r \gset
\c - bob
SELECT jit_approve(:r);
\c - alice
SELECT ends_at FROM jit.my_grants WHERE id = :r \gset
SELECT set_config('test.ends_at', :'ends_at', false) IS NOT NULL AS set;
DO $$
DECLARE
    ends_at timestamptz := current_setting('test.ends_at');
BEGIN
    RAISE NOTICE 'active: %, keys: %, rows: %', jit_active('s', 3), jit_keys('s', NULL::int), (SELECT count(*) FROM t);
    PERFORM wait_until(ends_at);
    RAISE NOTICE 'active: %, keys: %, statement began before the end: %',
        jit_active('s', 3), jit_keys('s', NULL::int), statement_timestamp() < ends_at;
    BEGIN
        PERFORM count(*) FROM t;
        RAISE NOTICE 'not refused';
    EXCEPTION WHEN query_canceled THEN
        RAISE NOTICE '% %', SQLSTATE, SQLERRM;
    END;
    RAISE NOTICE 'active: %', jit_active('s', 3);
END $$;

-- … and inside one SELECT, from one row to the next, with an old snapshot. The next SELECT is refused.
SELECT jit_request('s', 'test', key => '4', duration => '3 seconds') AS r \gset
\c - bob
SELECT jit_approve(:r);
\c - alice
SELECT ends_at FROM jit.my_grants WHERE id = :r \gset
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT step, CASE step WHEN 'wait' THEN wait_until(:'ends_at')::text ELSE jit_active('s', 4)::text END AS active
  FROM unnest(ARRAY['before', 'wait', 'after']) step;
\set VERBOSITY terse
SELECT jit_active('s', 4); \echo :SQLSTATE
ROLLBACK;
\set VERBOSITY default
SELECT jit_active('s', 4);

-- A scheduled grant starts by itself, inside an open transaction as well, and is as long as was asked for.
SELECT clock_timestamp() + '3 seconds' AS starts_at \gset
SELECT jit_request('s', 'test', key => '5', starts_at => :'starts_at') AS r \gset
\c - bob
SELECT jit_approve(:r);
\c - alice
SELECT state, starts_at = :'starts_at' AS as_asked, ends_at - starts_at AS length FROM jit.my_grants WHERE id = :r;
BEGIN;
SELECT jit_active('s', 5), jit_keys('s', NULL::int);
SELECT wait_until(:'starts_at');
SELECT jit_active('s', 5), jit_keys('s', NULL::int);
SELECT count(*) FROM t;
COMMIT;
SELECT state FROM jit.my_grants WHERE id = :r;
-- Given back, it has ended, and an earlier start does not bring it back.
SELECT jit_release(:r);
SELECT jit_active('s', 5);
\c - postgres
UPDATE jit_private.grants SET ends_at = clock_timestamp() + '5 hours', tidied_at = NULL WHERE id = :r;
\c - alice
SELECT jit_active('s', 5);

-- Two grants of one key that overlap are independent: the later end counts.
SELECT jit_request('s', 'test', key => '6', duration => '3 seconds') AS short \gset
\c - bob
SELECT jit_approve(:short);
\c - alice
SELECT jit_request('s', 'test', key => '6') AS long \gset
\c - bob
SELECT jit_approve(:long);
\c - alice
SELECT ends_at FROM jit.my_grants WHERE id = :short \gset
SELECT wait_until(:'ends_at');
SELECT jit_active('s', 6), jit_keys('s', NULL::int);
SELECT jit_release(:long);
SELECT jit_active('s', 6), jit_keys('s', NULL::int);

-- A start that has passed by the time of the approval: the window begins with the approval.
SELECT clock_timestamp() + '1 second' AS starts_at \gset
SELECT jit_request('s', 'test', key => '7', starts_at => :'starts_at') AS r \gset
SELECT wait_until(:'starts_at');
\c - bob
SELECT jit_approve(:r);
\c - alice
SELECT starts_at > :'starts_at' AS later, ends_at - starts_at AS length, state FROM jit.my_grants WHERE id = :r;
SELECT jit_active('s', 7);

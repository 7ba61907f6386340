-- A session that changes its role keeps its plans: those made for somebody who holds keys must not be used for a holder of all rows.
-- PostgreSQL knows plans by the current user, which in a SECURITY DEFINER function is the owner, whoever calls it.

SELECT jit.create_scope('s', '{"key_type": "int", "allow_all_rows": true, "approvers": {"support_lead": 1}}');
CREATE TABLE t AS SELECT i AS id, nullif(i / 10, 9) AS k FROM generate_series(10, 10009) i;
CREATE INDEX t_k ON t (k);
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY jit ON t USING (jit_active('s', k));
GRANT SELECT ON t TO PUBLIC;
VACUUM ANALYZE t;
-- nora may act as either, and inherits from neither: she holds all rows, one of them a key, the other nothing.
CREATE ROLE clerk;
CREATE ROLE nobody_yet;
CREATE ROLE nora LOGIN NOINHERIT IN ROLE clerk, nobody_yet;
CREATE SCHEMA code;
GRANT ALL ON SCHEMA code TO clerk, nora, nobody_yet;
-- Functions of each of them: as the caller, as the owner, and one inside the other.
DO $$
DECLARE r text;
BEGIN
    FOREACH r IN ARRAY ARRAY['clerk', 'nora', 'nobody_yet', 'postgres'] LOOP
        EXECUTE format('SET LOCAL ROLE %I', r);
        EXECUTE format($f$ CREATE FUNCTION code.%s_definer() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN (SELECT count(*) FROM t WHERE jit_active(''s'', k)); END' $f$, r);
        EXECUTE format($f$ CREATE FUNCTION code.%s_invoker() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM t WHERE jit_active(''s'', k)); END' $f$, r);
        EXECUTE format($f$ CREATE FUNCTION code.%1$s_nested() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN code.%1$s_invoker(); END' $f$, r);
        EXECUTE format($f$ CREATE FUNCTION code.%s_sql() RETURNS bigint LANGUAGE sql VOLATILE SECURITY DEFINER AS 'SELECT count(*) FROM t WHERE jit_active(''s'', k)' $f$, r);
        RESET ROLE;
    END LOOP;
    CREATE FUNCTION code.cross_nested() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN code.clerk_invoker(); END';
    ALTER FUNCTION code.cross_nested() OWNER TO clerk;
END $$;

\c - nora
SELECT jit_request('s', 'test', all_rows => true);
SELECT jit_request('s', 'test', key => '7', grantee => 'clerk');
\c - bob
SELECT count(jit_approve(id)) FROM jit.pending;

\c - nora
SET plan_cache_mode = force_generic_plan;
\pset tuples_only on
PREPARE t AS SELECT count(*) FROM t;
PREPARE clause AS SELECT count(*) FROM t WHERE jit_active('s', k);
\set look 'EXECUTE t; EXECUTE clause; SELECT code.clerk_definer(), code.clerk_nested(), code.cross_nested(), code.clerk_invoker(), code.clerk_sql(), code.nora_definer(), code.nora_nested(), code.nora_invoker(), code.postgres_definer(), code.nobody_yet_nested();'
:look
SET ROLE clerk;
:look
RESET ROLE;
:look
SET ROLE nobody_yet;
:look
SET ROLE clerk;
:look
SET ROLE nora;
:look
EXPLAIN (COSTS OFF) EXECUTE clause;
SET ROLE clerk;
EXPLAIN (COSTS OFF) EXECUTE clause;

-- A role for one transaction, as connection pools set it. The first statement after it is a function that was planned in it.
\c - nora
SET plan_cache_mode = force_generic_plan;
BEGIN;
SET LOCAL ROLE clerk;
SELECT code.clerk_definer(), code.clerk_nested();
COMMIT;
SELECT code.clerk_definer(), code.clerk_nested();
\c - nora
SET plan_cache_mode = force_generic_plan;
BEGIN;
SET LOCAL ROLE clerk;
SELECT code.clerk_definer(), code.clerk_nested();
ROLLBACK;
SELECT code.clerk_definer(), code.clerk_nested();
\c - nora
SET plan_cache_mode = force_generic_plan;
BEGIN;
SAVEPOINT a;
SET LOCAL ROLE clerk;
SELECT code.clerk_definer(), code.clerk_nested();
ROLLBACK TO a;
SELECT code.clerk_definer(), code.clerk_nested();
COMMIT;
-- A function that was called by the role itself is found again where one of the role's calls it.
\c - nora
SET plan_cache_mode = force_generic_plan;
BEGIN;
SET LOCAL ROLE clerk;
SELECT code.clerk_invoker();
COMMIT;
SELECT code.clerk_nested();
-- One that an error takes back.
\c - nora
SET plan_cache_mode = force_generic_plan;
SET ROLE clerk\; SELECT code.clerk_definer(), code.clerk_nested()\; SELECT 1 / 0;
SELECT code.clerk_definer(), code.clerk_nested();
\c - nora
SET plan_cache_mode = force_generic_plan;
DO $$
BEGIN
    BEGIN
        SET LOCAL ROLE clerk;
        RAISE NOTICE 'clerk: %, %', code.clerk_definer(), code.clerk_nested();
        RAISE division_by_zero;
    EXCEPTION WHEN division_by_zero THEN
        NULL;
    END;
    RAISE NOTICE 'nora: %, %', code.clerk_definer(), code.clerk_nested();
END $$;

-- SET SESSION AUTHORIZATION, which only a superuser's session can use.
\c - postgres
SET plan_cache_mode = force_generic_plan;
SET SESSION AUTHORIZATION clerk;
SELECT code.clerk_definer(), code.clerk_nested();
SET SESSION AUTHORIZATION nora;
SELECT code.clerk_definer(), code.clerk_nested();
RESET SESSION AUTHORIZATION;
SELECT code.clerk_definer(), code.clerk_nested();
RESET ALL;
DROP OWNED BY nora, clerk, nobody_yet;
DROP ROLE nora, clerk, nobody_yet;

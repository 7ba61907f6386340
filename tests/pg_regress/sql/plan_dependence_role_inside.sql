-- The role changes in the middle of a statement, and what was planned for the one before runs as the other.

SELECT jit.create_scope('s', '{"key_type": "int", "allow_all_rows": true, "approvers": {"support_lead": 1}}');
CREATE TABLE t AS SELECT i AS id, i / 10 AS k FROM generate_series(10, 10009) i;
CREATE INDEX t_k ON t (k);
GRANT SELECT ON t TO PUBLIC;
VACUUM ANALYZE t;
CREATE ROLE everybody;
CREATE ROLE nora LOGIN NOINHERIT IN ROLE everybody;
GRANT CREATE ON SCHEMA public TO nora;
\c - nora
SELECT jit_request('s', 'test', key => '7');
SELECT jit_request('s', 'test', all_rows => true, grantee => 'everybody');
\c - bob
SELECT count(jit_approve(id)) FROM jit.pending;
\c - nora
CREATE FUNCTION definer() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN RETURN (SELECT count(*) FROM t WHERE jit_active('s', k)); END $$;
CREATE FUNCTION as_everybody() RETURNS bigint LANGUAGE plpgsql SET role = 'everybody' AS $$ BEGIN RETURN definer(); END $$;
CREATE FUNCTION sets_role() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN SET LOCAL ROLE everybody; RETURN definer(); END $$;

\c - nora
SET plan_cache_mode = force_generic_plan;
SELECT definer() AS before, as_everybody() AS inside, definer() AS after;
\c - nora
SET plan_cache_mode = force_generic_plan;
BEGIN;
SELECT definer() AS before, sets_role() AS inside, definer() AS after;
ROLLBACK;
SELECT definer();
\c - nora
SET plan_cache_mode = force_generic_plan;
BEGIN;
SELECT definer() AS before, set_config('role', 'everybody', true), definer() AS after;
ROLLBACK;
SELECT definer();
\c - postgres
DROP OWNED BY nora;
DROP ROLE nora, everybody;

-- A call remembers what its scope means only where the scope is a constant, and only for as long as it means that.

SELECT jit.create_scope(name, '{"key_type": "int", "approvers": {"support_lead": 1}}') FROM unnest(ARRAY['a', 'b', 'c']) name;
CREATE TABLE t (scope text, k int);
INSERT INTO t SELECT s, k FROM unnest(ARRAY['a', 'b', 'c', NULL]) s, generate_series(1, 3) k;
GRANT ALL ON t TO PUBLIC;
GRANT CREATE ON SCHEMA public TO alice;

-- alice: key 1 of scope a, key 2 of scope b, nothing of c. support: key 3 of a.
\c - alice
SELECT jit_request('a', 'test', key => '1'), jit_request('b', 'test', key => '2') AS b, jit_request('a', 'test', key => '3', grantee => 'support') \gset
\c - bob
SELECT jit_approve(id) FROM jit.pending ORDER BY id;
\c - alice

-- PL/pgSQL keeps the expression and changes the parameter.
CREATE FUNCTION asks(scope text, k int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN jit_active(scope, k); END $$;
SELECT asks('a', 1), asks('b', 1), asks('c', 1), asks('b', 2), asks('a', 2), asks('no such', 1), asks(NULL, 1), asks('a', 1);
SELECT s, asks(s, 1) FROM unnest(ARRAY['a', 'b', 'a', NULL, 'c', 'b', 'a']) s;
-- The same in a loop, within one call.
DO $$
DECLARE s text; answers text := '';
BEGIN
    FOREACH s IN ARRAY ARRAY['a', 'b', 'a', NULL, 'c', 'a'] LOOP
        answers := answers || format('%s:%s ', coalesce(s, 'NULL'), jit_active(s, 1));
    END LOOP;
    RAISE NOTICE '%', answers;
END $$;
-- An SQL function, inlined.
CREATE FUNCTION inlined(scope text, k int) RETURNS boolean STABLE LANGUAGE sql AS 'SELECT jit_active($1, $2)';
SELECT inlined('a', 1), inlined('b', 1), inlined('b', 2), (SELECT array_agg(inlined(s, 1)) FROM unnest(ARRAY['a', 'b', 'a']) s);

-- A prepared statement whose scope is a parameter, as custom and as generic plan.
PREPARE asked (text, int) AS SELECT jit_active($1, $2), jit_keys($1, NULL::int);
SET plan_cache_mode = force_custom_plan;
EXECUTE asked ('a', 1);
EXECUTE asked ('b', 1);
SET plan_cache_mode = force_generic_plan;
EXECUTE asked ('a', 1);
EXECUTE asked ('b', 1);
EXECUTE asked ('b', 2);
EXECUTE asked (NULL, 1);
EXECUTE asked ('c', 1);
EXECUTE asked ('a', 1);

-- Several scopes in one statement, as constants and from a column.
SELECT k, jit_active('a', k) AS a, jit_active('b', k) AS b, jit_active('c', k) AS c FROM generate_series(1, 3) k;
SELECT scope, k, jit_active(scope, k) FROM t ORDER BY scope, k;
SELECT scope, jit_keys(scope, NULL::int) FROM t GROUP BY scope ORDER BY scope;
SELECT k FROM t WHERE scope = 'a' AND (jit_active('a', k) OR jit_active('b', k)) ORDER BY k;

-- Prepared with a constant scope: it follows the role that executes it.
PREPARE constant AS SELECT array_agg(k ORDER BY k) FROM t WHERE scope = 'a' AND jit_active('a', k);
EXECUTE constant;
SET ROLE support;
EXECUTE constant;
RESET ROLE;
EXECUTE constant;
-- In one statement as well: a function that changes the role between two rows.
CREATE FUNCTION become(who text, k int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('role', who, true); RETURN k; END $$;
BEGIN;
SELECT who, jit_active('a', become(who, 1)) FROM unnest(ARRAY['alice', 'support', 'alice']) who;
SELECT who, jit_active('a', become(who, 3)) FROM unnest(ARRAY['alice', 'support', 'alice']) who;
COMMIT;

-- A scope that is altered between two executions.
\c - postgres
SET plan_cache_mode = force_generic_plan;
PREPARE constant AS SELECT array_agg(k ORDER BY k) FROM t WHERE scope = 'b' AND jit_active('b', k);
SET SESSION AUTHORIZATION alice;
EXECUTE constant;
RESET SESSION AUTHORIZATION;
SELECT jit.alter_scope('b', '{"description": "other rules, same grants"}');
SET SESSION AUTHORIZATION alice;
EXECUTE constant;
RESET SESSION AUTHORIZATION;
SELECT jit.alter_scope('b', '{"enabled": false}');
SET SESSION AUTHORIZATION alice;
EXECUTE constant;
RESET SESSION AUTHORIZATION;
-- Dropped, and made anew with keys of another kind: now the statement is a mistake.
SELECT jit.drop_scope('b');
SET SESSION AUTHORIZATION alice;
EXECUTE constant;
RESET SESSION AUTHORIZATION;
SELECT jit.create_scope('b', '{"key_type": "uuid", "approvers": {"support_lead": 1}}');
SET SESSION AUTHORIZATION alice;
EXECUTE constant;
RESET SESSION AUTHORIZATION;
SELECT jit.drop_scope('b');
SELECT jit.create_scope('b', '{"key_type": "bigint", "approvers": {"support_lead": 1}}');
SET SESSION AUTHORIZATION alice;
EXECUTE constant;
SELECT jit_request('b', 'test', key => '3') AS r \gset
SET SESSION AUTHORIZATION bob;
SELECT jit_approve(:r);
SET SESSION AUTHORIZATION alice;
EXECUTE constant;
RESET SESSION AUTHORIZATION;

-- An open cursor: what has not been fetched yet is checked when it is.
SET SESSION AUTHORIZATION alice;
BEGIN;
DECLARE c CURSOR FOR SELECT k FROM (VALUES (3), (3), (3)) v (k) WHERE jit_active('b', k);
FETCH 1 FROM c;
SELECT jit_release(:r);
FETCH ALL FROM c;
COMMIT;
RESET SESSION AUTHORIZATION;

-- DROP EXTENSION and CREATE EXTENSION in one session: nothing of the old one answers.
PREPARE anything AS SELECT jit_active('a', 1), jit_keys('a', NULL::int);
SET SESSION AUTHORIZATION alice;
EXECUTE anything;
SELECT asks('a', 1);
RESET SESSION AUTHORIZATION;
DROP EXTENSION jit_rls;
EXECUTE anything;
CREATE EXTENSION jit_rls;
SET SESSION AUTHORIZATION alice;
EXECUTE anything;
SELECT asks('a', 1);
RESET SESSION AUTHORIZATION;
-- A scope and a request of the same name and number as before.
SELECT jit.create_scope('a', '{"key_type": "int", "approvers": {"support_lead": 1}}');
SET SESSION AUTHORIZATION alice;
EXECUTE anything;
SELECT jit_request('a', 'test', key => '1');
SET SESSION AUTHORIZATION bob;
SELECT jit_approve(1);
SET SESSION AUTHORIZATION alice;
EXECUTE anything;
SELECT asks('a', 1), asks('a', 3);
RESET SESSION AUTHORIZATION;

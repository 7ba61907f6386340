-- A policy clause that looks at no column is decided once for a scan, by a One-Time Filter. Which clauses are: those that consist of
-- our calls alone. Everybody else's are evaluated for each row, as ever.

SELECT jit.create_scope(s, '{"approvers": {"support_lead": 1}}') FROM unnest(ARRAY['oncall', 'audit']) s;
SELECT jit.create_scope('s', '{"key_type": "int", "allow_all_rows": true, "approvers": {"support_lead": 1}}');
CREATE TABLE t AS SELECT i AS id, i % 10 AS v, CASE WHEN i % 100 = 0 THEN 'frank' ELSE 'nobody' END AS owner FROM generate_series(1, 1000) i;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
GRANT SELECT ON t TO PUBLIC;
ANALYZE t;
-- The same, by policies that can never be gated: the clause looks at a column, to no effect.
CREATE TABLE r AS TABLE t;
ALTER TABLE r ENABLE ROW LEVEL SECURITY;
GRANT SELECT ON r TO PUBLIC;
-- Somebody else's functions.
CREATE FUNCTION stable_true() RETURNS bool STABLE LANGUAGE plpgsql AS 'BEGIN RETURN true; END';
CREATE FUNCTION volatile_true() RETURNS bool VOLATILE LANGUAGE plpgsql AS 'BEGIN RETURN true; END';
CREATE FUNCTION volatile_key() RETURNS int VOLATILE LANGUAGE plpgsql AS 'BEGIN RETURN 7; END';
CREATE FUNCTION like_ours(text) RETURNS bool STABLE LANGUAGE sql AS $$ SELECT public.jit_active($1) $$;

-- Makes the policies of both tables: what they are, for SELECT, with the column added to each call for the second.
CREATE FUNCTION policies(VARIADIC clauses text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE p text; clause text; i int := 0; tab text;
BEGIN
    FOR tab, p IN SELECT polrelid::regclass, polname FROM pg_policy LOOP
        EXECUTE format('DROP POLICY %I ON %s', p, tab);
    END LOOP;
    FOREACH clause IN ARRAY clauses LOOP
        i := i + 1;
        FOREACH tab IN ARRAY ARRAY['t', 'r'] LOOP
            EXECUTE format('CREATE POLICY p%s ON %s AS %s USING (%s)', i, tab,
                CASE WHEN clause LIKE 'RESTRICTIVE %' THEN 'RESTRICTIVE' ELSE 'PERMISSIVE' END,
                CASE tab WHEN 't' THEN replace(clause, 'RESTRICTIVE ', '')
                         ELSE regexp_replace(replace(clause, 'RESTRICTIVE ', ''), $re$'(oncall|audit|s)'$re$, $re$'\1' || left(owner, 0)$re$, 'g') END);
        END LOOP;
    END LOOP;
END $$;
-- The plan, and the numbers of rows that are seen with it and with the other.
CREATE FUNCTION look() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE line text; seen bigint; same bigint;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) SELECT * FROM t' LOOP
        -- As written since 17.
        line := regexp_replace(line, ' \(returns \$\d+\)', '');
        RETURN NEXT regexp_replace(line, '\$0\M', '(InitPlan 1).col1');
    END LOOP;
    SELECT count(*) INTO seen FROM t;
    SELECT count(*) INTO same FROM r;
    RETURN NEXT format('-- %s rows, and %s by row', seen, same);
END $$;
CREATE FUNCTION explained(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE 'EXPLAIN (COSTS OFF) ' || query;
END $$;

\c - alice
SELECT jit_request('oncall', 'test');
SELECT jit_request('s', 'test', key => '7');
\c - carol
SELECT jit_request('audit', 'test');
SELECT jit_request('s', 'test', all_rows => true);
\c - bob
SELECT count(jit_approve(id)) FROM jit.pending;
\pset tuples_only on

-- One clause.
\c - postgres
SELECT policies($$jit_active('oncall')$$);
SET SESSION AUTHORIZATION alice; SELECT look();
SET SESSION AUTHORIZATION carol; SELECT look();
RESET SESSION AUTHORIZATION;
-- Two permissive ones, which are joined by OR.
SELECT policies($$jit_active('oncall')$$, $$jit_active('audit')$$);
SET SESSION AUTHORIZATION alice; SELECT look();
SET SESSION AUTHORIZATION frank; SELECT look();
RESET SESSION AUTHORIZATION;
-- A restrictive one of ours.
SELECT policies($$jit_active('oncall')$$, $$RESTRICTIVE jit_active('audit')$$);
SET SESSION AUTHORIZATION alice; SELECT look();
RESET SESSION AUTHORIZATION;
SELECT policies($$true$$, $$RESTRICTIVE jit_active('audit')$$);
SET SESSION AUTHORIZATION alice; SELECT look();
SET SESSION AUTHORIZATION carol; SELECT look();
RESET SESSION AUTHORIZATION;
-- As a subquery, alone and with another.
SELECT policies($$(SELECT jit_active('oncall'))$$);
SET SESSION AUTHORIZATION alice; SELECT look();
SET SESSION AUTHORIZATION carol; SELECT look();
RESET SESSION AUTHORIZATION;
SELECT policies($$(SELECT jit_active('oncall')) OR jit_active('audit')$$);
SET SESSION AUTHORIZATION alice; SELECT look();
SET SESSION AUTHORIZATION carol; SELECT look();
SET SESSION AUTHORIZATION frank; SELECT look();
RESET SESSION AUTHORIZATION;
-- NOT, AND, = true.
SELECT policies($$NOT jit_active('oncall')$$);
SET SESSION AUTHORIZATION alice; SELECT look();
SET SESSION AUTHORIZATION carol; SELECT look();
RESET SESSION AUTHORIZATION;
SELECT policies($$NOT (jit_active('oncall') AND NOT jit_active('audit')) AND (jit_active('audit') = true)$$);
SET SESSION AUTHORIZATION alice; SELECT look();
SET SESSION AUTHORIZATION carol; SELECT look();
RESET SESSION AUTHORIZATION;
-- A key that is no column's: a constant, a setting, a role.
SELECT policies($$jit_active('s', 7)$$);
SET SESSION AUTHORIZATION alice; SELECT look();
SET SESSION AUTHORIZATION carol; SELECT look();
SET SESSION AUTHORIZATION frank; SELECT look();
RESET SESSION AUTHORIZATION;
SELECT policies($$jit_active('s', nullif(current_setting('test.key', true), '')::int)$$);
SET SESSION AUTHORIZATION alice; SELECT look();
SET test.key = 7;
SELECT look();
SET test.key = 8;
SELECT look();
SET SESSION AUTHORIZATION carol; SELECT look();
RESET SESSION AUTHORIZATION;
-- A scope that is no constant, and one that does not exist.
SELECT policies($$jit_active(current_setting('test.scope', true))$$, $$jit_active('no such')$$);
SET SESSION AUTHORIZATION alice; SELECT look();
SET test.scope = 'oncall';
SELECT look();
RESET SESSION AUTHORIZATION;

-- With a condition on a row in the same policy, which stays where it is.
SELECT policies($$jit_active('oncall') AND owner = 'frank'$$);
SET SESSION AUTHORIZATION alice; SELECT look();
SET SESSION AUTHORIZATION carol; SELECT look();
RESET SESSION AUTHORIZATION;
SELECT policies($$jit_active('oncall')$$, $$RESTRICTIVE owner = 'frank'$$);
SET SESSION AUTHORIZATION alice; SELECT look();
RESET SESSION AUTHORIZATION;

-- Not gated: OR with a column, …
SELECT policies($$jit_active('oncall') OR owner = current_user$$);
SET SESSION AUTHORIZATION alice; SELECT look();
SET SESSION AUTHORIZATION frank; SELECT look();
RESET SESSION AUTHORIZATION;
SELECT policies($$jit_active('oncall')$$, $$owner = current_user$$);
SET SESSION AUTHORIZATION alice; SELECT look();
SET SESSION AUTHORIZATION frank; SELECT look();
RESET SESSION AUTHORIZATION;
-- … anything of somebody else's, …
SELECT policies($$jit_active('oncall') OR pg_has_role('support_lead', 'MEMBER')$$);
SET SESSION AUTHORIZATION alice; SELECT look();
SET SESSION AUTHORIZATION bob; SELECT look();
RESET SESSION AUTHORIZATION;
SELECT policies($$jit_active('oncall') AND stable_true()$$);
SET SESSION AUTHORIZATION alice; SELECT look();
RESET SESSION AUTHORIZATION;
SELECT policies($$jit_active('oncall') OR NOT volatile_true()$$);
SET SESSION AUTHORIZATION alice; SELECT look();
RESET SESSION AUTHORIZATION;
SELECT policies($$coalesce(jit_active('oncall'), false)$$);
SET SESSION AUTHORIZATION alice; SELECT look();
RESET SESSION AUTHORIZATION;
SELECT policies($$stable_true()$$);
SET SESSION AUTHORIZATION alice; SELECT look();
RESET SESSION AUTHORIZATION;
-- … a key that may be another each time, or that a subquery finds.
SELECT policies($$jit_active('s', volatile_key())$$);
SET SESSION AUTHORIZATION alice; SELECT look();
RESET SESSION AUTHORIZATION;
SELECT policies($$(SELECT jit_active('oncall') FROM pg_class LIMIT 1)$$);
SET SESSION AUTHORIZATION alice; SELECT look();
RESET SESSION AUTHORIZATION;
-- A function that says no more than ours is one of ours where PostgreSQL puts ours in its place.
SELECT policies($$like_ours('oncall')$$);
SET SESSION AUTHORIZATION alice; SELECT look();
SET SESSION AUTHORIZATION carol; SELECT look();
RESET SESSION AUTHORIZATION;
-- min() and max() by an index, which PostgreSQL plans as a query of its own: nobody walks over all of it to be denied.
CREATE INDEX t_id ON t (id);
SELECT policies($$(SELECT jit_active('oncall'))$$);
SET SESSION AUTHORIZATION frank;
SELECT line ~ 'One-Time Filter' AS gated FROM explained('SELECT max(id) FROM t') line WHERE line ~ 'Filter';
SELECT max(id) IS NULL FROM t;
SET SESSION AUTHORIZATION alice;
SELECT max(id), min(id) FROM t;

-- ANALYZE, CREATE INDEX, REFRESH MATERIALIZED VIEW and autovacuum run what the owners of tables have written, in the session of whoever
-- maintains. It sees nothing there of what that session may see, and decides nothing.

SELECT jit.create_scope('s', '{"key_type": "int", "approvers": {"support_lead": 1}}');
CREATE TABLE t AS SELECT k FROM generate_series(1, 5) k;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY jit ON t USING (jit_active('s', k));
CREATE POLICY keys ON t USING (k = ANY (jit_keys('s', NULL::int)));
GRANT SELECT ON t TO PUBLIC;
CREATE ROLE maintainers;
CREATE ROLE maintainer LOGIN IN ROLE maintainers, support_lead;
GRANT maintainers TO carol, alice;
CREATE SCHEMA m AUTHORIZATION maintainers;
\c - alice
SELECT jit_request('s', 'confidential', key => '1') AS granted \gset
SELECT jit_request('s', 'confidential', key => '2') AS pending \gset
\c - bob
SELECT jit_approve(:granted);

\c - postgres
GRANT CREATE ON SCHEMA public TO alice;
\c - alice
CREATE FUNCTION rows_of_alice() RETURNS SETOF int LANGUAGE sql SECURITY DEFINER AS 'SELECT k FROM public.t';
-- Written by carol, of the group that owns the table.
\c - carol
SET ROLE maintainers;
CREATE TABLE m.loot (what text, seen text);
CREATE FUNCTION m.look() RETURNS void LANGUAGE plpgsql SET search_path = public AS $$
DECLARE
    what text;
    seen text;
BEGIN
    FOREACH what IN ARRAY ARRAY[
        'SELECT string_agg(k::text, '' '') FROM t', 'SELECT jit_keys(''s'', NULL::int)::text', 'SELECT jit_active(''s'', 1)::text',
        'SELECT string_agg(a::text, '' '') FROM jit.active_grants a', 'SELECT string_agg(p::text, '' '') FROM jit.pending p',
        'SELECT string_agg(r::text, '' '') FROM jit.my_requests r', 'SELECT string_agg(g::text, '' '') FROM jit.my_grants g',
        'SELECT string_agg(o::text, '' '') FROM jit.overdue_reviews o', 'SELECT string_agg(o::text, '' '') FROM jit.pending_reviews o',
        'SELECT string_agg(e::text, '' '') FROM jit_explain(''s'', ''1'') e', 'SELECT string_agg(e::text, '' '') FROM jit_explain(''s'', ''1'', ''alice'') e',
        'SELECT string_agg(k::text, '' '') FROM rows_of_alice() k', 'SELECT jit_approve(2)', 'SELECT jit_request(''s'', ''x'', key => ''3'')::text'] LOOP
        BEGIN
            EXECUTE what INTO seen;
        EXCEPTION WHEN OTHERS THEN
            seen := SQLERRM;
        END;
        INSERT INTO m.loot VALUES (what, seen);
    END LOOP;
END $$;
CREATE FUNCTION m.f(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN $1; END $$;
CREATE TABLE m.bait (i int);
INSERT INTO m.bait VALUES (1);
CREATE INDEX ON m.bait (m.f(i));
CREATE OR REPLACE FUNCTION m.f(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM m.look(); RETURN $1; END $$;

-- By somebody who holds a grant, by an approver, and by a superuser.
\c - alice
SELECT k FROM t;
ANALYZE m.bait;
SELECT what, seen FROM m.loot ORDER BY what, seen;
\c - maintainer
SELECT id = :pending AS sees FROM jit.pending;
ANALYZE m.bait;
\c - postgres
ANALYZE m.bait;
REINDEX TABLE m.bait;
SELECT what, seen, count(*) FROM m.loot GROUP BY what, seen ORDER BY what, seen;
SELECT state FROM jit.requests ORDER BY id;

-- A materialised view of one's own has what one sees.
\c - alice
CREATE MATERIALIZED VIEW own AS SELECT k, jit_active('s', k) AS active FROM t;
SELECT * FROM own;
REFRESH MATERIALIZED VIEW own;
SELECT * FROM own;
-- Somebody else's refresh of it has nothing.
\c - postgres
REFRESH MATERIALIZED VIEW own;
\c - alice
SELECT * FROM own;
SELECT k FROM t;
DROP MATERIALIZED VIEW own;
\c - postgres
DROP SCHEMA m CASCADE;
DROP FUNCTION rows_of_alice();
DROP TABLE t;
REVOKE CREATE ON SCHEMA public FROM alice;
DROP ROLE maintainer, maintainers;

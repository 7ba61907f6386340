-- The genetic optimiser tries joins out in memory that it throws away: what a plan depends on is not kept there. Any login could
-- else bring the server down.

SELECT jit.create_scope('s', '{"approvers": {"support_lead": 1}}');
CREATE TABLE a AS SELECT i AS id, i % 10 AS x FROM generate_series(1, 100) i;
CREATE TABLE b AS SELECT * FROM a;
CREATE TABLE c AS SELECT * FROM a;
CREATE TABLE d AS SELECT * FROM a;
GRANT SELECT ON a, b, c, d TO PUBLIC;
\c - alice
SET geqo_threshold = 2;
SET join_collapse_limit = 20;
SET from_collapse_limit = 20;
-- Estimated for the first time when two tables are joined.
DO $$
DECLARE
    line text;
BEGIN
    FOR n IN 1..50 LOOP
        PERFORM set_config('geqo_seed', (n / 50.0)::text, false);
        FOR line IN EXPLAIN SELECT count(*) FROM a, b, c, d WHERE a.id = b.id AND c.id = d.id AND (b.x = c.x OR jit_active('s')) AND (a.x = d.x OR jit_active('s')) LOOP
            NULL;
        END LOOP;
        FOR line IN EXPLAIN SELECT count(*) FROM a LEFT JOIN b ON a.id = b.id AND jit_active('s') JOIN c ON c.id = a.id LEFT JOIN d ON d.id = c.id AND jit_active('s') LOOP
            NULL;
        END LOOP;
    END LOOP;
END $$;
PREPARE q AS SELECT count(*) FROM a, b, c, d WHERE a.id = b.id AND c.id = d.id AND (b.x = c.x OR jit_active('s')) AND (a.x = d.x OR jit_active('s'));
EXECUTE q;
-- And the plan knows what it depends on.
SELECT jit_request('s', 'refund') AS id \gset
\setenv PGDATABASE :DBNAME
\! psql -X -q -At -U bob -c "SELECT jit_approve(1)"
EXECUTE q;

-- Somebody who may write all data, and would rather keep the access, can make its ending neither fail nor wait.

SELECT jit.create_scope('s', '{"key_type": "int", "approvers": {"support_lead": 1}}');
CREATE ROLE wanda LOGIN IN ROLE pg_write_all_data, pg_read_all_data;
\c - wanda
SELECT jit_request('s', 'test', key => k::text) FROM generate_series(1, 11) k;
\c - bob
SELECT jit_approve(id) FROM jit.pending ORDER BY id;

-- pg_write_all_data covers sequences. Endings have none; that of the events, put back, gives ids that are taken,
-- and put to its end begins again.
\c - wanda
SELECT jit_keys('s', NULL::int);
SELECT pg_get_serial_sequence('jit_private.events', 'id') AS events, (SELECT string_agg(c.relname, ' ' ORDER BY c.relname) FROM pg_class c
 WHERE c.relnamespace = 'jit_private'::regnamespace AND c.relkind = 'S') AS all;
SELECT setval('jit_private.events_id_seq', 1, false);
\c - bob
SELECT jit_revoke(1, 'test');
\c - wanda
SELECT setval('jit_private.events_id_seq', 9223372036854775807);
\c - bob
SELECT jit_revoke(2, 'test');
-- At the end of those that requests and reviews need nobody can ask or say yes; ending goes on.
\c - wanda
SELECT setval('jit_private.requests_id_seq', 9223372036854775807), setval('jit_private.reviews_id_seq', 9223372036854775807), setval('jit_private.scopes_id_seq', 2147483647);
SELECT jit_request('s', 'test', key => '99');
\c - bob
SELECT jit_revoke(3, 'test');
\c - wanda
SELECT jit_release(4);
SELECT jit_keys('s', NULL::int);

-- A transaction of theirs that stays open, having tried all it can. What of it is refused, and how, is told elsewhere
-- (privileges): here it only must not hold up those who end access.
\setenv PGDATABASE :DBNAME
\setenv PGUSER bob
\setenv PGCONNECT_TIMEOUT 5
\setenv PGOPTIONS '-c lock_timeout=5s'
\set VERBOSITY terse
CREATE FUNCTION pg_temp.attempt(statement text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
EXCEPTION WHEN OTHERS THEN
    NULL;
END $$;
-- Table locks: on the tables, on views over them, ours and one's own.
BEGIN;
DO $$
DECLARE
    relation regclass; mode text;
BEGIN
    FOR relation IN SELECT oid::regclass FROM pg_class WHERE relnamespace = 'jit_private'::regnamespace AND relkind IN ('r', 'v') LOOP
        FOREACH mode IN ARRAY '{ACCESS SHARE,ROW EXCLUSIVE,SHARE,ACCESS EXCLUSIVE}'::text[] LOOP
            PERFORM pg_temp.attempt(format('LOCK TABLE %s IN %s MODE', relation, mode));
        END LOOP;
        PERFORM pg_temp.attempt(format('TRUNCATE %s', relation));
        PERFORM pg_temp.attempt(format('DELETE FROM %s', relation));
        PERFORM pg_temp.attempt(format('CREATE TEMP TABLE blocker (id bigint REFERENCES %s)', relation));
        PERFORM pg_temp.attempt(format('CREATE TRIGGER t BEFORE INSERT ON %s EXECUTE FUNCTION suppress_redundant_updates_trigger()', relation));
        PERFORM pg_temp.attempt(format('CREATE RULE r AS ON INSERT TO %s DO INSTEAD NOTHING', relation));
    END LOOP;
END $$;
\! psql -X -q -At -c "SELECT FROM jit_revoke(5, 'test')"
COMMIT;
SELECT jit_keys('s', NULL::int);
BEGIN;
SELECT count(pg_temp.attempt(format('LOCK TABLE jit.%I IN %s MODE', name, mode))) AS tried
  FROM unnest('{scopes,approvers,requesters,requests,reviews,grants,endings,events}'::name[]) name, unnest('{SHARE,ACCESS EXCLUSIVE}'::text[]) mode;
\! psql -X -q -At -c "SELECT FROM jit_revoke(6, 'test')"
COMMIT;
SELECT jit_keys('s', NULL::int);
BEGIN;
SELECT count(pg_temp.attempt(format('LOCK TABLE jit.%I IN SHARE MODE', name))) AS tried
  FROM unnest('{pending,my_requests,my_grants,active_grants,advice}'::name[]) name;
\! psql -X -q -At -c "SELECT FROM jit_revoke(10, 'test')"
COMMIT;
SELECT jit_keys('s', NULL::int);
CREATE TEMP VIEW over AS SELECT * FROM jit_private.endings;
BEGIN;
SELECT count(pg_temp.attempt('LOCK TABLE over IN SHARE MODE')) AS tried;
\! psql -X -q -At -c "SELECT FROM jit_revoke(7, 'test')"
COMMIT;
SELECT jit_keys('s', NULL::int);
-- Row locks: through the tables, which show no rows, through the views, which do, and those of a foreign key.
BEGIN;
SELECT count(pg_temp.attempt(format('SELECT FROM %s FOR UPDATE', oid::regclass))) AS tried
  FROM pg_class WHERE relnamespace = 'jit_private'::regnamespace AND relkind IN ('r', 'v');
\! psql -X -q -At -c "SELECT FROM jit_revoke(8, 'test')"
COMMIT;
SELECT jit_keys('s', NULL::int);
BEGIN;
SELECT count(pg_temp.attempt(format('SELECT FROM jit.%I FOR UPDATE', name))) AS tried
  FROM unnest('{scopes,approvers,requesters,requests,reviews,grants,endings,events}'::name[]) name;
\! psql -X -q -At -c "SELECT FROM jit_revoke(9, 'test')"
\! psql -X -q -At -U postgres -c "SELECT FROM jit.alter_scope('s', '{\"enabled\": false}')"
COMMIT;
SELECT jit_keys('s', NULL::int);

-- Locks of maintenance commands, and on the extension itself, which the worker holds on to.
CREATE FUNCTION pg_temp.tells(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    RETURN 'done';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
CREATE FUNCTION pg_temp.mine() RETURNS int LANGUAGE sql AS 'SELECT 1';
BEGIN;
SELECT pg_temp.tells('REINDEX TABLE jit_private.endings');
SELECT pg_temp.tells('REINDEX INDEX jit_private.endings_grant');
SELECT pg_temp.tells('CLUSTER jit_private.endings USING endings_grant');
SELECT pg_temp.tells('ALTER FUNCTION pg_temp.mine() DEPENDS ON EXTENSION jit_rls');
SELECT pg_temp.tells('ALTER FUNCTION pg_temp.mine() NO DEPENDS ON EXTENSION jit_rls');
SELECT pg_temp.tells('ALTER FUNCTION pg_temp.mine() DEPENDS ON EXTENSION plpgsql');
SELECT mode FROM pg_locks WHERE locktype = 'object' AND classid = 'pg_extension'::regclass AND pid = pg_backend_pid()
   AND objid = (SELECT oid FROM pg_extension WHERE extname = 'jit_rls');
COMMIT;
\c - postgres
SELECT grant_id, kind, login FROM jit.endings ORDER BY at, grant_id;
-- The events are all there, whatever their numbers.
SELECT count(*), count(DISTINCT id) FROM jit.events;
SELECT kind, request_id FROM jit.events WHERE kind IN ('revoked', 'released', 'scope disabled') ORDER BY at, request_id;
DROP ROLE wanda;

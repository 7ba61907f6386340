-- Decisions are made only where the client's own statement calls them. Everything here is written by alice, who would
-- like bob, an approver, to say yes to her request without meaning to.
\pset tuples_only on
\pset format unaligned
-- What is on record, readable by all here: every refusal can show that nothing changed.
CREATE VIEW record AS SELECT format('requests: %s; %s reviews, %s grants, %s endings, %s events',
    (SELECT string_agg(id || ' ' || state, ', ' ORDER BY id) FROM jit.requests), (SELECT count(*) FROM jit.reviews),
    (SELECT count(*) FROM jit.grants), (SELECT count(*) FROM jit.endings), (SELECT count(*) FROM jit.events));
GRANT SELECT ON record TO PUBLIC;
SELECT jit.create_scope('support', '{"key_type": "int", "approvers": {"support_lead": 1}}');
CREATE SCHEMA trap AUTHORIZATION alice;
CREATE SCHEMA own AUTHORIZATION bob;
\c - alice
SELECT jit_request('support', 'refund', key => k::text) FROM generate_series(1, 14) k;
GRANT USAGE ON SCHEMA trap TO PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA trap GRANT ALL ON TABLES TO PUBLIC;
SET search_path = trap, public;

CREATE TABLE bait (id int, note text);
INSERT INTO bait VALUES (1, 'a');
CREATE VIEW in_view AS SELECT jit_approve(1);
CREATE VIEW in_where AS SELECT id FROM bait WHERE jit_approve(1) IS NOT NULL;
CREATE VIEW denies AS SELECT id FROM bait WHERE jit_deny(1, 'no') IS NOT NULL;
CREATE FUNCTION inlined() RETURNS text LANGUAGE sql AS 'SELECT jit_approve(1)';
CREATE FUNCTION inlined_table() RETURNS TABLE (answer text) LANGUAGE sql STABLE AS 'SELECT jit_approve(1)';
CREATE FUNCTION standard() RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT jit_approve(1); END;
CREATE FUNCTION not_inlined() RETURNS text LANGUAGE sql STRICT AS 'SELECT 1; SELECT jit_approve(1)';
CREATE FUNCTION performs() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM jit_approve(1); END $$;
-- An expression as simple as this is evaluated without the executor.
CREATE FUNCTION assigns() RETURNS text LANGUAGE plpgsql AS $$ DECLARE answer text; BEGIN answer := jit_approve(1); RETURN answer; END $$;
CREATE FUNCTION returns_it() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN jit_approve(1); END $$;
CREATE FUNCTION ifs() RETURNS text LANGUAGE plpgsql AS $$ BEGIN IF jit_approve(1) = 'approved' THEN RETURN 'yes'; END IF; RETURN 'no'; END $$;
CREATE FUNCTION loops() RETURNS text LANGUAGE plpgsql AS $$ DECLARE answer text; BEGIN FOR answer IN SELECT jit_approve(1) LOOP RETURN answer; END LOOP; END $$;
CREATE FUNCTION selects_into() RETURNS text LANGUAGE plpgsql AS $$ DECLARE answer text; BEGIN SELECT jit_approve(1) INTO answer; RETURN answer; END $$;
CREATE FUNCTION executes() RETURNS text LANGUAGE plpgsql AS $$ DECLARE answer text; BEGIN EXECUTE 'SELECT jit_approve(1)' INTO answer; RETURN answer; END $$;
CREATE FUNCTION swallows() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN jit_approve(1); EXCEPTION WHEN OTHERS THEN RETURN 'swallowed ' || SQLSTATE; END $$;
CREATE FUNCTION definer() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT jit_approve(1)';
CREATE FUNCTION opens() RETURNS text LANGUAGE plpgsql AS $$ DECLARE c refcursor; answer text; BEGIN OPEN c FOR SELECT jit_approve(1); FETCH c INTO answer; RETURN answer; END $$;
CREATE PROCEDURE calls() LANGUAGE plpgsql AS $$ BEGIN PERFORM jit_approve(1); END $$;
CREATE PROCEDURE calls_sql() LANGUAGE sql AS 'SELECT jit_approve(1)';
CREATE PROCEDURE takes(answer text) LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE FUNCTION fires() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := jit_approve(1); RETURN NEW; END $$;
CREATE FUNCTION fires_query() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM jit_approve(1); RETURN NULL; END $$;
CREATE TABLE before_row (id int, note text);
CREATE TRIGGER t BEFORE INSERT ON before_row FOR EACH ROW EXECUTE FUNCTION fires();
CREATE TABLE after_row (id int, note text);
CREATE TRIGGER t AFTER INSERT ON after_row FOR EACH ROW EXECUTE FUNCTION fires_query();
CREATE TABLE before_statement (id int, note text);
CREATE TRIGGER t BEFORE INSERT ON before_statement FOR EACH STATEMENT EXECUTE FUNCTION fires_query();
CREATE TABLE after_statement (id int, note text);
CREATE TRIGGER t AFTER INSERT ON after_statement FOR EACH STATEMENT EXECUTE FUNCTION fires_query();
CREATE TABLE deferred (id int, note text);
CREATE CONSTRAINT TRIGGER t AFTER INSERT ON deferred DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fires_query();
CREATE TABLE ruled (id int);
CREATE RULE r AS ON INSERT TO ruled DO ALSO SELECT jit_approve(1);
CREATE TABLE guarded (id int);
INSERT INTO guarded VALUES (1);
CREATE POLICY p ON guarded USING (jit_approve(1) IS NOT NULL);
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE TABLE defaulted (id int, note text DEFAULT jit_approve(1));
CREATE TABLE checked (id int, note text CHECK (jit_approve(1) IS NOT NULL));
CREATE MATERIALIZED VIEW stored AS SELECT jit_approve(1) WITH NO DATA;
GRANT SELECT ON stored TO PUBLIC;
CREATE FUNCTION pretends(int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN jit_approve(1); END $$;
-- IMMUTABLE with a constant: the planner runs it.
CREATE OPERATOR ~=~ (FUNCTION = pretends, RIGHTARG = int);
CREATE DOMAIN picky AS int CHECK (pretends(VALUE) IS NOT NULL);
CREATE FUNCTION adds(text, int) RETURNS text LANGUAGE sql AS 'SELECT jit_approve(1)';
CREATE AGGREGATE sums(int) (SFUNC = adds, STYPE = text);
TABLE record;

\c - bob
SET search_path = trap, public;
-- The first in full.
SELECT * FROM in_view; \echo :SQLSTATE
\set VERBOSITY terse
SELECT * FROM in_where; \echo :SQLSTATE
SELECT * FROM denies; \echo :SQLSTATE
SELECT inlined(); \echo :SQLSTATE
SELECT id, inlined() FROM bait; \echo :SQLSTATE
SELECT * FROM inlined_table(); \echo :SQLSTATE
SELECT standard(); \echo :SQLSTATE
SELECT not_inlined(); \echo :SQLSTATE
SELECT performs(); \echo :SQLSTATE
SELECT assigns(); \echo :SQLSTATE
SELECT returns_it(); \echo :SQLSTATE
SELECT ifs(); \echo :SQLSTATE
SELECT loops(); \echo :SQLSTATE
SELECT selects_into(); \echo :SQLSTATE
SELECT executes(); \echo :SQLSTATE
SELECT swallows(); \echo :SQLSTATE
SELECT definer(); \echo :SQLSTATE
SELECT opens(); \echo :SQLSTATE
SELECT ~=~ 1; \echo :SQLSTATE
SELECT 1::picky; \echo :SQLSTATE
SELECT pretends(1); \echo :SQLSTATE
SELECT sums(id) FROM bait; \echo :SQLSTATE
CALL calls(); \echo :SQLSTATE
CALL calls_sql(); \echo :SQLSTATE
DO $$ BEGIN PERFORM jit_approve(1); END $$; \echo :SQLSTATE
DO $$ DECLARE answer text; BEGIN answer := jit_approve(1); END $$; \echo :SQLSTATE
TABLE record;
-- Triggers, rules, policies, defaults, constraints of tables that bob writes to or reads.
INSERT INTO before_row VALUES (1); \echo :SQLSTATE
INSERT INTO after_row VALUES (1); \echo :SQLSTATE
INSERT INTO before_statement VALUES (1); \echo :SQLSTATE
INSERT INTO after_statement VALUES (1); \echo :SQLSTATE
INSERT INTO deferred VALUES (1); \echo :SQLSTATE
BEGIN; INSERT INTO deferred VALUES (1); COMMIT; \echo :SQLSTATE
INSERT INTO ruled VALUES (1); \echo :SQLSTATE
SELECT * FROM guarded; \echo :SQLSTATE
INSERT INTO defaulted (id) VALUES (1); \echo :SQLSTATE
INSERT INTO defaulted VALUES (1, DEFAULT); \echo :SQLSTATE
INSERT INTO checked VALUES (1); \echo :SQLSTATE
TABLE record;
-- Where the call is bob's own but what runs it is not the statement that he sends now.
PREPARE p AS SELECT jit_approve(1);
EXECUTE p; \echo :SQLSTATE
EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) EXECUTE p; \echo :SQLSTATE
BEGIN;
DECLARE c CURSOR FOR SELECT jit_approve(1);
FETCH c; \echo :SQLSTATE
ROLLBACK;
BEGIN;
DECLARE c CURSOR WITH HOLD FOR SELECT jit_approve(1);
COMMIT; \echo :SQLSTATE
CREATE VIEW own.mine AS SELECT jit_approve(1);
SELECT * FROM own.mine; \echo :SQLSTATE
CREATE FUNCTION own.mine() RETURNS text LANGUAGE sql AS 'SELECT jit_approve(1)';
SELECT own.mine(); \echo :SQLSTATE
COPY (SELECT jit_approve(1)) TO STDOUT;
CREATE TABLE own.copied AS SELECT jit_approve(1); \echo :SQLSTATE
CALL takes(jit_approve(1)); \echo :SQLSTATE
TABLE record;
-- Refused in an exception block, too, and the transaction goes on.
BEGIN;
SELECT swallows();
SELECT swallows();
COMMIT;
TABLE record;

-- Together with a call of bob's own, which stands in his statement where the trap has one in its text:
-- "SELECT jit_approve(" and "xyz := jit_approve(" both have it after seven characters.
\c - alice
SET search_path = trap, public;
CREATE FUNCTION same_place(bigint) RETURNS text LANGUAGE sql AS 'SELECT jit_approve($1)';
CREATE FUNCTION same_place_plpgsql(bigint) RETURNS text LANGUAGE plpgsql AS $$ DECLARE xyz text; BEGIN xyz := jit_approve($1); RETURN xyz; END $$;
-- These decide before they give bob a row; the others give him none.
CREATE VIEW first_theirs AS SELECT 5 AS id FROM bait WHERE same_place(1) IS NOT NULL;
CREATE VIEW first_theirs_plpgsql AS SELECT 5 AS id FROM bait WHERE same_place_plpgsql(1) IS NOT NULL;
CREATE VIEW only_theirs AS SELECT id FROM bait WHERE same_place(1) IS NULL;
CREATE VIEW only_theirs_plpgsql AS SELECT id FROM bait WHERE same_place_plpgsql(2) IS NULL;
GRANT SELECT ON first_theirs, first_theirs_plpgsql, only_theirs, only_theirs_plpgsql TO PUBLIC;
\c - bob
SET search_path = trap, public;
\set VERBOSITY terse
-- His own first, theirs first, only theirs.
SELECT jit_approve(5), same_place(1); \echo :SQLSTATE
SELECT jit_approve(5), same_place_plpgsql(1); \echo :SQLSTATE
SELECT jit_approve(id) FROM first_theirs; \echo :SQLSTATE
SELECT jit_approve(id) FROM first_theirs_plpgsql; \echo :SQLSTATE
SELECT jit_approve(id) FROM only_theirs; \echo :SQLSTATE
SELECT jit_approve(id) FROM only_theirs_plpgsql; \echo :SQLSTATE
SELECT jit_approve(5) WHERE same_place(3) IS NULL; \echo :SQLSTATE
TABLE record;
-- Two statements in one message: each is judged by itself.
SELECT jit_approve(5) \; SELECT same_place(1) \; SELECT 1; \echo :SQLSTATE
SELECT jit_approve(5) \; SELECT same_place_plpgsql(1) \; SELECT 1; \echo :SQLSTATE
SELECT jit_approve(5) WHERE false \; SELECT same_place(4) \; SELECT 1; \echo :SQLSTATE
TABLE record;

-- A look-alike that fits the arguments better, in a schema that stands first in his search_path: what bob calls by the
-- name of jit_approve decides nothing, least of all about another request.
\c - alice
SET search_path = trap, public;
CREATE FUNCTION jit_approve(integer) RETURNS text LANGUAGE sql AS 'SELECT public.jit_approve(3)';
CREATE FUNCTION jit_approve(smallint) RETURNS text LANGUAGE sql STABLE AS 'SELECT public.jit_approve($1::bigint)';
CREATE FUNCTION jit_approve(integer, integer) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN public.jit_approve(3); END $$;
CREATE FUNCTION jit_deny(integer, text) RETURNS void LANGUAGE sql AS 'SELECT public.jit_deny(3, $2)';
CREATE FUNCTION f(bigint) RETURNS text LANGUAGE sql AS 'SELECT public.jit_approve($1)';
CREATE FUNCTION f_table(bigint) RETURNS TABLE (id bigint) LANGUAGE sql STABLE AS 'SELECT 5 FROM bait WHERE public.jit_approve($1) IS NOT NULL';
CREATE FUNCTION f_set(bigint) RETURNS SETOF text LANGUAGE sql STABLE AS 'SELECT public.jit_approve($1)';
CREATE FUNCTION f_default(answer text DEFAULT public.jit_approve(3)) RETURNS text LANGUAGE sql AS 'SELECT answer';
-- Puts its call where bob's stands in his text, which everybody may read.
CREATE FUNCTION padded(bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    place int := position('jit_approve(' IN current_query());
    answer text;
BEGIN
    EXECUTE rpad('SELECT', place - 1) || 'jit_approve($1)' INTO answer USING $1;
    RETURN 5;
END $$;
CREATE FUNCTION padded_swallows(bigint) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    RETURN padded($1);
EXCEPTION WHEN insufficient_privilege THEN
    RETURN NULL;
END $$;
-- Runs his whole text once more.
CREATE FUNCTION again() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('trap.running', true) = 'yes' THEN RETURN NULL; END IF;
    PERFORM set_config('trap.running', 'yes', true);
    EXECUTE current_query();
    RETURN 'done';
EXCEPTION WHEN insufficient_privilege THEN
    RETURN 'refused';
END $$;
CREATE VIEW padded_view AS SELECT padded(3) AS id;
CREATE VIEW padded_swallows_view AS SELECT padded_swallows(3) AS id;
CREATE DOMAIN picky_itself AS bigint CHECK (public.jit_approve(VALUE) IS NOT NULL);
CREATE OPERATOR <~> (LEFTARG = bigint, RIGHTARG = text, FUNCTION = public.jit_deny);
CREATE FUNCTION opens_for_him() RETURNS refcursor LANGUAGE plpgsql AS $$ DECLARE c refcursor := 'c'; BEGIN OPEN c FOR SELECT public.jit_approve(3); RETURN c; END $$;
CREATE FUNCTION opens_padded() RETURNS refcursor LANGUAGE plpgsql AS $$ DECLARE c refcursor := 'c'; BEGIN OPEN c FOR EXECUTE 'SELECT 1 WHERE trap.padded_swallows(3) IS NOT NULL'; RETURN c; END $$;
CREATE FUNCTION executes_his(name text) RETURNS text LANGUAGE plpgsql AS $$ DECLARE answer text; BEGIN EXECUTE format('EXECUTE %I(3)', name) INTO answer; RETURN answer; END $$;
CREATE FUNCTION fires_quietly() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM public.jit_approve(3);
    RETURN NULL;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE NOTICE 'refused';
    RETURN NULL;
END $$;
CREATE TABLE deferred_quietly (id int);
CREATE CONSTRAINT TRIGGER t AFTER INSERT ON deferred_quietly DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fires_quietly();
CREATE TABLE partitioned (id bigint, note text DEFAULT public.jit_approve(3)) PARTITION BY LIST (id);
CREATE TABLE partitioned_1 PARTITION OF partitioned FOR VALUES IN (1);
GRANT SELECT ON padded_view, padded_swallows_view TO PUBLIC;
\c - bob
SET search_path = trap, public;
\set VERBOSITY terse
SELECT jit_approve(2); \echo :SQLSTATE
SELECT jit_approve(2::smallint); \echo :SQLSTATE
SELECT jit_approve(2, 3); \echo :SQLSTATE
SELECT jit_deny(2, 'no'); \echo :SQLSTATE
SELECT id, jit_approve(id) FROM bait; \echo :SQLSTATE
SELECT public.jit_approve(5, jit_approve(2)); \echo :SQLSTATE
TABLE record;
-- Theirs beside his own, in the same statement.
SELECT public.jit_approve(5) WHERE trap.f(3) IS NULL; \echo :SQLSTATE
SELECT public.jit_approve(5) FROM bait WHERE trap.f(id) IS NOT NULL; \echo :SQLSTATE
SELECT public.jit_approve(5) FROM f_table(3); \echo :SQLSTATE
SELECT public.jit_approve(id) FROM f_table(3); \echo :SQLSTATE
SELECT public.jit_approve(5), answer FROM f_set(3) answer; \echo :SQLSTATE
SELECT public.jit_approve(5), answer FROM bait, LATERAL f_set(bait.id) answer; \echo :SQLSTATE
SELECT public.jit_approve(5), f_set(3); \echo :SQLSTATE
SELECT public.jit_approve(5, f_default()); \echo :SQLSTATE
SELECT public.jit_approve(5, f(3)); \echo :SQLSTATE
SELECT public.jit_approve(5, comment => answer) FROM f_set(3) answer; \echo :SQLSTATE
SELECT public.jit_approve(3::picky_itself); \echo :SQLSTATE
SELECT 3::picky_itself; \echo :SQLSTATE
SELECT public.jit_approve(5) WHERE 3::bigint::picky_itself IS NOT NULL; \echo :SQLSTATE
SELECT 3::bigint <~> 'no'; \echo :SQLSTATE
SELECT public.jit_approve(id) FROM padded_view; \echo :SQLSTATE
SELECT public.jit_approve(id) FROM padded_swallows_view; \echo :SQLSTATE
TABLE record;
-- Where theirs swallows the refusal, his own decision stands, and theirs is none.
BEGIN;
SELECT public.jit_approve(5) WHERE padded_swallows(3) IS NULL;
TABLE record;
ROLLBACK;
BEGIN;
SELECT public.jit_approve(5), again();
TABLE record;
ROLLBACK;
INSERT INTO partitioned (id) VALUES (1); \echo :SQLSTATE
INSERT INTO partitioned (id) SELECT 1 WHERE public.jit_approve(5) IS NOT NULL; \echo :SQLSTATE
TABLE record;
-- Several statements in one message, with transactions of their own: what precedes his decision is not his decision.
BEGIN \; SELECT f(3) \; COMMIT \; SELECT public.jit_approve(5); \echo :SQLSTATE
ROLLBACK;
BEGIN \; INSERT INTO deferred VALUES (1) \; COMMIT \; SELECT public.jit_approve(5); \echo :SQLSTATE
TABLE record;
BEGIN \; INSERT INTO deferred_quietly VALUES (1) \; COMMIT \; BEGIN \; SELECT public.jit_approve(5) \; ROLLBACK; \echo :SQLSTATE
BEGIN \; SELECT padded_swallows(3) \; COMMIT \; BEGIN \; SELECT public.jit_approve(5) \; ROLLBACK; \echo :SQLSTATE
BEGIN \; SELECT 1 / 0 \; SELECT public.jit_approve(5); \echo :SQLSTATE
ROLLBACK \; SELECT f(3); \echo :SQLSTATE
TABLE record;
-- A cursor that a function has opened, fetched by himself.
BEGIN;
SELECT opens_for_him();
FETCH c; \echo :SQLSTATE
ROLLBACK;
BEGIN \; SELECT opens_for_him() \; FETCH ALL FROM c \; SELECT public.jit_approve(5); \echo :SQLSTATE
ROLLBACK;
BEGIN;
SELECT opens_padded();
FETCH c \; SELECT 'jit_approve(';
COMMIT;
TABLE record;
-- A function that executes what he has prepared.
PREPARE his(bigint) AS SELECT public.jit_approve($1);
SELECT executes_his('his'); \echo :SQLSTATE
SELECT public.jit_approve(5), executes_his('his'); \echo :SQLSTATE
SELECT public.jit_approve(5) WHERE executes_his('his') IS NOT NULL; \echo :SQLSTATE
EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) SELECT executes_his('his'); \echo :SQLSTATE
DEALLOCATE his;
TABLE record;
-- A deferred trigger, at COMMIT, when constraints become immediate, and when his statement ends; also after a decision of his own.
BEGIN;
INSERT INTO deferred VALUES (1);
SELECT public.jit_approve(5);
COMMIT; \echo :SQLSTATE
BEGIN;
INSERT INTO deferred VALUES (1);
SET CONSTRAINTS ALL IMMEDIATE; \echo :SQLSTATE
ROLLBACK;
INSERT INTO deferred SELECT 1 WHERE public.jit_approve(5) IS NOT NULL; \echo :SQLSTATE
TABLE record;
-- By a name that is spelt so that no look at the text finds it; but by quoted and qualified ones.
SELECT public.U&"jit\005fapprove"(5); \echo :SQLSTATE
BEGIN;
SELECT "public"."jit_approve"(5), public.JIT_APPROVE(4);
ROLLBACK;
TABLE record;

-- Admins' functions likewise: what an admin reads or calls changes no rules.
\c - alice
SET search_path = trap, public;
CREATE VIEW alters AS SELECT jit.alter_scope('support', '{"approvers": {"support": 1}}') IS NULL AS x;
CREATE VIEW creates AS SELECT jit.create_scope('mine', '{"approvers": {"support": 1}}') IS NULL AS x;
CREATE VIEW drops AS SELECT jit.drop_scope('support') IS NULL AS x;
CREATE FUNCTION alters() RETURNS void LANGUAGE sql AS $$ SELECT jit.alter_scope('support', '{"approvers": {"support": 1}}') $$;
CREATE FUNCTION alters_plpgsql() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM jit.alter_scope('support', '{"enabled": false}'); RETURN 1; END $$;
CREATE FUNCTION drops() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM jit.drop_scope('support'); RETURN NEW; END $$;
CREATE TABLE admins_write (id int DEFAULT alters_plpgsql());
CREATE TRIGGER t BEFORE INSERT ON admins_write FOR EACH ROW EXECUTE FUNCTION drops();
CREATE FUNCTION alter_scope(text, text) RETURNS void LANGUAGE sql AS $$ SELECT jit.alter_scope('support', '{"approvers": {"support": 1}}') $$;
\c - postgres
SET search_path = trap, jit, public;
SELECT * FROM alters; \echo :SQLSTATE
\set VERBOSITY terse
SELECT * FROM creates; \echo :SQLSTATE
SELECT * FROM drops; \echo :SQLSTATE
SELECT alters(); \echo :SQLSTATE
SELECT alters_plpgsql(); \echo :SQLSTATE
INSERT INTO admins_write VALUES (1); \echo :SQLSTATE
INSERT INTO admins_write DEFAULT VALUES; \echo :SQLSTATE
SELECT alter_scope('other', '{}'::text); \echo :SQLSTATE
SELECT jit.create_scope('other'), alters(); \echo :SQLSTATE
DO $$ BEGIN PERFORM jit.drop_scope('support'); END $$; \echo :SQLSTATE
PREPARE p AS SELECT jit.drop_scope('support');
EXECUTE p; \echo :SQLSTATE
BEGIN;
DECLARE c CURSOR FOR SELECT jit.drop_scope('support');
FETCH c; \echo :SQLSTATE
ROLLBACK;
CALL takes(jit.create_scope('other')::text); \echo :SQLSTATE
SELECT name, enabled FROM jit.scopes;
SELECT role, people FROM jit.approvers;
TABLE record;
-- Their own statements: in any form, and from other tables.
BEGIN;
SELECT jit.create_scope('scope.' || k, jsonb_build_object('key_type', 'int')) FROM generate_series(1, 2) k;
SELECT jit.alter_scope(name, '{"description": "x"}') FROM jit.scopes WHERE name LIKE 'scope.%';
WITH dropped AS (SELECT name, jit.drop_scope(name) FROM jit.scopes WHERE name = 'scope.1') SELECT name FROM dropped;
SELECT name, description, dropped_at IS NOT NULL FROM jit.scopes ORDER BY id;
ROLLBACK;
-- The setting is for them as well.
BEGIN;
SET LOCAL jit_rls.allow_indirect_decisions = on;
SELECT jit.create_scope('by.setting');
DO $$ BEGIN PERFORM jit.drop_scope('by.setting'); END $$;
ROLLBACK;
-- The look-alikes are gone before what follows.
DROP FUNCTION trap.jit_approve(integer), trap.jit_approve(smallint), trap.jit_approve(integer, integer), trap.jit_deny(integer, text), trap.alter_scope(text, text);

-- An index expression of alice's under a superuser's maintenance. This superuser is an approver.
\c - postgres
CREATE ROLE deliberate_chief LOGIN SUPERUSER IN ROLE support_lead;
\c - alice
SET search_path = trap, public;
CREATE TABLE indexed (id int);
CREATE FUNCTION harmless(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN $1; END $$;
CREATE INDEX indexed_expression ON indexed (harmless(id));
INSERT INTO indexed SELECT generate_series(1, 10);
CREATE OR REPLACE FUNCTION harmless(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM public.jit_approve(1); RETURN $1; END $$;
\c - deliberate_chief
\set VERBOSITY terse
SELECT id FROM jit.pending ORDER BY id;
ANALYZE trap.indexed; \echo :SQLSTATE
REINDEX TABLE trap.indexed; \echo :SQLSTATE
REFRESH MATERIALIZED VIEW trap.stored; \echo :SQLSTATE
TABLE record;

-- What works: the client's own call, in any form of a statement.
\c - bob
SET search_path = trap, public;
\set VERBOSITY terse
SELECT string_agg(id::text, ' ' ORDER BY id) FROM jit.pending;
SELECT jit_approve(1);
SELECT jit_approve(id) FROM jit.pending WHERE id = 2;
-- All at once, with a comment for each.
SELECT id, jit_approve(id, 'for ' || login) FROM jit.pending WHERE id IN (3, 4) ORDER BY id;
-- In a transaction block, by qualified name and named argument.
BEGIN;
SELECT public.jit_approve(comment => 'fine', request => 5);
COMMIT;
-- Where the answer is kept.
CREATE TABLE own.answers (id bigint, answer text);
INSERT INTO own.answers SELECT id, jit_approve(id) FROM jit.pending WHERE id = 6;
INSERT INTO own.answers VALUES (7, jit_approve(7));
WITH said AS (SELECT jit_approve(8) AS answer) INSERT INTO own.answers SELECT 8, answer FROM said;
UPDATE own.answers SET answer = jit_approve(9) WHERE id = 8 RETURNING answer;
SELECT * FROM own.answers ORDER BY id;
-- From several partitions, each of which has a plan of its own.
CREATE TABLE own.todo (id bigint) PARTITION BY RANGE (id);
CREATE TABLE own.todo_low PARTITION OF own.todo FOR VALUES FROM (0) TO (14);
CREATE TABLE own.todo_high PARTITION OF own.todo FOR VALUES FROM (14) TO (100);
INSERT INTO own.todo VALUES (13), (14);
SELECT id, jit_approve(id) FROM own.todo;
-- In FROM, in a subquery, under EXPLAIN ANALYZE, and one of several statements in a message.
SELECT * FROM jit_approve(10);
SELECT 1 \; SELECT (SELECT jit_approve(11)) \; SELECT 2;
EXPLAIN (ANALYZE) SELECT jit_approve(12) \g /dev/null
-- EXPLAIN alone decides nothing.
\c - alice
SELECT jit_request('support', 'refund', key => '15') AS id \gset
\c - bob
EXPLAIN (COSTS off) SELECT jit_approve(:id);
SELECT jit_approve(:id) WHERE false;
TABLE record;
SELECT jit_deny(:id, 'no');

-- The setting, for people who wrap the functions. Nobody but a superuser may touch it, by any way.
SHOW jit_rls.allow_indirect_decisions;
SET jit_rls.allow_indirect_decisions = on; \echo :SQLSTATE
SELECT set_config('jit_rls.allow_indirect_decisions', 'on', true); \echo :SQLSTATE
CREATE FUNCTION own.with_setting() RETURNS text LANGUAGE sql SET jit_rls.allow_indirect_decisions = on AS 'SELECT jit_approve(1)'; \echo :SQLSTATE
ALTER ROLE bob SET jit_rls.allow_indirect_decisions = on; \echo :SQLSTATE
SHOW jit_rls.allow_indirect_decisions;
-- Nor can anybody make up settings that look like ours.
SET jit_rls.allow_indirect_decision = on; \echo :SQLSTATE
\c - alice
SELECT jit_request('support', 'refund', key => k::text) FROM generate_series(21, 26) k;
\c - postgres
ALTER ROLE bob SET jit_rls.allow_indirect_decisions = on;
\c - bob
SELECT min(id) AS first FROM jit.pending \gset
CREATE FUNCTION own.wrapped(request bigint) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN 'wrapped: ' || jit_approve(request); END $$;
SELECT own.wrapped(:first);
DO $$ BEGIN PERFORM jit_approve(min(id)) FROM jit.pending; END $$;
PREPARE q(bigint) AS SELECT jit_approve($1);
SELECT min(id) AS first FROM jit.pending \gset
EXECUTE q(:first);
CREATE FUNCTION own.denies(request bigint) RETURNS void LANGUAGE sql AS $$ SELECT jit_deny(request, 'no') $$;
SELECT min(id) AS first FROM jit.pending \gset
SELECT own.denies(:first);
-- A SECURITY DEFINER function of another owner decides as its caller, never as its owner.
\c - postgres
SELECT min(id) AS first FROM jit.requests WHERE state = 'pending' \gset
CREATE FUNCTION own.by_definer(request bigint) RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT jit_approve(request)';
GRANT USAGE ON SCHEMA own TO PUBLIC;
ALTER FUNCTION own.by_definer(bigint) OWNER TO dave;
ALTER ROLE frank SET jit_rls.allow_indirect_decisions = on;
\c - frank
\set VERBOSITY terse
SELECT own.by_definer(:first); \echo :SQLSTATE
\c - bob
SELECT own.by_definer(:first);
\c - postgres
SELECT login, actor FROM jit.reviews ORDER BY id DESC LIMIT 1;
-- Maintenance decides nothing, whatever the setting.
ALTER ROLE deliberate_chief SET jit_rls.allow_indirect_decisions = on;
\c - deliberate_chief
\set VERBOSITY terse
SHOW jit_rls.allow_indirect_decisions;
TABLE record;
ANALYZE trap.indexed; \echo :SQLSTATE
REFRESH MATERIALIZED VIEW trap.stored; \echo :SQLSTATE
TABLE record;
\c - postgres
ALTER ROLE bob RESET jit_rls.allow_indirect_decisions;
ALTER ROLE frank RESET jit_rls.allow_indirect_decisions;
DROP ROLE deliberate_chief;

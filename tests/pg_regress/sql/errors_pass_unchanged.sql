-- Every statement passes through our hooks. What applications read in errors of statements that have nothing to do with us must be
-- there afterwards: names of constraint, table, column and type, position, context, DETAIL, HINT, SQLSTATE.

CREATE TABLE t (id int CONSTRAINT t_key PRIMARY KEY, n int NOT NULL CONSTRAINT positive CHECK (n > 0), other int CONSTRAINT other_key REFERENCES t);
CREATE DOMAIN small AS int CONSTRAINT smallness CHECK (value < 10);
INSERT INTO t VALUES (1, 1);
-- Says what it has been told of the error of a statement.
CREATE FUNCTION fields(statement text) RETURNS TABLE (field text, value text) LANGUAGE plpgsql AS $$
DECLARE
    a text; b text; c text; d text; e text; f text; g text; h text; i text; j text;
BEGIN
    EXECUTE statement;
    RAISE 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS a = returned_sqlstate, b = message_text, c = pg_exception_detail, d = pg_exception_hint, e = schema_name,
        f = table_name, g = column_name, h = constraint_name, i = pg_datatype_name, j = pg_exception_context;
    RETURN QUERY SELECT v.* FROM (VALUES ('sqlstate', a), ('message', b), ('detail', c), ('hint', d), ('schema', e), ('table', f),
        ('column', g), ('constraint', h), ('datatype', i), ('context', j)) v (field, value) WHERE v.value <> '';
END $$;
\pset format unaligned
\pset tuples_only on
SELECT * FROM fields('INSERT INTO t VALUES (1, 1)');
SELECT * FROM fields('INSERT INTO t VALUES (2, NULL)');
SELECT * FROM fields('UPDATE t SET n = -1');
SELECT * FROM fields('INSERT INTO t VALUES (2, 1, 99)');
SELECT * FROM fields('DO $do$ BEGIN PERFORM 10::small; END $do$');
-- Of deferred constraints, triggers after the statement, and commands.
ALTER TABLE t ALTER CONSTRAINT other_key DEFERRABLE INITIALLY DEFERRED;
SELECT * FROM fields('DO $do$ BEGIN INSERT INTO t VALUES (2, 1, 99); SET CONSTRAINTS ALL IMMEDIATE; END $do$');
SELECT * FROM fields('ALTER TABLE t ADD CONSTRAINT bigger CHECK (n > 5)');
SELECT * FROM fields('CREATE UNIQUE INDEX t_twice ON t ((id * 0), (1 / (id - 1)))');
SELECT * FROM fields('DROP DOMAIN smal');
CREATE FUNCTION raises() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE 'the message' USING ERRCODE = 'ZZ123', DETAIL = 'the detail', HINT = 'the hint', SCHEMA = 'the schema', TABLE = 'the table',
        COLUMN = 'the column', CONSTRAINT = 'the constraint', DATATYPE = 'the datatype';
END $$;
CREATE TRIGGER raises AFTER DELETE ON t FOR EACH ROW EXECUTE FUNCTION raises();
SELECT * FROM fields('DELETE FROM t');
SELECT * FROM fields('DO $do$ BEGIN DELETE FROM t; END $do$');
\pset tuples_only off
\pset format aligned

-- As psql shows them: the position in the statement, in that of a function's body, and inside commands.
SELECT 1 / 0, nope FROM t;
SELECT * FROM nowhere;
EXPLAIN SELECT nope FROM t;
CREATE VIEW v AS SELECT id, nope FROM t;
PREPARE p AS SELECT nope FROM t;
CREATE FUNCTION broken() RETURNS int LANGUAGE sql AS 'SELECT nope FROM t';
DO $$ BEGIN PERFORM nope FROM t; END $$;
DO $$ BEGIN nonsense; END $$;
COPY t FROM STDIN;
2	1	\N
3	x	\N
\.
-- The context, from the innermost to the outermost.
CREATE FUNCTION inner_one(i int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1 / i; END $$;
CREATE FUNCTION middle(i int) RETURNS int LANGUAGE sql AS 'SELECT inner_one(i) OFFSET 0';
CREATE PROCEDURE outer_one(i int) LANGUAGE plpgsql AS $$ BEGIN PERFORM middle(i); END $$;
CALL outer_one(0);
DO $$ BEGIN CALL outer_one(0); END $$;
DELETE FROM t;
-- Warnings and notices, on their way past.
DO $$ BEGIN RAISE WARNING 'the warning' USING DETAIL = 'the detail', HINT = 'the hint'; RAISE NOTICE 'the notice'; END $$;
-- A statement that is cancelled by its time limit.
SET statement_timeout = '50ms';
SELECT pg_sleep(60);
DO $$ BEGIN PERFORM pg_sleep(60); END $$;
\echo :LAST_ERROR_SQLSTATE
RESET statement_timeout;
-- In a policy, around the check: the check's own error and that of the column's expression.
SELECT jit.create_scope('s', '{"key_type": "int"}');
CREATE TABLE secured (k int, d int);
INSERT INTO secured VALUES (1, 0);
ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
CREATE POLICY jit ON secured USING (jit_active('s', k / d));
GRANT SELECT ON secured TO PUBLIC;
\c - alice
SELECT * FROM secured;
DO $$ BEGIN PERFORM * FROM secured; EXCEPTION WHEN division_by_zero THEN RAISE NOTICE 'caught'; END $$;
-- An error of ours, from inside a function: with the same fields, and its context.
DO $$ BEGIN PERFORM jit_request('no such', 'test'); END $$;
DO $$ BEGIN PERFORM jit_request('no such', 'test'); EXCEPTION WHEN undefined_object THEN RAISE NOTICE 'caught: %', sqlerrm; END $$;

-- An exception block that has caught one of ours leaves nothing behind: decisions are still possible at the top, and only there.
\c - postgres
SELECT jit.alter_scope('s', '{"approvers": {"support_lead": 1}}');
\c - alice
SELECT jit_request('s', 'test', key => '1') AS r \gset
\c - bob
\set VERBOSITY terse
DO $$ BEGIN PERFORM jit_approve(1); EXCEPTION WHEN insufficient_privilege THEN RAISE NOTICE 'caught: %', sqlerrm; END $$;
BEGIN;
SAVEPOINT a;
SELECT inner_one(0);
ROLLBACK TO a;
DO $$ BEGIN PERFORM inner_one(0); EXCEPTION WHEN division_by_zero THEN NULL; END $$;
SELECT jit_approve(:r);
COMMIT;

-- The views are security barriers: a function in somebody's WHERE, however cheap it says it is, meets no row that the view hides.

SELECT jit.create_scope('s', '{"key_type": "int", "approvers": {"support_lead": 1}}');
SELECT jit.create_scope('other', '{"key_type": "int", "approvers": {"security": 1}}');
SELECT jit_request('s', 'the superuser''s secret', key => '1');
\c - alice
SELECT jit_request('s', 'alice''s secret', key => '1') AS a, jit_request('other', 'alice''s other secret', key => '2') AS b \gset
\c - carol
SELECT jit_request('s', 'carol''s secret', key => '1') AS c, jit_request('s', 'carol''s secret', key => '2') AS d \gset
\c - bob
SELECT jit_approve(:a), jit_approve(:c);

-- The options are there, on all views of schema jit that show a session its own rows. The others show auditors all rows of a table.
SELECT relname, reloptions FROM pg_class WHERE relnamespace = 'jit'::regnamespace AND relkind = 'v' ORDER BY relname;

\c - postgres
CREATE FUNCTION leak(anyelement) RETURNS boolean COST 0.0000001 LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'saw %', $1; RETURN true; END $$;
-- Operators are functions as well.
CREATE FUNCTION leak(text, text) RETURNS boolean COST 0.0000001 LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'saw %', $1; RETURN true; END $$;
CREATE OPERATOR <<<>>> (LEFTARG = text, RIGHTARG = text, FUNCTION = leak, RESTRICT = eqsel);

-- frank is nobody: he sees nothing.
\c - frank
SELECT id FROM jit.pending WHERE leak(reason);
SELECT id FROM jit.pending WHERE reason <<<>>> 'x';
SELECT id FROM jit.my_requests WHERE leak(reason);
SELECT id FROM jit.my_grants WHERE leak(reason) AND leak(key);
SELECT id FROM jit.active_grants WHERE leak(grantee) AND leak(key);
SELECT count(*) FROM jit.pending p JOIN jit.active_grants g ON leak(p.reason) OR leak(g.key);
SELECT id FROM jit.my_requests WHERE CASE WHEN reason LIKE '%secret%' THEN 1 / (length(reason) - length(reason)) ELSE 1 END = 1;
-- carol sees hers alone; her two are the same, for nothing says which of them is met first.
\c - carol
SELECT id FROM jit.my_requests WHERE leak(reason) ORDER BY id;
SELECT id FROM jit.my_grants WHERE leak(reason);
SELECT id FROM jit.active_grants WHERE leak(grantee);
SELECT id FROM jit.pending WHERE leak(reason);
-- An approver sees what waits for them, not what waits for others.
\c - bob
SELECT id FROM jit.pending WHERE leak(reason) ORDER BY id;
SELECT id FROM jit.my_requests WHERE leak(reason);
SELECT id FROM jit.active_grants WHERE leak(grantee) ORDER BY id;
\c - erin
SELECT id FROM jit.pending WHERE leak(reason);
\c - frank
-- The functions that the views ask tell about the session alone.
SELECT id, jit.may_decide(id) FROM generate_series(0, 6) id;
SELECT id, jit.oversees(id) FROM generate_series(0, 3) id;
SELECT jit.may_decide(NULL), jit.oversees(NULL), jit.may_decide(9223372036854775807), jit.oversees(-1);

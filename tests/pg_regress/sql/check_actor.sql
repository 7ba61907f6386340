-- Whom a grant serves: the role the session acts as, with what that inherits.

SELECT jit.create_scope('s', '{"key_type": "int", "allow_all_rows": true, "approvers": {"support_lead": 1}}');
CREATE TABLE t (k int);
INSERT INTO t SELECT generate_series(1, 5);
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY jit ON t USING (jit_active('s', k));
GRANT SELECT ON t TO PUBLIC;
CREATE SCHEMA code AUTHORIZATION alice;
GRANT ALL ON SCHEMA code TO frank;
GRANT USAGE ON SCHEMA code TO PUBLIC;
CREATE ROLE noel LOGIN NOINHERIT IN ROLE support;
CREATE ROLE deputies IN ROLE support;
CREATE ROLE dora LOGIN IN ROLE deputies;
CREATE ROLE temps;
CREATE ROLE tim LOGIN IN ROLE temps;

-- Key 1 is alice's own, key 2 the group's.
\c - alice
SELECT jit_request('s', 'test', key => '1') AS own \gset
SELECT jit_request('s', 'test', key => '2', grantee => 'support') AS shared \gset
\c - bob
SELECT jit_approve(id) FROM jit.pending ORDER BY id;

-- Both serve alice; the group's serves whoever inherits from it, at any distance, and nobody else.
\c - alice
SELECT jit_keys('s', NULL::int);
\c - carol
SELECT jit_keys('s', NULL::int);
\c - dora
SELECT jit_keys('s', NULL::int);
\c - frank
SELECT jit_keys('s', NULL::int);

-- SET ROLE: the acting role counts, not the login.
\c - alice
SET ROLE support;
SELECT jit_keys('s', NULL::int), (SELECT array_agg(k) FROM t) AS rows;
RESET ROLE;
SELECT jit_keys('s', NULL::int), (SELECT array_agg(k) FROM t) AS rows;
-- SET LOCAL ends with the transaction, and SET in a savepoint with that.
BEGIN;
SET LOCAL ROLE support;
SELECT jit_active('s', 1), jit_active('s', 2);
SAVEPOINT a;
SET LOCAL ROLE alice;
SELECT jit_active('s', 1), jit_active('s', 2);
ROLLBACK TO a;
SELECT jit_active('s', 1), jit_active('s', 2);
COMMIT;
SELECT jit_active('s', 1), jit_active('s', 2);
-- A superuser who becomes somebody is served as they are.
\c - postgres
SET SESSION AUTHORIZATION alice;
SELECT jit_keys('s', NULL::int);
RESET SESSION AUTHORIZATION;
SET ROLE alice;
SELECT jit_keys('s', NULL::int);
RESET ROLE;

-- NOINHERIT: a member who does not inherit is not served before SET ROLE.
\c - noel
SELECT jit_keys('s', NULL::int);
SET ROLE support;
SELECT jit_keys('s', NULL::int);
RESET ROLE;
SELECT jit_keys('s', NULL::int);

-- Superusers hold nothing of ours: jit_active is false, and policies do not bind them anyway.
\c - postgres
SELECT jit_active('s'), jit_active('s', 1), jit_active('s', 2), jit_keys('s', NULL::int), (SELECT count(*) FROM t);

-- Nor do they belong to every group. What they are granted themselves serves them as anybody.
SELECT jit_request('s', 'test', key => '5', grantee => 'support');
SELECT jit_request('s', 'test', key => '4') AS four \gset
\c - bob
SELECT jit_approve(:four);
\c - postgres
SELECT jit_keys('s', NULL::int);

-- A SECURITY DEFINER function of the holder's does not lend rows …
\c - alice
CREATE FUNCTION code.alices_rows() RETURNS int[] LANGUAGE sql SECURITY DEFINER AS 'SELECT array_agg(k ORDER BY k) FROM t';
CREATE FUNCTION code.alices_keys() RETURNS int[] LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN RETURN jit_keys('s', NULL::int); END $$;
CREATE VIEW code.alices_view AS SELECT * FROM t;
GRANT SELECT ON code.alices_view TO PUBLIC;
SELECT code.alices_rows(), code.alices_keys(), (SELECT array_agg(k) FROM code.alices_view) AS view;
\c - frank
SELECT code.alices_rows(), code.alices_keys(), (SELECT array_agg(k) FROM code.alices_view) AS view;
\c - carol
SELECT code.alices_rows(), code.alices_keys(), (SELECT array_agg(k) FROM code.alices_view) AS view;
-- … nor does one inside another, called for each row.
\c - frank
CREATE FUNCTION code.franks(k int) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS
    $$ BEGIN RETURN jit_active('s', k) AND k = ANY (code.alices_keys()); END $$;
SELECT k, code.franks(k) FROM generate_series(1, 2) k;
-- An application's definer function works with its caller's grants.
\c - alice
SELECT k, code.franks(k) FROM generate_series(1, 2) k;
\c - carol
SELECT k, code.franks(k) FROM generate_series(1, 2) k;

-- A function with SET role acts as that role while it runs, and only then.
\c - alice
CREATE FUNCTION code.as_support() RETURNS int[] LANGUAGE sql SET role = 'support' AS $$ SELECT jit_keys('s', NULL::int) $$;
SELECT jit_keys('s', NULL::int) AS before, code.as_support(), jit_keys('s', NULL::int) AS after;
-- So does one that sets the role locally in its body, with a SET clause to undo it.
CREATE FUNCTION code.sets_role() RETURNS int[] LANGUAGE plpgsql SET role = 'alice' AS
    $$ BEGIN SET LOCAL ROLE support; RETURN jit_keys('s', NULL::int); END $$;
SELECT jit_keys('s', NULL::int) AS before, code.sets_role(), jit_keys('s', NULL::int) AS after, current_user;
-- One cannot become what one is not: frank gains nothing by calling it.
\c - frank
SELECT code.as_support();
-- In a definer function PostgreSQL lets nobody change the role.
\c - alice
CREATE FUNCTION code.definer_sets_role() RETURNS int[] LANGUAGE plpgsql SECURITY DEFINER AS
    $$ BEGIN SET LOCAL ROLE support; RETURN jit_keys('s', NULL::int); END $$;
\c - carol
SELECT code.definer_sets_role();

-- Memberships that change count at the next check of an open session, by a prepared statement as well.
\c - postgres
SET SESSION AUTHORIZATION carol;
PREPARE mine AS SELECT jit_active('s', 2), (SELECT array_agg(k) FROM t) AS rows;
EXECUTE mine;
RESET SESSION AUTHORIZATION;
REVOKE support FROM carol;
SET SESSION AUTHORIZATION carol;
EXECUTE mine;
RESET SESSION AUTHORIZATION;
GRANT support TO carol;
SET SESSION AUTHORIZATION carol;
EXECUTE mine;
RESET SESSION AUTHORIZATION;
-- The same by NOINHERIT, since 16 a matter of the membership rather than the role, and further away.
SELECT current_setting('server_version_num')::int < 160000 AS of_role \gset
\if :of_role
ALTER ROLE carol NOINHERIT;
\else
REVOKE INHERIT OPTION FOR support FROM carol;
\endif
SET SESSION AUTHORIZATION carol;
EXECUTE mine;
RESET SESSION AUTHORIZATION;
\if :of_role
ALTER ROLE carol INHERIT;
\else
GRANT support TO carol WITH INHERIT TRUE;
\endif
SET SESSION AUTHORIZATION dora;
EXECUTE mine;
RESET SESSION AUTHORIZATION;
REVOKE support FROM deputies;
SET SESSION AUTHORIZATION dora;
EXECUTE mine;
RESET SESSION AUTHORIZATION;
-- In one transaction, and taken back by ROLLBACK.
BEGIN;
REVOKE support FROM carol;
SET SESSION AUTHORIZATION carol;
EXECUTE mine;
ROLLBACK;
SET SESSION AUTHORIZATION carol;
EXECUTE mine;
RESET SESSION AUTHORIZATION;

-- A grant never serves somebody who approved it, not even as a later member of the group …
\c - postgres
GRANT support TO bob, dave;
\c - bob
SELECT jit_keys('s', NULL::int);
SET ROLE support;
SELECT jit_keys('s', NULL::int);
-- … but an approver who had no part in it.
\c - dave
SELECT jit_keys('s', NULL::int);
-- Nor by acting as the one who asked.
\c - postgres
REVOKE support FROM bob, dave;
GRANT alice TO bob;
\c - bob
SELECT jit_keys('s', NULL::int);
SET ROLE alice;
SELECT jit_keys('s', NULL::int);
\c - postgres
REVOKE alice FROM bob;

-- A role that is dropped takes its grants along; one made anew under its name has none.
\c - tim
SELECT jit_request('s', 'test', key => '3', grantee => 'temps') AS r \gset
\c - bob
SELECT jit_approve(:r);
\c - postgres
SET SESSION AUTHORIZATION tim;
PREPARE temp AS SELECT jit_keys('s', NULL::int);
EXECUTE temp;
RESET SESSION AUTHORIZATION;
DROP ROLE temps;
SET SESSION AUTHORIZATION tim;
EXECUTE temp;
RESET SESSION AUTHORIZATION;
CREATE ROLE temps ROLE tim;
SET SESSION AUTHORIZATION tim;
EXECUTE temp;
RESET SESSION AUTHORIZATION;
-- A role that is renamed keeps them.
\c - carol
SELECT jit_keys('s', NULL::int);
\c - postgres
ALTER ROLE support RENAME TO helpdesk;
\c - carol
SELECT jit_keys('s', NULL::int);
\c - postgres
ALTER ROLE helpdesk RENAME TO support;

-- A shared login holds nothing, whoever gave it what; after SET ROLE it is served as that role.
GRANT support TO pooler;
\c - pooler
SELECT jit_keys('s', NULL::int);
\c - postgres
SET jit_rls.shared_logins = 'pooler';
SET SESSION AUTHORIZATION pooler;
SELECT jit_keys('s', NULL::int);
SET ROLE support;
SELECT jit_keys('s', NULL::int);
RESET ROLE;
SELECT jit_keys('s', NULL::int);
RESET SESSION AUTHORIZATION;
RESET jit_rls.shared_logins;
SET SESSION AUTHORIZATION pooler;
SELECT jit_keys('s', NULL::int);
\c - postgres
REVOKE support FROM pooler;
DROP ROLE noel, dora, deputies, tim, temps;

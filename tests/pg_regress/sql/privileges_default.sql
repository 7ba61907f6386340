-- ALTER DEFAULT PRIVILEGES of the installing user hands out rights on all that it makes from then on. The installation
-- takes them back: afterwards all is as if there were none.

-- What there is without them.
CREATE TABLE plain AS
    SELECT 'relation' AS what, c.oid::regclass::text AS name, coalesce(c.relacl::text, '(none)') AS acl
      FROM pg_class c WHERE c.relnamespace = 'jit'::regnamespace AND c.relkind IN ('r', 'v', 'S')
    UNION ALL
    SELECT 'function', p.oid::regprocedure::text, coalesce(p.proacl::text, '(none)')
      FROM pg_proc p WHERE p.pronamespace = 'jit'::regnamespace OR p.proname LIKE 'jit\_%'
    UNION ALL
    SELECT 'schema', n.nspname, n.nspacl::text FROM pg_namespace n WHERE n.nspname = 'jit';
SELECT what, count(*) > 0 AS some FROM plain GROUP BY what ORDER BY what;

DROP EXTENSION jit_rls;
CREATE ROLE greedy;
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC, greedy;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO PUBLIC, greedy;
ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO PUBLIC, greedy;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO PUBLIC, greedy;
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO greedy WITH GRANT OPTION;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON FUNCTIONS TO greedy WITH GRANT OPTION;
CREATE EXTENSION jit_rls;

-- What is different now: nothing, but that an ACL may name its owner where there was none before.
CREATE TABLE greedy AS
    SELECT 'relation' AS what, c.oid::regclass::text AS name, c.oid, c.relowner AS owner, c.relacl AS acl
      FROM pg_class c WHERE c.relnamespace = 'jit'::regnamespace AND c.relkind IN ('r', 'v', 'S')
    UNION ALL
    SELECT 'function', p.oid::regprocedure::text, p.oid, p.proowner, p.proacl
      FROM pg_proc p WHERE p.pronamespace = 'jit'::regnamespace OR p.proname LIKE 'jit\_%'
    UNION ALL
    SELECT 'schema', n.nspname, n.oid, n.nspowner, n.nspacl FROM pg_namespace n WHERE n.nspname = 'jit';
SELECT g.what, g.name, CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS grantee, a.privilege_type, a.is_grantable
  FROM greedy g CROSS JOIN LATERAL aclexplode(g.acl) a WHERE a.grantee NOT IN (0, g.owner)
 ORDER BY g.what, g.name COLLATE "C", a.privilege_type;
SELECT g.what, g.name FROM greedy g CROSS JOIN LATERAL aclexplode(g.acl) a WHERE a.grantee = 0
EXCEPT
SELECT p.what, p.name FROM plain p WHERE p.acl ~ '[{,]=' OR p.acl = '(none)' AND p.name ~ '^jit_(active|keys)[(]';
-- No member of that role can do anything either.
SELECT g.name FROM greedy g WHERE g.what = 'relation' AND has_table_privilege('greedy', g.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
    AND g.name NOT LIKE '%seq';
SELECT has_schema_privilege('greedy', 'jit', 'CREATE') AS may_create;
-- The advisor agrees.
SELECT about, finding FROM jit.advice;

ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM PUBLIC, greedy;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON SEQUENCES FROM PUBLIC, greedy;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON FUNCTIONS FROM PUBLIC, greedy;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON SCHEMAS FROM PUBLIC, greedy;
DROP OWNED BY greedy;
DROP ROLE greedy;

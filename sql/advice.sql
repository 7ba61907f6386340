-- What in this database makes the protection weaker than it looks. Policies are found by what
-- they depend on, not by their text.

CREATE VIEW jit.advice WITH (security_barrier) AS
WITH ours AS (
    SELECT d.objid AS function_id
      FROM pg_depend d JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
           JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
     WHERE e.extname = 'jit_rls' AND d.deptype = 'e' AND p.proname IN ('jit_active', 'jit_keys')
), policies AS (
    SELECT DISTINCT p.oid, p.polname, p.polrelid, p.polcmd, p.polroles, p.polpermissive,
           concat_ws(' ', pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)) AS text
      FROM pg_policy p JOIN pg_depend d ON d.classid = 'pg_policy'::regclass AND d.objid = p.oid
           JOIN ours o ON d.refclassid = 'pg_proc'::regclass AND d.refobjid = o.function_id
), tables AS (
    SELECT c.oid, c.relrowsecurity, c.relforcerowsecurity, c.relowner
      FROM pg_class c WHERE c.oid IN (SELECT polrelid FROM policies)
)
SELECT 'error' AS severity, t.oid::regclass::text AS about,
       'row-level security is off: the policies of this table do nothing' AS finding,
       format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY;', t.oid::regclass) AS remedy
  FROM tables t WHERE NOT t.relrowsecurity
UNION ALL
SELECT 'warning', t.oid::regclass::text,
       format('its owner "%s" sees every row, and %s', r.rolname,
              CASE WHEN r.rolcanlogin THEN 'is a login' ELSE 'logins belong to it' END),
       format('ALTER TABLE %s FORCE ROW LEVEL SECURITY; or give it to a role that nobody can become.', t.oid::regclass)
  FROM tables t JOIN pg_roles r ON r.oid = t.relowner
 WHERE t.relrowsecurity AND NOT t.relforcerowsecurity AND NOT r.rolsuper
   AND (r.rolcanlogin OR EXISTS (SELECT FROM pg_roles m
                                  WHERE m.rolcanlogin AND NOT m.rolsuper AND pg_has_role(m.oid, r.oid, 'MEMBER')))
UNION ALL
SELECT CASE WHEN q.open THEN 'error' ELSE 'warning' END,
       q.polrelid::regclass::text,
       format('permissive policy "%s" %s', q.polname,
              CASE WHEN q.open THEN 'lets every row through: it makes ours void'
                   ELSE 'lets rows through beside ours: permissive policies are joined by OR' END),
       format('DROP POLICY %I ON %s; or make it AS RESTRICTIVE.', q.polname, q.polrelid::regclass)
  FROM (SELECT y.*, 'true' IN (pg_get_expr(y.polqual, y.polrelid), pg_get_expr(y.polwithcheck, y.polrelid)) AS open
          FROM pg_policy y WHERE y.polpermissive) q
 WHERE EXISTS (SELECT FROM policies p
                WHERE p.polrelid = q.polrelid AND p.polpermissive
                  AND (p.polcmd = q.polcmd OR p.polcmd = '*' OR q.polcmd = '*')
                  -- Somebody is bound by both.
                  AND (0 = ANY (p.polroles) OR 0 = ANY (q.polroles)
                       OR EXISTS (SELECT FROM pg_roles m
                                   WHERE NOT m.rolsuper
                                     AND EXISTS (SELECT FROM unnest(p.polroles) x WHERE pg_has_role(m.oid, x, 'MEMBER'))
                                     AND EXISTS (SELECT FROM unnest(q.polroles) z WHERE pg_has_role(m.oid, z, 'MEMBER')))))
   AND NOT EXISTS (SELECT FROM policies p WHERE p.oid = q.oid)
UNION ALL
SELECT 'warning', p.polrelid::regclass::text,
       format('policy "%s" asks for scope "%s", which does not exist: it shows nobody a row', p.polname, n.scope),
       format('SELECT jit.create_scope(%L, ...); or ALTER POLICY %I ON %s.', n.scope, p.polname, p.polrelid::regclass)
  FROM policies p
       CROSS JOIN LATERAL regexp_matches(p.text, $re$jit_(?:active|keys)\('((?:[^']|'')*)'::text$re$, 'g') AS m (scope)
       CROSS JOIN LATERAL replace(m.scope[1], '''''', '''') AS n (scope)
 WHERE NOT EXISTS (SELECT FROM jit_private.scopes s WHERE s.name = n.scope AND s.dropped_at IS NULL)
UNION ALL
SELECT 'warning', r.rolname::text, 'login with BYPASSRLS: no policy binds it',
       format('ALTER ROLE %I NOBYPASSRLS;', r.rolname)
  FROM pg_roles r WHERE r.rolcanlogin AND r.rolbypassrls AND NOT r.rolsuper
UNION ALL
SELECT CASE WHEN a.privilege_type IN ('SELECT', 'EXECUTE', 'USAGE') AND NOT a.is_grantable AND a.grantee <> 0 AND NOT o.private
            THEN 'notice' ELSE 'warning' END,
       o.what,
       format('%s has %s%s', CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE format('"%s"', pg_get_userbyid(a.grantee)) END,
              a.privilege_type, CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END),
       'Handed out after the installation. REVOKE it unless it is meant.'
  FROM (SELECT format('%s', c.oid::regclass) AS what, c.relowner AS owner, c.relacl AS acl, c.relname::text AS name, 'r' AS kind,
               c.relnamespace = 'jit_private'::regnamespace AS private
          FROM pg_class c WHERE c.relnamespace IN ('jit'::regnamespace, 'jit_private'::regnamespace) AND c.relkind IN ('r', 'v', 'S')
        UNION ALL
        SELECT format('%s (%s)', c.oid::regclass, a.attname), c.relowner, a.attacl, '', 'c', c.relnamespace = 'jit_private'::regnamespace
          FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
         WHERE c.relnamespace IN ('jit'::regnamespace, 'jit_private'::regnamespace) AND a.attacl IS NOT NULL
        UNION ALL
        SELECT format('%s', p.oid::regprocedure), p.proowner, p.proacl, p.proname::text, 'f', false
          FROM pg_proc p WHERE p.pronamespace = 'jit'::regnamespace
        UNION ALL
        SELECT format('schema %s', n.nspname), n.nspowner, n.nspacl, n.nspname::text, 'n', n.nspname = 'jit_private'
          FROM pg_namespace n WHERE n.nspname IN ('jit', 'jit_private')) o
       CROSS JOIN LATERAL aclexplode(o.acl) a
 WHERE a.grantee <> o.owner
   -- What the installation itself grants.
   AND NOT (a.grantee = 0 AND NOT a.is_grantable AND (
            o.kind = 'r' AND a.privilege_type = 'SELECT'
                AND o.name IN ('pending', 'pending_reviews', 'overdue_reviews', 'my_requests', 'my_grants', 'active_grants')
            OR o.kind = 'f' AND a.privilege_type = 'EXECUTE'
                AND o.name IN ('origin', 'person', 'held_roles', 'may_decide', 'may_review', 'oversees', 'preloaded')
            OR o.kind = 'n' AND a.privilege_type = 'USAGE' AND o.name = 'jit'))
UNION ALL
-- A call finds the function whose argument types fit best, wherever in the search_path it stands.
SELECT 'warning', p.oid::regprocedure::text, 'a look-alike: jit_rls did not make this function',
       'DROP FUNCTION, and let nobody create objects in schemas that stand in the search_path of others.'
  FROM pg_proc p
 WHERE (p.proname IN ('jit_active', 'jit_keys', 'jit_request', 'jit_approve', 'jit_deny', 'jit_cancel', 'jit_release',
                      'jit_revoke', 'jit_extend', 'jit_break_glass', 'jit_review', 'jit_explain', 'jit_whoami') OR p.pronamespace = 'jit'::regnamespace)
   AND NOT EXISTS (SELECT FROM pg_depend d JOIN pg_extension e ON d.refobjid = e.oid
                    WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
                      AND d.refclassid = 'pg_extension'::regclass AND e.extname = 'jit_rls')
UNION ALL
SELECT 'notice', 'shared_preload_libraries',
       'jit_rls is not preloaded: grants end on time all the same, but nothing records expiries or notifies',
       'shared_preload_libraries = ''jit_rls'' in postgresql.conf, then restart.'
 WHERE NOT jit.preloaded();
REVOKE ALL ON jit.advice FROM PUBLIC;
COMMENT ON VIEW jit.advice IS
    'what weakens the protection: policies made void, row-level security off or not forced, logins that bypass it, unknown scopes, privileges handed out, no preload';

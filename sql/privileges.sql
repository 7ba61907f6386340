-- What pg_dump carries. The identity sequences are listed one by one: their position is
-- data too. installation, outbox and marker stay behind on purpose.
SELECT pg_extension_config_dump('jit_private.scopes', '');
SELECT pg_extension_config_dump('jit_private.approvers', '');
SELECT pg_extension_config_dump('jit_private.requesters', '');
SELECT pg_extension_config_dump('jit_private.break_glass', '');
SELECT pg_extension_config_dump('jit_private.requests', '');
SELECT pg_extension_config_dump('jit_private.reviews', '');
SELECT pg_extension_config_dump('jit_private.grants', '');
SELECT pg_extension_config_dump('jit_private.endings', '');
SELECT pg_extension_config_dump('jit_private.events', '');
SELECT pg_extension_config_dump('jit_private.scopes_id_seq', '');
SELECT pg_extension_config_dump('jit_private.requests_id_seq', '');
SELECT pg_extension_config_dump('jit_private.reviews_id_seq', '');
SELECT pg_extension_config_dump('jit_private.events_id_seq', '');

-- ALTER DEFAULT PRIVILEGES of the installing user may have handed out rights on what this
-- script has made, to PUBLIC or to anybody. All of it is taken back. Checks that have the default
-- privileges, of which EXECUTE for PUBLIC is one, keep them: looking that up in a list of privileges is a
-- part of what a policy costs (pg_proc_aclmask(), aclchk.c).
DO $revoke$
DECLARE
    r record;
BEGIN
    FOR r IN
        SELECT CASE WHEN d.classid = 'pg_proc'::regclass THEN format('FUNCTION %s', d.objid::regprocedure)
                    WHEN d.classid = 'pg_namespace'::regclass THEN format('SCHEMA %s', d.objid::regnamespace)
                    WHEN c.relkind = 'S' THEN format('SEQUENCE %s', d.objid::regclass)
                    ELSE format('TABLE %s', d.objid::regclass) END AS what,
               CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS who
          FROM pg_depend d
               LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid AND c.relkind IN ('r', 'v', 'S')
               LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
               LEFT JOIN pg_namespace n ON d.classid = 'pg_namespace'::regclass AND n.oid = d.objid
               CROSS JOIN LATERAL aclexplode(coalesce(c.relacl, p.proacl, n.nspacl,
                   CASE WHEN p.oid IS NOT NULL THEN acldefault('f', p.proowner) END)) a
         WHERE d.refclassid = 'pg_extension'::regclass
           AND d.refobjid = (SELECT e.oid FROM pg_extension e WHERE e.extname = 'jit_rls')
           AND d.deptype = 'e'
           AND a.grantee IS DISTINCT FROM coalesce(c.relowner, p.proowner, n.nspowner)
           AND (p.proacl IS NOT NULL OR p.proname NOT IN ('jit_active', 'jit_keys') OR p.oid IS NULL)
         GROUP BY 1, 2
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %s', r.what, r.who);
    END LOOP;
    FOR r IN
        SELECT p.oid::regprocedure AS what
          FROM pg_depend d JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
         WHERE d.refclassid = 'pg_extension'::regclass
           AND d.refobjid = (SELECT e.oid FROM pg_extension e WHERE e.extname = 'jit_rls')
           AND d.deptype = 'e' AND p.proname IN ('jit_active', 'jit_keys') AND p.proacl IS NOT NULL
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO PUBLIC', r.what);
    END LOOP;
END
$revoke$;

-- Everybody may look up names in schema jit, for the views.
GRANT USAGE ON SCHEMA jit TO PUBLIC;
-- And what is everybody's, one by one. The functions decide for themselves who is asking.
GRANT EXECUTE ON FUNCTION
    @extschema@.jit_request(text, text, text, interval, regrole, timestamptz, boolean),
    @extschema@.jit_approve(bigint, text, interval), @extschema@.jit_deny(bigint, text),
    @extschema@.jit_cancel(bigint), @extschema@.jit_release(bigint), @extschema@.jit_revoke(bigint, text),
    @extschema@.jit_extend(bigint, interval, text), @extschema@.jit_break_glass(text, text, text, interval),
    @extschema@.jit_review(bigint, boolean, text), @extschema@.jit_explain(text, text, regrole), @extschema@.jit_whoami(),
    jit.origin(), jit.person(), jit.held_roles(), jit.may_decide(bigint), jit.may_review(bigint), jit.oversees(integer), jit.preloaded()
    TO PUBLIC;
GRANT SELECT ON jit.pending, jit.pending_reviews, jit.overdue_reviews, jit.my_requests, jit.my_grants, jit.active_grants TO PUBLIC;

SELECT jit.announce_installation();

-- Written by hand rather than generated, so that what each function promises, and who
-- may call it, stands beside it. The names of the C symbols are pgrx's: name + _wrapper.

-- ---------------------------------------------------------------- the check

CREATE FUNCTION jit.plan_support(internal) RETURNS internal
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'jit_plan_support_wrapper';
REVOKE ALL ON FUNCTION jit.plan_support(internal) FROM PUBLIC;
COMMENT ON FUNCTION jit.plan_support(internal) IS
    'for the planner: index conditions, estimates and costs of jit_active and jit_keys';

CREATE FUNCTION @extschema@.jit_active(scope text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE SUPPORT jit.plan_support
    AS 'MODULE_PATHNAME', 'jit_active_scope_wrapper';
COMMENT ON FUNCTION @extschema@.jit_active(text) IS
    'true when the acting role holds an active grant for every row of the scope; false in every other case, never NULL';

CREATE FUNCTION @extschema@.jit_active(scope text, key smallint) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE SUPPORT jit.plan_support
    AS 'MODULE_PATHNAME', 'jit_active_int2_wrapper';
COMMENT ON FUNCTION @extschema@.jit_active(text, smallint) IS
    'true when an active grant of the acting role covers this key or all rows; never NULL; 42809 when the scope has keys of another kind';
CREATE FUNCTION @extschema@.jit_active(scope text, key integer) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE SUPPORT jit.plan_support
    AS 'MODULE_PATHNAME', 'jit_active_int4_wrapper';
COMMENT ON FUNCTION @extschema@.jit_active(text, integer) IS
    'true when an active grant of the acting role covers this key or all rows; never NULL; 42809 when the scope has keys of another kind';
CREATE FUNCTION @extschema@.jit_active(scope text, key bigint) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE SUPPORT jit.plan_support
    AS 'MODULE_PATHNAME', 'jit_active_int8_wrapper';
COMMENT ON FUNCTION @extschema@.jit_active(text, bigint) IS
    'true when an active grant of the acting role covers this key or all rows; never NULL; 42809 when the scope has keys of another kind';
CREATE FUNCTION @extschema@.jit_active(scope text, key uuid) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE SUPPORT jit.plan_support
    AS 'MODULE_PATHNAME', 'jit_active_uuid_wrapper';
COMMENT ON FUNCTION @extschema@.jit_active(text, uuid) IS
    'true when an active grant of the acting role covers this key or all rows; never NULL; 42809 when the scope has keys of another kind';
CREATE FUNCTION @extschema@.jit_active(scope text, key text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE SUPPORT jit.plan_support
    AS 'MODULE_PATHNAME', 'jit_active_text_wrapper';
COMMENT ON FUNCTION @extschema@.jit_active(text, text) IS
    'true when an active grant of the acting role covers this key or all rows; never NULL; 42809 when the scope has keys of another kind';

-- Restricted: the processes of a parallel index scan share positions in an array that each of them makes for itself. The planner's own
-- conditions take care of that.
CREATE FUNCTION @extschema@.jit_keys(scope text, like_key smallint) RETURNS smallint[]
    LANGUAGE c STABLE PARALLEL RESTRICTED SUPPORT jit.plan_support
    AS 'MODULE_PATHNAME', 'jit_keys_int2_wrapper';
COMMENT ON FUNCTION @extschema@.jit_keys(text, smallint) IS
    'the keys of the acting role''s active grants, sorted, without duplicates; all-rows grants add none; never NULL. The second argument only names the type';
CREATE FUNCTION @extschema@.jit_keys(scope text, like_key integer) RETURNS integer[]
    LANGUAGE c STABLE PARALLEL RESTRICTED SUPPORT jit.plan_support
    AS 'MODULE_PATHNAME', 'jit_keys_int4_wrapper';
COMMENT ON FUNCTION @extschema@.jit_keys(text, integer) IS
    'the keys of the acting role''s active grants, sorted, without duplicates; all-rows grants add none; never NULL. The second argument only names the type';
CREATE FUNCTION @extschema@.jit_keys(scope text, like_key bigint) RETURNS bigint[]
    LANGUAGE c STABLE PARALLEL RESTRICTED SUPPORT jit.plan_support
    AS 'MODULE_PATHNAME', 'jit_keys_int8_wrapper';
COMMENT ON FUNCTION @extschema@.jit_keys(text, bigint) IS
    'the keys of the acting role''s active grants, sorted, without duplicates; all-rows grants add none; never NULL. The second argument only names the type';
CREATE FUNCTION @extschema@.jit_keys(scope text, like_key uuid) RETURNS uuid[]
    LANGUAGE c STABLE PARALLEL RESTRICTED SUPPORT jit.plan_support
    AS 'MODULE_PATHNAME', 'jit_keys_uuid_wrapper';
COMMENT ON FUNCTION @extschema@.jit_keys(text, uuid) IS
    'the keys of the acting role''s active grants, sorted, without duplicates; all-rows grants add none; never NULL. The second argument only names the type';
CREATE FUNCTION @extschema@.jit_keys(scope text, like_key text) RETURNS text[]
    LANGUAGE c STABLE PARALLEL RESTRICTED SUPPORT jit.plan_support
    AS 'MODULE_PATHNAME', 'jit_keys_text_wrapper';
COMMENT ON FUNCTION @extschema@.jit_keys(text, text) IS
    'the keys of the acting role''s active grants, sorted by bytes, without duplicates; all-rows grants add none; never NULL. The second argument only names the type';

-- ---------------------------------------------------------------- asking and deciding

CREATE FUNCTION @extschema@.jit_request(
        scope text, reason text, key text = NULL, duration interval = NULL, grantee regrole = NULL,
        starts_at timestamptz = NULL, all_rows boolean = false) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jit_request_wrapper';
COMMENT ON FUNCTION @extschema@.jit_request(text, text, text, interval, regrole, timestamptz, boolean) IS
    'asks for access to the rows of one key, or to all rows, for oneself or a group one belongs to; returns the id of the request. days are 24 hours. 42704 unknown scope or role, 42501 may not ask, 22023 bad value, 55000 already asked';

CREATE FUNCTION @extschema@.jit_approve(request bigint, comment text = NULL, duration interval = NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jit_approve_wrapper';
COMMENT ON FUNCTION @extschema@.jit_approve(bigint, text, interval) IS
    'says yes to a request; returns ''approved'', or ''pending: 1 of 2'' while more people are needed. duration can only shorten. Only from the client''s own statement. 42501 not entitled, 55000 no longer pending';

CREATE FUNCTION @extschema@.jit_deny(request bigint, reason text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jit_deny_wrapper';
COMMENT ON FUNCTION @extschema@.jit_deny(bigint, text) IS
    'says no to a request, which ends it. Only from the client''s own statement. 42501 not entitled, 55000 no longer pending';

CREATE FUNCTION @extschema@.jit_cancel(request bigint) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jit_cancel_wrapper';
COMMENT ON FUNCTION @extschema@.jit_cancel(bigint) IS
    'takes back one''s own pending request. 42501 somebody else''s, 55000 no longer pending';

CREATE FUNCTION @extschema@.jit_release(request bigint) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jit_release_wrapper';
COMMENT ON FUNCTION @extschema@.jit_release(bigint) IS
    'gives back the grant of one''s own request before its end. 42501 somebody else''s, 55000 no live grant';

CREATE FUNCTION @extschema@.jit_revoke(request bigint, reason text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jit_revoke_wrapper';
COMMENT ON FUNCTION @extschema@.jit_revoke(bigint, text) IS
    'ends the grant of a request at once, in every session; for approvers of the scope and for admins (who may execute jit.alter_scope). Waits for nobody. 42501 not entitled, 55000 no live grant';

CREATE FUNCTION @extschema@.jit_extend(request bigint, duration interval, reason text) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jit_extend_wrapper';
COMMENT ON FUNCTION @extschema@.jit_extend(bigint, interval, text) IS
    'asks for more time for the live grant of one''s own request; returns the id of a new request, which is approved by the same rules and then lengthens that grant, up to max_total. 42501 somebody else''s, 22023 too long, 55000 no live grant';

CREATE FUNCTION @extschema@.jit_break_glass(scope text, reason text, key text = NULL, duration interval = NULL) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jit_break_glass_wrapper';
COMMENT ON FUNCTION @extschema@.jit_break_glass(text, text, text, interval) IS
    'takes access at once, from the commit on, for at most break_glass_max; for the scope''s break_glass roles. To be reviewed afterwards; returns the id to review. Only from the client''s own statement. 42501 not entitled, 55000 an overdue review stands in the way';

CREATE FUNCTION @extschema@.jit_review(request bigint, justified boolean, comment text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jit_review_wrapper';
COMMENT ON FUNCTION @extschema@.jit_review(bigint, boolean, text) IS
    'says afterwards whether breaking the glass was justified; for approvers of the scope. Not justified: what is left of the access ends. Only from the client''s own statement. 42501 not entitled, 55000 nothing to review';

CREATE FUNCTION @extschema@.jit_explain(scope text, key text = NULL, grantee regrole = NULL)
    RETURNS TABLE (reason text, request bigint, via text, until timestamptz, detail text)
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 5 AS 'MODULE_PATHNAME', 'jit_explain_wrapper';
COMMENT ON FUNCTION @extschema@.jit_explain(text, text, regrole) IS
    'why access is there or is not, one row for each reason: the scope, grants that serve and those that do not, pending requests and what they wait for, what row-level security does by itself. Of others, for approvers of the scope and admins. 42501 not entitled';

CREATE FUNCTION @extschema@.jit_whoami()
    RETURNS TABLE (login text, actor text, shared_login boolean, person text[], inherited_roles text[],
                   sees_without_grants boolean, why text)
    LANGUAGE c STABLE PARALLEL UNSAFE ROWS 1 AS 'MODULE_PATHNAME', 'jit_whoami_wrapper';
COMMENT ON FUNCTION @extschema@.jit_whoami() IS
    'how jit_rls sees this session: session_user, the role it acts as, whether the login is a shared one, who counts as the person, the roles whose grants serve it, whether it bypasses row-level security, and why';

-- ---------------------------------------------------------------- administration

CREATE FUNCTION jit.create_scope(name text, options jsonb = '{}') RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jit_create_scope_wrapper';
REVOKE ALL ON FUNCTION jit.create_scope(text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION jit.create_scope(text, jsonb) IS
    'makes a scope; docs/approval.md lists the options. 22023 names a wrong option, 42704 a missing role, 42710 an existing scope';

CREATE FUNCTION jit.alter_scope(name text, changes jsonb) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jit_alter_scope_wrapper';
REVOKE ALL ON FUNCTION jit.alter_scope(text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION jit.alter_scope(text, jsonb) IS
    'changes the named options of a scope; null sets one back to its default. {"enabled": false} ends its grants and closes its requests, waiting for nobody. Whoever may execute this is an admin';

CREATE FUNCTION jit.drop_scope(name text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jit_drop_scope_wrapper';
REVOKE ALL ON FUNCTION jit.drop_scope(text) FROM PUBLIC;
COMMENT ON FUNCTION jit.drop_scope(text) IS
    'ends the grants of a scope, closes its requests and frees its name; the records stay. Waits for nobody';

CREATE FUNCTION jit.revoke_all(scope text = NULL, grantee regrole = NULL, reason text = NULL) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jit_revoke_all_wrapper';
REVOKE ALL ON FUNCTION jit.revoke_all(text, regrole, text) FROM PUBLIC;
COMMENT ON FUNCTION jit.revoke_all(text, regrole, text) IS
    'ends every live grant, of the scope and of the grantee where they are named, in one transaction; says how many. A reason is needed. Waits for nobody; what is being approved meanwhile is not among them: disable the scope to stop that as well. 42704 unknown scope';

-- ---------------------------------------------------------------- for the views and triggers
-- The functions of a view are executed with the rights of the one who reads it, so these
-- few of schema jit are everybody's. They tell about the session alone.

CREATE FUNCTION jit.origin() RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'jit_origin_wrapper';
COMMENT ON FUNCTION jit.origin() IS
    'what grants are bound to: system identifier, database OID and installation id; grants with another origin are void';

CREATE FUNCTION jit.person() RETURNS oid[]
    LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jit_person_wrapper';
COMMENT ON FUNCTION jit.person() IS 'login and actor of this session without shared logins';

CREATE FUNCTION jit.held_roles() RETURNS oid[]
    LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jit_held_roles_wrapper';
COMMENT ON FUNCTION jit.held_roles() IS
    'the roles whose grants serve this session: the acting role and what it inherits, superuserhood apart';

CREATE FUNCTION jit.may_decide(request bigint) RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000 AS 'MODULE_PATHNAME', 'jit_may_decide_wrapper';
COMMENT ON FUNCTION jit.may_decide(bigint) IS
    'true when this session could say yes to the request now; false for an unknown one';

CREATE FUNCTION jit.may_review(request bigint) RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000 AS 'MODULE_PATHNAME', 'jit_may_review_wrapper';
COMMENT ON FUNCTION jit.may_review(bigint) IS
    'true when this session could review that breaking of the glass now; false for an unknown one';

CREATE FUNCTION jit.oversees(scope_id integer) RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000 AS 'MODULE_PATHNAME', 'jit_oversees_wrapper';
COMMENT ON FUNCTION jit.oversees(integer) IS
    'true for present approvers of the scope, for admins (may execute jit.alter_scope) and for auditors (may select from jit.events)';

CREATE FUNCTION jit.preloaded() RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'jit_preloaded_wrapper';
COMMENT ON FUNCTION jit.preloaded() IS
    'true when the library was loaded by shared_preload_libraries, so that there is a worker';

CREATE FUNCTION jit.worker()
    RETURNS TABLE (running boolean, pid integer, since timestamptz, last_pass timestamptz, next_deadline timestamptz,
                   ended bigint, last_error_at timestamptz, last_error text)
    LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 1 AS 'MODULE_PATHNAME', 'jit_worker_wrapper';
REVOKE ALL ON FUNCTION jit.worker() FROM PUBLIC;
COMMENT ON FUNCTION jit.worker() IS
    'this database''s worker, for jit.worker_status: one row, whether it runs or not';

CREATE FUNCTION jit.uses()
    RETURNS TABLE (pid integer, login oid, actor oid, grant_id bigint, since timestamptz, state text)
    LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 10 AS 'MODULE_PATHNAME', 'jit_uses_wrapper';
REVOKE ALL ON FUNCTION jit.uses() FROM PUBLIC;
COMMENT ON FUNCTION jit.uses() IS
    'what the transactions of this database have used, for jit.in_use; no row where shared_preload_libraries does not load the library. A grant_id that is NULL stands for more grants than are counted';

CREATE FUNCTION jit.announce_installation() RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jit_announce_installation_wrapper';
REVOKE ALL ON FUNCTION jit.announce_installation() FROM PUBLIC;
COMMENT ON FUNCTION jit.announce_installation() IS
    'called by CREATE EXTENSION: asks for a worker in this database, or warns that there will be none';

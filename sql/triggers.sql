-- The tables change only through the functions of the extension, which act as its owner.
-- A trigger, because no REVOKE binds the members of pg_write_all_data. ENABLE ALWAYS,
-- because session_replication_role = replica would switch the others off.
CREATE FUNCTION jit.guard_write() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'jit_guard_write_wrapper';
REVOKE ALL ON FUNCTION jit.guard_write() FROM PUBLIC;
COMMENT ON FUNCTION jit.guard_write() IS
    'trigger: 42501 unless the owner of the table or a superuser writes';

CREATE FUNCTION jit.append_only() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'jit_append_only_wrapper';
REVOKE ALL ON FUNCTION jit.append_only() FROM PUBLIC;
COMMENT ON FUNCTION jit.append_only() IS
    'trigger: 42501 for whoever changes or deletes what is on record, superusers included';

CREATE FUNCTION jit.invalidate() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'jit_invalidate_wrapper';
REVOKE ALL ON FUNCTION jit.invalidate() FROM PUBLIC;
COMMENT ON FUNCTION jit.invalidate() IS
    'trigger: at commit, every backend''s copy of the grants becomes stale; the commit is flushed to disk whatever synchronous_commit says';

DO $triggers$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['installation', 'scopes', 'approvers', 'requesters', 'break_glass', 'rule_changes', 'requests', 'reviews',
                             'grants', 'endings', 'events', 'outbox', 'marker', 'plan_marker'] LOOP
        EXECUTE format('CREATE TRIGGER guard_write BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON jit_private.%I
                        FOR EACH STATEMENT EXECUTE FUNCTION jit.guard_write()', t);
        EXECUTE format('ALTER TABLE jit_private.%I ENABLE ALWAYS TRIGGER guard_write', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['reviews', 'endings', 'events', 'rule_changes'] LOOP
        EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON jit_private.%I
                        FOR EACH STATEMENT EXECUTE FUNCTION jit.append_only()', t);
        EXECUTE format('ALTER TABLE jit_private.%I ENABLE ALWAYS TRIGGER append_only', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['installation', 'scopes', 'grants', 'endings'] LOOP
        EXECUTE format('CREATE TRIGGER invalidate AFTER INSERT OR DELETE ON jit_private.%I
                        FOR EACH ROW EXECUTE FUNCTION jit.invalidate()', t);
        EXECUTE format('CREATE TRIGGER invalidate_truncate AFTER TRUNCATE ON jit_private.%I
                        FOR EACH STATEMENT EXECUTE FUNCTION jit.invalidate()', t);
        EXECUTE format('ALTER TABLE jit_private.%I ENABLE ALWAYS TRIGGER invalidate', t);
        EXECUTE format('ALTER TABLE jit_private.%I ENABLE ALWAYS TRIGGER invalidate_truncate', t);
    END LOOP;
END
$triggers$;

CREATE TRIGGER invalidate_update AFTER UPDATE ON jit_private.installation
    FOR EACH ROW EXECUTE FUNCTION jit.invalidate();
ALTER TABLE jit_private.installation ENABLE ALWAYS TRIGGER invalidate_update;
CREATE TRIGGER invalidate_update AFTER UPDATE ON jit_private.scopes
    FOR EACH ROW EXECUTE FUNCTION jit.invalidate();
ALTER TABLE jit_private.scopes ENABLE ALWAYS TRIGGER invalidate_update;
CREATE TRIGGER invalidate_update AFTER UPDATE ON jit_private.endings
    FOR EACH ROW EXECUTE FUNCTION jit.invalidate();
ALTER TABLE jit_private.endings ENABLE ALWAYS TRIGGER invalidate_update;
-- Tidying away what has ended changes nobody's access: it must not make every backend load again.
CREATE TRIGGER invalidate_update AFTER UPDATE ON jit_private.grants
    FOR EACH ROW
    WHEN (OLD.tidied_at IS NOT NULL OR NEW.tidied_at IS NULL
          OR ROW (OLD.id, OLD.scope_id, OLD.key, OLD.all_rows, OLD.grantee_id, OLD.starts_at, OLD.ends_at,
                  OLD.approved_by, OLD.epoch, OLD.origin, OLD.asked_by)
             IS DISTINCT FROM
             ROW (NEW.id, NEW.scope_id, NEW.key, NEW.all_rows, NEW.grantee_id, NEW.starts_at, NEW.ends_at,
                  NEW.approved_by, NEW.epoch, NEW.origin, NEW.asked_by))
    EXECUTE FUNCTION jit.invalidate();
ALTER TABLE jit_private.grants ENABLE ALWAYS TRIGGER invalidate_update;

-- Plans are made on who holds all rows of a scope. Tidying counts here: the way through an index is
-- open again.
CREATE FUNCTION jit.invalidate_plans() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'jit_invalidate_plans_wrapper';
REVOKE ALL ON FUNCTION jit.invalidate_plans() FROM PUBLIC;
COMMENT ON FUNCTION jit.invalidate_plans() IS
    'trigger: at commit, plans that were made on who holds all rows of a scope become stale in every backend';

CREATE TRIGGER invalidate_plans_insert AFTER INSERT ON jit_private.grants
    FOR EACH ROW WHEN (NEW.all_rows) EXECUTE FUNCTION jit.invalidate_plans();
ALTER TABLE jit_private.grants ENABLE ALWAYS TRIGGER invalidate_plans_insert;
CREATE TRIGGER invalidate_plans_update AFTER UPDATE ON jit_private.grants
    FOR EACH ROW WHEN (OLD.all_rows OR NEW.all_rows) EXECUTE FUNCTION jit.invalidate_plans();
ALTER TABLE jit_private.grants ENABLE ALWAYS TRIGGER invalidate_plans_update;
CREATE TRIGGER invalidate_plans_delete AFTER DELETE ON jit_private.grants
    FOR EACH ROW WHEN (OLD.all_rows) EXECUTE FUNCTION jit.invalidate_plans();
ALTER TABLE jit_private.grants ENABLE ALWAYS TRIGGER invalidate_plans_delete;
-- Which scope a name stands for.
CREATE TRIGGER invalidate_plans AFTER INSERT OR DELETE OR UPDATE OF name, dropped_at ON jit_private.scopes
    FOR EACH ROW EXECUTE FUNCTION jit.invalidate_plans();
ALTER TABLE jit_private.scopes ENABLE ALWAYS TRIGGER invalidate_plans;

-- Restoring a dump. Role OIDs mean nothing in another cluster. A rule is bound again by the
-- role's name; a rule whose role is missing stays, with OID 0, which is nobody.
CREATE FUNCTION jit.bind_rule() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    found_id oid := (SELECT r.oid FROM pg_roles r WHERE r.rolname = NEW.role);
BEGIN
    IF NEW.origin = jit.origin() THEN
        -- Same database: the OID is the truth, and the name says it is another role now.
        found_id := NULL;
    END IF;
    IF found_id IS NULL THEN
        RAISE WARNING USING
            MESSAGE = format('jit_rls: role "%s" of scope %s is not the role it was: this row of jit.%s serves nobody',
                             NEW.role, NEW.scope_id, TG_TABLE_NAME),
            HINT = 'Create the role and name it again with jit.alter_scope().';
    END IF;
    NEW.role_id := coalesce(found_id, 0);
    NEW.origin := jit.origin();
    RETURN NEW;
END
$body$;
REVOKE ALL ON FUNCTION jit.bind_rule() FROM PUBLIC;
COMMENT ON FUNCTION jit.bind_rule() IS 'trigger: binds a restored rule to the role of its name, or to nobody, with a WARNING';

-- Requests and grants are void outside the database they were made in, whatever their
-- roles; that no OID in them can mean somebody else is a second safety.
CREATE FUNCTION jit.bind_record() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF pg_get_userbyid(NEW.grantee_id) <> NEW.grantee THEN
        NEW.grantee_id := 0;
    END IF;
    IF TG_TABLE_NAME = 'requests' THEN
        IF pg_get_userbyid(NEW.login_id) <> NEW.login OR pg_get_userbyid(NEW.actor_id) <> NEW.actor
           OR NEW.origin <> jit.origin() THEN
            NEW.login_id := 0;
            NEW.actor_id := 0;
            NEW.person := '{}';
        END IF;
    END IF;
    RETURN NEW;
END
$body$;
REVOKE ALL ON FUNCTION jit.bind_record() FROM PUBLIC;
COMMENT ON FUNCTION jit.bind_record() IS 'trigger: empties a restored request or grant of roles that are not the ones it was made for';

CREATE TRIGGER bind_rule BEFORE INSERT ON jit_private.approvers FOR EACH ROW
    WHEN (NEW.origin <> jit.origin() OR pg_get_userbyid(NEW.role_id) <> NEW.role)
    EXECUTE FUNCTION jit.bind_rule();
ALTER TABLE jit_private.approvers ENABLE ALWAYS TRIGGER bind_rule;
CREATE TRIGGER bind_rule BEFORE INSERT ON jit_private.requesters FOR EACH ROW
    WHEN (NEW.origin <> jit.origin() OR pg_get_userbyid(NEW.role_id) <> NEW.role)
    EXECUTE FUNCTION jit.bind_rule();
ALTER TABLE jit_private.requesters ENABLE ALWAYS TRIGGER bind_rule;
CREATE TRIGGER bind_rule BEFORE INSERT ON jit_private.break_glass FOR EACH ROW
    WHEN (NEW.origin <> jit.origin() OR pg_get_userbyid(NEW.role_id) <> NEW.role)
    EXECUTE FUNCTION jit.bind_rule();
ALTER TABLE jit_private.break_glass ENABLE ALWAYS TRIGGER bind_rule;
CREATE TRIGGER bind_record BEFORE INSERT ON jit_private.requests FOR EACH ROW
    WHEN (NEW.origin <> jit.origin() OR pg_get_userbyid(NEW.grantee_id) <> NEW.grantee
          OR pg_get_userbyid(NEW.login_id) <> NEW.login OR pg_get_userbyid(NEW.actor_id) <> NEW.actor)
    EXECUTE FUNCTION jit.bind_record();
ALTER TABLE jit_private.requests ENABLE ALWAYS TRIGGER bind_record;
CREATE TRIGGER bind_record BEFORE INSERT ON jit_private.grants FOR EACH ROW
    WHEN (NEW.origin <> jit.origin() OR pg_get_userbyid(NEW.grantee_id) <> NEW.grantee)
    EXECUTE FUNCTION jit.bind_record();
ALTER TABLE jit_private.grants ENABLE ALWAYS TRIGGER bind_record;

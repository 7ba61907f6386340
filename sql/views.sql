-- Each view takes its rows from a CTE: FOR UPDATE reaches through a view into the tables below, with the
-- rights of the view's owner, but not into a CTE (markQueryForLocking(), rewriteHandler.c). Somebody with
-- rights on every view of the database could else lock rows that a kill switch must change.

-- What the tables hold, for auditors: GRANT SELECT one by one. Nobody has them after installation.
CREATE VIEW jit.scopes AS WITH found AS (SELECT * FROM jit_private.scopes) SELECT * FROM found;
COMMENT ON VIEW jit.scopes IS 'scopes with their rules; a dropped scope stays for the record';
CREATE VIEW jit.approvers AS WITH found AS (SELECT * FROM jit_private.approvers) SELECT * FROM found;
COMMENT ON VIEW jit.approvers IS 'how many people of which role must say yes in which stage of a scope';
CREATE VIEW jit.requesters AS WITH found AS (SELECT * FROM jit_private.requesters) SELECT * FROM found;
COMMENT ON VIEW jit.requesters IS 'who may ask in a scope whose anyone_may_ask is false';
CREATE VIEW jit.break_glass AS WITH found AS (SELECT * FROM jit_private.break_glass) SELECT * FROM found;
COMMENT ON VIEW jit.break_glass IS 'who may take access in a scope at once, to be reviewed afterwards';
CREATE VIEW jit.requests AS WITH found AS (SELECT * FROM jit_private.requests) SELECT * FROM found;
COMMENT ON VIEW jit.requests IS 'who asked for what, why, and what became of it';
CREATE VIEW jit.reviews AS WITH found AS (SELECT * FROM jit_private.reviews) SELECT * FROM found;
COMMENT ON VIEW jit.reviews IS 'each yes and no, by whom, in which stage, by which approver roles and through which memberships';
CREATE VIEW jit.grants AS WITH found AS (SELECT * FROM jit_private.grants) SELECT * FROM found;
COMMENT ON VIEW jit.grants IS 'the access that approved requests became; the id is the request''s';
CREATE VIEW jit.endings AS WITH found AS (SELECT * FROM jit_private.endings) SELECT * FROM found;
COMMENT ON VIEW jit.endings IS 'why and when grants stopped; the earliest ending of a grant counts';
CREATE VIEW jit.events AS WITH found AS (SELECT * FROM jit_private.events) SELECT * FROM found;
COMMENT ON VIEW jit.events IS 'the audit log: one row for each change of state, in the transaction of the change';

-- Views for everybody. Each shows only what the session may see, and is a security barrier,
-- so that a function in somebody's WHERE never meets a row that the view would hide.

CREATE VIEW jit_private.live_grants WITH (security_barrier) AS
SELECT g.*, coalesce(r.rolname::text, g.grantee) AS grantee_now
  FROM jit_private.grants g
       JOIN jit_private.scopes s ON s.id = g.scope_id AND s.enabled AND s.dropped_at IS NULL AND s.epoch = g.epoch
       LEFT JOIN pg_roles r ON r.oid = g.grantee_id
 WHERE g.tidied_at IS NULL
   AND g.ends_at > clock_timestamp()
   AND g.origin = jit.origin()
   AND NOT EXISTS (SELECT FROM jit_private.endings e WHERE e.grant_id = g.id);
COMMENT ON VIEW jit_private.live_grants IS 'grants that have not ended, scheduled ones included; for the other views';

CREATE VIEW jit.pending WITH (security_barrier) AS
WITH found AS (
    SELECT r.id, r.scope, r.key, r.all_rows,
           coalesce(g.rolname::text, r.grantee) AS grantee,
           coalesce(l.rolname::text, r.login) AS login,
           coalesce(a.rolname::text, r.actor) AS actor,
           r.reason, r.duration, r.starts_at, r.created_at, r.lapses_at,
           r.lapses_at - clock_timestamp() AS time_left,
           (SELECT count(*) FROM jit_private.reviews v WHERE v.request_id = r.id AND v.decision = 'approve') AS approvals,
           r.extends
      FROM jit_private.requests r
           LEFT JOIN pg_roles g ON g.oid = r.grantee_id
           LEFT JOIN pg_roles l ON l.oid = r.login_id
           LEFT JOIN pg_roles a ON a.oid = r.actor_id
     WHERE r.state = 'pending' AND jit.may_decide(r.id)
)
SELECT * FROM found;
COMMENT ON VIEW jit.pending IS
    'requests on which this session could say yes now; approvals counts the yeses on record, extends is the request whose grant would get longer';

CREATE VIEW jit.pending_reviews WITH (security_barrier) AS
WITH found AS (
    SELECT r.id, r.scope, r.key, coalesce(g.rolname::text, r.grantee) AS grantee, r.login, r.reason, r.created_at, r.review_due,
           r.review_due - clock_timestamp() AS time_left
      FROM jit_private.requests r LEFT JOIN pg_roles g ON g.oid = r.grantee_id
     WHERE r.review_due IS NOT NULL AND r.reviewed_at IS NULL AND r.origin = jit.origin() AND jit.may_review(r.id)
)
SELECT * FROM found;
COMMENT ON VIEW jit.pending_reviews IS 'breakings of the glass that this session could review now; time_left is negative when that is overdue';

CREATE VIEW jit.overdue_reviews WITH (security_barrier) AS
WITH found AS (
    SELECT r.id, r.scope, r.key, coalesce(g.rolname::text, r.grantee) AS grantee, r.login, r.created_at, r.review_due
      FROM jit_private.requests r LEFT JOIN pg_roles g ON g.oid = r.grantee_id
     WHERE r.review_due <= clock_timestamp() AND r.reviewed_at IS NULL AND r.origin = jit.origin()
       AND (r.person && (SELECT jit.person()) OR jit.oversees(r.scope_id))
)
SELECT * FROM found;
COMMENT ON VIEW jit.overdue_reviews IS
    'breakings of the glass that nobody has reviewed in time: one''s own, and for approvers of the scope, admins and auditors all of it';

CREATE VIEW jit.my_requests WITH (security_barrier) AS
WITH found AS (
    SELECT r.id, r.scope, r.key, r.all_rows,
           coalesce(g.rolname::text, r.grantee) AS grantee,
           r.reason, r.duration, r.starts_at,
           CASE WHEN r.state <> 'pending' THEN r.state
                WHEN s.dropped_at IS NOT NULL OR NOT s.enabled OR s.epoch <> r.epoch OR r.origin <> jit.origin() THEN 'closed'
                WHEN r.lapses_at <= clock_timestamp() THEN 'lapsed'
                ELSE 'pending' END AS state,
           r.created_at, r.lapses_at, r.decided_at, r.decided_by,
           CASE WHEN r.state = 'pending' THEN greatest(r.lapses_at - clock_timestamp(), interval '0') END AS time_left,
           r.extends, r.break_glass, r.review_due, r.reviewed_at
      FROM jit_private.requests r
           JOIN jit_private.scopes s ON s.id = r.scope_id
           LEFT JOIN pg_roles g ON g.oid = r.grantee_id
     WHERE r.person && (SELECT jit.person())
)
SELECT * FROM found;
COMMENT ON VIEW jit.my_requests IS 'what the person of this session has asked for, and what became of it';

CREATE VIEW jit.my_grants WITH (security_barrier) AS
WITH found AS (
    SELECT g.id, g.scope, g.key, g.all_rows,
           coalesce(o.rolname::text, g.grantee) AS grantee,
           r.reason, g.starts_at, g.ends_at,
           CASE WHEN n.id IS NULL THEN 'ended'
                WHEN g.starts_at > clock_timestamp() THEN 'scheduled'
                ELSE 'active' END AS state,
           e.kind AS ended_how,
           CASE WHEN n.id IS NOT NULL THEN g.ends_at - clock_timestamp() END AS time_left
      FROM jit_private.grants g
           JOIN jit_private.requests r ON r.id = g.id
           LEFT JOIN pg_roles o ON o.oid = g.grantee_id
           LEFT JOIN jit_private.live_grants n ON n.id = g.id
           LEFT JOIN LATERAL (SELECT x.kind FROM jit_private.endings x WHERE x.grant_id = g.id ORDER BY x.at, x.kind LIMIT 1) e ON true
     WHERE g.grantee_id = ANY ((SELECT jit.held_roles())::oid[])
       AND NOT g.approved_by && (SELECT jit.person())
)
SELECT * FROM found;
COMMENT ON VIEW jit.my_grants IS 'grants that serve, will serve or have served the acting role';

CREATE VIEW jit.active_grants WITH (security_barrier) AS
WITH found AS (
    SELECT g.id, g.scope, g.key, g.all_rows, g.grantee_now AS grantee, g.starts_at, g.ends_at,
           g.ends_at - clock_timestamp() AS time_left
      FROM jit_private.live_grants g
     WHERE g.starts_at <= clock_timestamp()
       AND (g.grantee_id = ANY ((SELECT jit.held_roles())::oid[])
            OR EXISTS (SELECT FROM jit_private.requests r WHERE r.id = g.id AND r.person && (SELECT jit.person()))
            OR jit.oversees(g.scope_id))
)
SELECT * FROM found;
COMMENT ON VIEW jit.active_grants IS
    'grants that are active now: one''s own, and for approvers of the scope, admins and auditors all of it';

-- For admins: GRANT SELECT ON jit.in_use, and GRANT EXECUTE ON FUNCTION jit.uses().
CREATE VIEW jit.in_use AS
WITH found AS (
    SELECT u.pid, pg_get_userbyid(u.login)::text AS login, pg_get_userbyid(u.actor)::text AS actor, u.grant_id, g.scope,
           u.since, u.state
      FROM jit.uses() u LEFT JOIN jit_private.grants g ON g.id = u.grant_id
)
SELECT * FROM found;
COMMENT ON VIEW jit.in_use IS
    'which sessions have used which grant in the transaction that they are in, since when; a grant_id that is NULL: more than are counted. state: in use, committing, cancelled (its statement), terminated (the session)';

-- For admins: GRANT SELECT ON jit.worker_status, and GRANT EXECUTE ON FUNCTION jit.worker().
CREATE VIEW jit.worker_status AS WITH found AS (SELECT * FROM jit.worker()) SELECT * FROM found;
COMMENT ON VIEW jit.worker_status IS
    'whether this database has a worker, since when, when it looked around last, when something is due next, how many grants workers have put on record as ended since the server started, and the last error; running is false where shared_preload_libraries does not load the library';

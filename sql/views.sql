-- Views for everybody. Each shows only what the session may see, and is a security barrier,
-- so that a function in somebody's WHERE never meets a row that the view would hide.

CREATE VIEW jit.live_grants WITH (security_barrier) AS
SELECT g.*, coalesce(r.rolname::text, g.grantee) AS grantee_now
  FROM jit.grants g
       JOIN jit.scopes s ON s.id = g.scope_id AND s.enabled AND s.dropped_at IS NULL AND s.epoch = g.epoch
       LEFT JOIN pg_roles r ON r.oid = g.grantee_id
 WHERE g.tidied_at IS NULL
   AND g.ends_at > clock_timestamp()
   AND g.origin = jit.origin()
   AND NOT EXISTS (SELECT FROM jit.endings e WHERE e.grant_id = g.id);
REVOKE ALL ON jit.live_grants FROM PUBLIC;
COMMENT ON VIEW jit.live_grants IS 'grants that have not ended, scheduled ones included; for the other views';

CREATE VIEW jit.pending WITH (security_barrier) AS
SELECT r.id, r.scope, r.key, r.all_rows,
       coalesce(g.rolname::text, r.grantee) AS grantee,
       coalesce(l.rolname::text, r.login) AS login,
       coalesce(a.rolname::text, r.actor) AS actor,
       r.reason, r.duration, r.starts_at, r.created_at, r.lapses_at,
       r.lapses_at - clock_timestamp() AS time_left,
       (SELECT count(*) FROM jit.reviews v WHERE v.request_id = r.id AND v.decision = 'approve') AS approvals
  FROM jit.requests r
       LEFT JOIN pg_roles g ON g.oid = r.grantee_id
       LEFT JOIN pg_roles l ON l.oid = r.login_id
       LEFT JOIN pg_roles a ON a.oid = r.actor_id
 WHERE r.state = 'pending' AND jit.may_decide(r.id);
COMMENT ON VIEW jit.pending IS 'requests on which this session could say yes now';

CREATE VIEW jit.my_requests WITH (security_barrier) AS
SELECT r.id, r.scope, r.key, r.all_rows,
       coalesce(g.rolname::text, r.grantee) AS grantee,
       r.reason, r.duration, r.starts_at,
       CASE WHEN r.state <> 'pending' THEN r.state
            WHEN s.dropped_at IS NOT NULL OR NOT s.enabled OR s.epoch <> r.epoch OR r.origin <> jit.origin() THEN 'closed'
            WHEN r.lapses_at <= clock_timestamp() THEN 'lapsed'
            ELSE 'pending' END AS state,
       r.created_at, r.lapses_at, r.decided_at, r.decided_by,
       CASE WHEN r.state = 'pending' THEN greatest(r.lapses_at - clock_timestamp(), interval '0') END AS time_left
  FROM jit.requests r
       JOIN jit.scopes s ON s.id = r.scope_id
       LEFT JOIN pg_roles g ON g.oid = r.grantee_id
 WHERE r.person && (SELECT jit.person());
COMMENT ON VIEW jit.my_requests IS 'what the person of this session has asked for, and what became of it';

CREATE VIEW jit.my_grants WITH (security_barrier) AS
SELECT g.id, g.scope, g.key, g.all_rows,
       coalesce(o.rolname::text, g.grantee) AS grantee,
       r.reason, g.starts_at, g.ends_at,
       CASE WHEN n.id IS NULL THEN 'ended'
            WHEN g.starts_at > clock_timestamp() THEN 'scheduled'
            ELSE 'active' END AS state,
       e.kind AS ended_how,
       CASE WHEN n.id IS NOT NULL THEN g.ends_at - clock_timestamp() END AS time_left
  FROM jit.grants g
       JOIN jit.requests r ON r.id = g.id
       LEFT JOIN pg_roles o ON o.oid = g.grantee_id
       LEFT JOIN jit.live_grants n ON n.id = g.id
       LEFT JOIN LATERAL (SELECT x.kind FROM jit.endings x WHERE x.grant_id = g.id ORDER BY x.at, x.id LIMIT 1) e ON true
 WHERE g.grantee_id = ANY ((SELECT jit.held_roles())::oid[])
   AND NOT g.approved_by && (SELECT jit.person());
COMMENT ON VIEW jit.my_grants IS 'grants that serve, will serve or have served the acting role';

CREATE VIEW jit.active_grants WITH (security_barrier) AS
SELECT g.id, g.scope, g.key, g.all_rows, g.grantee_now AS grantee, g.starts_at, g.ends_at,
       g.ends_at - clock_timestamp() AS time_left
  FROM jit.live_grants g
 WHERE g.starts_at <= clock_timestamp()
   AND (g.grantee_id = ANY ((SELECT jit.held_roles())::oid[])
        OR EXISTS (SELECT FROM jit.requests r WHERE r.id = g.id AND r.person && (SELECT jit.person()))
        OR jit.oversees(g.scope_id));
COMMENT ON VIEW jit.active_grants IS
    'grants that are active now: one''s own, and for approvers of the scope, admins and auditors all of it';

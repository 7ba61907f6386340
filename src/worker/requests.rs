//! Pending requests that nobody will decide any more.

use super::statement::count_afresh;
use super::step::{Stop, batch, transaction};

/// A request whose row somebody has locked is being decided or cancelled right now: skipped, for
/// that person's transaction may stay open as long as they like. The lock looks at the latest
/// version of the row, so what it lets through is still pending.
const LAPSE: &str = "
WITH due AS MATERIALIZED (
    SELECT r.id
      FROM jit_private.requests r
     WHERE r.state = 'pending'
       AND r.lapses_at <= now()
       AND r.origin = jit.origin()
     ORDER BY r.lapses_at
     LIMIT 5000
       FOR NO KEY UPDATE SKIP LOCKED
), lapsed AS (
    UPDATE jit_private.requests r
       SET state = 'lapsed', decided_at = r.lapses_at
     WHERE r.id = ANY (ARRAY(SELECT d.id FROM due d))
    RETURNING r.id, r.scope, r.lapses_at
), event AS (
    INSERT INTO jit_private.events (at, kind, request_id, scope, details)
    SELECT clock_timestamp(), 'lapsed', l.id, l.scope, jsonb_build_object('lapses_at', l.lapses_at)
      FROM lapsed l ORDER BY l.lapses_at, l.id
    RETURNING id
), announcement AS (
    INSERT INTO jit_private.outbox (event_id) SELECT v.id FROM event v
)
SELECT count(*) FROM event";

/// Requests of a scope that was disabled or dropped meanwhile. Those that a dump has brought are void as
/// they are; the record of them stays what it was.
macro_rules! hopeless {
    () => {
        "
      FROM jit_private.requests r
           JOIN jit_private.scopes s ON s.id = r.scope_id
     WHERE r.state = 'pending'
       AND r.origin = jit.origin()
       AND (r.epoch <> s.epoch OR NOT s.enabled OR s.dropped_at IS NOT NULL)"
    };
}

const CLOSE: &str = concat!(
    "
WITH hopeless AS MATERIALIZED (
    SELECT r.id",
    hopeless!(),
    "
     LIMIT 5000
       FOR NO KEY UPDATE OF r SKIP LOCKED
), closed AS (
    UPDATE jit_private.requests r
       SET state = 'closed', decided_at = clock_timestamp()
     WHERE r.id = ANY (ARRAY(SELECT h.id FROM hopeless h))
    RETURNING r.id, r.scope,
              (SELECT CASE WHEN s.dropped_at IS NULL THEN 'scope disabled' ELSE 'scope dropped' END
                 FROM jit_private.scopes s WHERE s.id = r.scope_id) AS why
), event AS (
    INSERT INTO jit_private.events (at, kind, request_id, scope, details)
    SELECT clock_timestamp(), 'closed', c.id, c.scope, jsonb_build_object('why', c.why)
      FROM closed c ORDER BY c.id
    RETURNING id
), announcement AS (
    INSERT INTO jit_private.outbox (event_id) SELECT v.id FROM event v
)
SELECT count(*) FROM event"
);

const LEFT_OVER: &str = concat!("SELECT count(*) FROM (SELECT", hopeless!(), " LIMIT 1) q");

/// Puts on record the requests that nobody decided in time.
pub fn lapse() -> Result<i64, Stop> {
    batch(LAPSE)
}

/// What became of the requests that can no longer be decided.
pub struct Closed {
    pub count: i64,
    /// Some were locked, or too many: look again.
    pub left_over: bool,
}

/// Closes the requests that can no longer be decided.
pub fn close() -> Result<Closed, Stop> {
    transaction(|| Ok(Closed { count: count_afresh(CLOSE)?, left_over: count_afresh(LEFT_OVER)? > 0 }))
}

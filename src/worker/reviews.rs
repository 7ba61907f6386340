//! Access that was taken by breaking the glass, and that nobody has reviewed in time.

use super::step::{Stop, batch};

/// Once for each. A row that somebody has locked is being reviewed right now.
const ESCALATE: &str = "
WITH due AS MATERIALIZED (
    SELECT r.id
      FROM jit_private.requests r
     WHERE r.review_due <= now()
       AND r.reviewed_at IS NULL
       AND r.escalated_at IS NULL
       AND r.origin = jit.origin()
     ORDER BY r.review_due
     LIMIT 5000
       FOR NO KEY UPDATE SKIP LOCKED
), escalated AS (
    UPDATE jit_private.requests r
       SET escalated_at = clock_timestamp()
     WHERE r.id = ANY (ARRAY(SELECT d.id FROM due d))
    RETURNING r.id, r.scope, r.review_due, r.grantee
), event AS (
    INSERT INTO jit_private.events (at, kind, request_id, scope, details)
    SELECT clock_timestamp(), 'review overdue', e.id, e.scope,
           jsonb_build_object('review_due', e.review_due, 'grantee', e.grantee)
      FROM escalated e ORDER BY e.review_due, e.id
    RETURNING id
), announcement AS (
    INSERT INTO jit_private.outbox (event_id) SELECT v.id FROM event v
)
SELECT count(*) FROM event";

/// Puts it on record; says how many there were.
pub fn escalate() -> Result<i64, Stop> {
    batch(ESCALATE)
}

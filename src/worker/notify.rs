//! NOTIFY jit_rls, from the events, after their commit.
//!
//! In a transaction of its own, since it can fail (any login can fill the queue by listening
//! and not reading) and can wait: PreCommit_Notify() takes one lock for the whole cluster, held
//! until the notifier's commit is done, waiting for a standby included.

use super::statement::{count_afresh, number};
use super::step::{Stop, transaction};

/// What a listener missed by an hour it reads from `jit.events`. Keeps the outbox small when
/// NOTIFY cannot be had.
const DROP_STALE: &str = "
WITH dropped AS (
    DELETE FROM jit_private.outbox o
     WHERE NOT EXISTS (SELECT FROM jit_private.events e
                        WHERE e.id = o.event_id AND e.at > now() - interval '1 hour')
    RETURNING 1
)
SELECT count(*) FROM dropped";

/// Nothing but what kind of thing happened to which request: reasons may be confidential, and
/// everybody who can connect can listen.
const SEND: &str = "
WITH batch AS MATERIALIZED (
    SELECT o.event_id FROM jit_private.outbox o ORDER BY o.event_id LIMIT 5000 FOR UPDATE SKIP LOCKED
), taken AS (
    DELETE FROM jit_private.outbox o WHERE o.event_id = ANY (ARRAY(SELECT b.event_id FROM batch b)) RETURNING o.event_id
)
SELECT count(pg_notify('jit_rls', m.message))
  FROM (SELECT CASE WHEN e.details ? 'stage'
                    THEN json_build_object('v', 1, 'event', e.id, 'kind', e.kind, 'request', e.request_id, 'scope', e.scope,
                                           'stage', e.details->'stage')
                    ELSE json_build_object('v', 1, 'event', e.id, 'kind', e.kind, 'request', e.request_id, 'scope', e.scope)
               END::text AS message
          FROM jit_private.events e
         WHERE e.id = ANY (ARRAY(SELECT t.event_id FROM taken t))
         ORDER BY e.id) m";

/// Longer, and a grant that ends meanwhile would be late.
const SHORT_WAIT: &str = "SELECT length(set_config('lock_timeout', '200ms', true))::bigint";

/// Announces what has been written since the last time; says how many there were.
pub fn send() -> Result<i64, Stop> {
    transaction(|| {
        number(SHORT_WAIT)?;
        // It changes no table that another plan is about.
        Ok(number(SEND)?.unwrap_or_default())
    })
}

/// Gives up on what could not be announced in time.
pub fn drop_stale() -> Result<i64, Stop> {
    transaction(|| count_afresh(DROP_STALE))
}

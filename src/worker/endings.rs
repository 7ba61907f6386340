//! Grants: their endings by time and by rule, and tidying away what has ended.

use super::statement::{numbers, plan_anew};
use super::step::{BATCH, Stop, batch_afresh, transaction};

/// From `$1` and `$2` on: the end, in microseconds since 1970, and the id of the last one before. Says how many there were,
/// and what the last one was.
///
/// `now()` is right here: the statement is the first of its own transaction. Rows that somebody
/// has locked are left for the next pass. What a dump has brought was void from the beginning, and
/// its endings may be loaded after it: nothing is put on record for it.
const EXPIRE: &str = "
WITH due AS MATERIALIZED (
    SELECT g.id, g.scope, g.ends_at
      FROM jit_private.grants g
     WHERE g.tidied_at IS NULL
       AND g.ends_at <= now()
       AND (g.ends_at, g.id) > (timestamptz 'epoch' + $1 * interval '1 microsecond', $2)
       AND g.origin = jit.origin()
       AND NOT EXISTS (SELECT FROM jit_private.endings e WHERE e.grant_id = g.id OFFSET 0)
     ORDER BY g.ends_at, g.id
     LIMIT 5000
       FOR KEY SHARE OF g SKIP LOCKED
), ending AS (
    INSERT INTO jit_private.endings (grant_id, at, kind)
    SELECT d.id, d.ends_at, 'expired' FROM due d ORDER BY d.ends_at, d.id
), event AS (
    INSERT INTO jit_private.events (at, kind, request_id, scope, details)
    SELECT clock_timestamp(), 'expired', d.id, d.scope, jsonb_build_object('ends_at', d.ends_at)
      FROM due d ORDER BY d.ends_at, d.id
    RETURNING id
), announcement AS (
    INSERT INTO jit_private.outbox (event_id) SELECT v.id FROM event v
)
SELECT (SELECT count(*) FROM event), (extract(epoch FROM d.ends_at) * 1000000)::bigint, d.id
  FROM due d
 ORDER BY d.ends_at DESC, d.id DESC
 LIMIT 1";

/// Disabling or dropping a scope ends the grants that it can see. A grant whose transaction
/// committed only afterwards is of an older epoch: it serves nobody, and gets its ending here.
/// An epoch only rises, so `<` finds them all, and finds them by index.
const END_DEAD: &str = "
WITH dead AS MATERIALIZED (
    SELECT g.id, g.scope,
           CASE WHEN s.dropped_at IS NULL THEN 'scope disabled' ELSE 'scope dropped' END AS kind
      FROM jit_private.scopes s
           JOIN jit_private.grants g ON g.scope_id = s.id AND g.epoch < s.epoch
     WHERE g.tidied_at IS NULL
       AND g.origin = jit.origin()
       AND NOT EXISTS (SELECT FROM jit_private.endings e WHERE e.grant_id = g.id)
     LIMIT 5000
       FOR KEY SHARE OF g SKIP LOCKED
), ending AS (
    INSERT INTO jit_private.endings (grant_id, at, kind)
    SELECT d.id, clock_timestamp(), d.kind FROM dead d ORDER BY d.id
), event AS (
    INSERT INTO jit_private.events (at, kind, request_id, scope, details)
    SELECT clock_timestamp(), d.kind, d.id, d.scope, '{}'::jsonb FROM dead d ORDER BY d.id
    RETURNING id
), announcement AS (
    INSERT INTO jit_private.outbox (event_id) SELECT v.id FROM event v
)
SELECT count(*) FROM event";

/// Only endings that have committed are seen, so nothing alive is ever tidied away. Grants of another
/// database's are void.
///
/// Rows are updated by an array of ids, here and elsewhere: whatever statistics say, that is a
/// look-up of each in the primary key. A join was planned as one of every live row with every
/// chosen one.
const TIDY: &str = "
WITH ended AS MATERIALIZED (
    SELECT g.id
      FROM jit_private.grants g
     WHERE g.tidied_at IS NULL
       AND (g.origin <> jit.origin() OR EXISTS (SELECT FROM jit_private.endings e WHERE e.grant_id = g.id))
     LIMIT 5000
       FOR NO KEY UPDATE OF g SKIP LOCKED
), tidied AS (
    UPDATE jit_private.grants g
       SET tidied_at = clock_timestamp()
     WHERE g.id = ANY (ARRAY(SELECT d.id FROM ended d))
    RETURNING 1
)
SELECT count(*) FROM tidied";

/// Before every grant: the year 1.
const FIRST: [i64; 2] = [-62_135_596_800_000_000, 0];

/// Puts on record the grants whose time is up.
pub struct Expiry {
    /// The last one of a full batch. What is put on record stays where it was until it is tidied away: whoever began at the
    /// first one each time would walk over all of it with each batch.
    last: [i64; 2],
}

impl Expiry {
    pub const fn new() -> Self {
        Expiry { last: FIRST }
    }

    /// One batch; says how many.
    pub fn run(&mut self) -> Result<i64, Stop> {
        let found = transaction(|| numbers::<3>(EXPIRE, &self.last))?;
        let (count, last) = found.map_or((0, FIRST), |[count, at, id]| (count, [at, id]));
        // What somebody had locked comes in the next round.
        self.last = if count >= BATCH { last } else { FIRST };
        if count > 0 {
            plan_anew();
        }
        Ok(count)
    }
}

/// Ends grants that were made while their scope was being disabled or dropped.
pub fn end_dead() -> Result<i64, Stop> {
    batch_afresh(END_DEAD)
}

/// Takes what has ended out of the index of live grants.
pub fn tidy() -> Result<i64, Stop> {
    batch_afresh(TIDY)
}

//! Scheduled grants at their start: whoever asked must still be allowed to.

use super::statement::count;
use super::step::{Stop, transaction};
use crate::lifecycle::grant;

/// Whether there are any.
const DUE: &str = "
SELECT count(*)
  FROM (SELECT FROM jit_private.grants g
         WHERE g.asked_by IS NOT NULL AND g.tidied_at IS NULL AND g.starts_at <= now() AND g.origin = jit.origin()
         LIMIT 1) d";

/// Looks at the scheduled grants whose time has come; says how many there were.
pub fn start() -> Result<i64, Stop> {
    transaction(|| if count(DUE)? == 0 { Ok(0) } else { Ok(grant::start_due()) })
}

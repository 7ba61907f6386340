//! Scheduled grants at their start: whoever asked must still be allowed to.

use super::step::{Stop, transaction};
use crate::lifecycle::grant;

/// Looks at the scheduled grants whose time has come; says how many there were.
pub fn start() -> Result<i64, Stop> {
    transaction(|| Ok(grant::start_due()))
}

//! The database's clock, as checks read it.

use std::sync::atomic::{AtomicI64, Ordering};

use pgrx::pg_sys::TimestampTz;

unsafe extern "C-unwind" {
    /// Declared here once more because pgrx wraps every function in a sigsetjmp(), which costs
    /// as much as this one does, and it is called for each row. It only reads gettimeofday()
    /// (timestamp.c) and cannot raise.
    safe fn GetCurrentTimestamp() -> TimestampTz;
}

/// The latest time that this process has seen.
static LATEST: AtomicI64 = AtomicI64::new(i64::MIN);

/// Now, in microseconds since 2000-01-01 UTC. It never runs backwards within a process: setting
/// the system's clock back must not revive a grant whose end a session has already seen. Not
/// now() or statement_timestamp(), which stand still inside a transaction or a DO block.
pub fn now() -> TimestampTz {
    let clock = GetCurrentTimestamp();
    clock.max(LATEST.fetch_max(clock, Ordering::Relaxed))
}

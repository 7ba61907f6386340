//! How far a hot standby can be trusted.
//!
//! An ending is known there once it has been replayed, and replay can stand still while all looks well: paused by
//! hand, held up by a long query (of the holder's, say), or because the primary is out of reach. So access is
//! denied when the latest commit that has been replayed was made too long ago by the primary's clock. A primary
//! on which nothing happens commits nothing, hence the heartbeat of its launcher (`worker::heartbeat`).

use std::sync::atomic::{AtomicI64, Ordering};

use pgrx::pg_sys::TimestampTz;

use crate::settings;

// Raw, for the way of each row: both read shared memory and cannot raise (xlog.c, xlogrecovery.c).
unsafe extern "C-unwind" {
    safe fn RecoveryInProgress() -> bool;
    safe fn GetLatestXTime() -> TimestampTz;
}

const SECOND: i64 = 1_000_000;

/// Until when this process need not look again.
static TRUSTED_UNTIL: AtomicI64 = AtomicI64::new(i64::MIN);

/// Whether this server is a standby, now.
pub fn in_recovery() -> bool {
    RecoveryInProgress()
}

/// The primary's clock at the latest commit that has been replayed here; 0: at none.
pub fn heard_at() -> TimestampTz {
    GetLatestXTime()
}

/// A time up to which [`is_stale`] is false, without looking.
#[inline(always)]
pub fn trusted_until() -> TimestampTz {
    TRUSTED_UNTIL.load(Ordering::Relaxed)
}

/// Whether an ending that was made longer ago than `jit_rls.max_replica_staleness` may not be known here.
#[inline(always)]
pub fn is_stale(now: TimestampTz) -> bool {
    now >= trusted_until() && !look(now)
}

/// False: stale.
#[cold]
fn look(now: TimestampTz) -> bool {
    let until = match settings::max_replica_staleness() {
        // A session that has tried to set it itself has lost the superuser's value, as with shared logins.
        _ if in_recovery() && settings::max_replica_staleness_forged() => i64::MIN,
        // Not beyond what the setting says from now: the primary's clock may have been ahead.
        Some(seconds) if in_recovery() => heard_at().min(now).saturating_add(seconds.saturating_mul(SECOND)),
        _ => i64::MAX,
    };
    TRUSTED_UNTIL.store(until, Ordering::Relaxed);
    now < until
}

/// What it was concluded from is about to change.
pub fn look_again() {
    TRUSTED_UNTIL.store(i64::MIN, Ordering::Relaxed);
}

//! A commit now and then, while a standby is attached: what a standby has replayed last says how far it can be
//! trusted (`check::replica`), and on a primary on which nothing happens there would be nothing to replay.
//!
//! A commit that has changed nothing: its record carries the time, and there is no table that would have to be
//! read, vacuumed or dumped. One for all databases.

use std::time::{Duration, Instant};

use pgrx::pg_sys;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;

use super::backoff::Throttle;
use crate::errors::log;
use crate::settings;

/// However long a standby is trusted for.
const LONGEST: Duration = Duration::from_secs(10);
/// Part of the time that a standby is trusted for.
const PART: u32 = 4;

pub struct Heartbeat {
    last: Option<Instant>,
    complaints: Throttle,
}

impl Heartbeat {
    pub const fn new() -> Self {
        Heartbeat { last: None, complaints: Throttle::new(Duration::from_secs(60)) }
    }

    /// To be called on a primary, outside a transaction, where some database has the extension. When to be called again.
    pub fn beat(&mut self) -> Duration {
        let Some(interval) = settings::max_replica_staleness()
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map(|seconds| (Duration::from_secs(seconds) / PART).min(LONGEST))
        else {
            return LONGEST;
        };
        // A standby that comes is noticed as soon as it needs the next one.
        if !standby_is_attached() {
            return interval;
        }
        let since = self.last.map(|last| last.elapsed());
        if let Some(left) = since.and_then(|since| interval.checked_sub(since)).filter(|left| !left.is_zero())
        {
            return left;
        }
        if let Err(message) = commit()
            && self.complaints.pass(Instant::now())
        {
            log(format!("jit_rls could not commit a heartbeat for the standbys: {message}"));
        }
        self.last = Some(Instant::now());
        interval
    }
}

/// Whether somebody receives WAL. A logical subscriber counts, too: one commit more does no harm.
fn standby_is_attached() -> bool {
    // SAFETY: the array has max_wal_senders places and lives as long as the server. Both fields are read whole; which of
    // two neighbouring moments they are of does not matter.
    unsafe {
        let Some(control) = pg_sys::WalSndCtl.as_ref() else { return false };
        let places = usize::try_from(pg_sys::max_wal_senders).unwrap_or(0);
        control.walsnds.as_slice(places).iter().any(|sender| {
            (&raw const sender.pid).read_volatile() != 0
                && (&raw const sender.state).read_volatile() >= pg_sys::WalSndState::WALSNDSTATE_CATCHUP
        })
    }
}

/// A transaction that has an id leaves a record when it commits: RecordTransactionCommit() (xact.c). Near the
/// wraparound of ids there are none to be had.
fn commit() -> Result<(), String> {
    PgTryBuilder::new(|| {
        // SAFETY: outside a transaction, connected, and not in recovery, where there are no ids.
        unsafe {
            pg_sys::SetCurrentStatementStartTimestamp();
            pg_sys::StartTransactionCommand();
            pg_sys::GetTopTransactionId();
            pg_sys::CommitTransactionCommand();
        }
        Ok(())
    })
    .catch_others(|error| {
        let message = match &error {
            CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) => {
                report.message().to_owned()
            }
            CaughtError::RustPanic { ereport, .. } => ereport.message().to_owned(),
        };
        // SAFETY: what PostgresMain() does after an error.
        unsafe { pg_sys::AbortCurrentTransaction() };
        Err(message)
    })
    .execute()
}

//! One step of the worker: a short transaction of its own, whose failure stops nobody else.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::pg_sys::panic::{CaughtError, ErrorReportWithLevel};
use pgrx::prelude::*;

use super::backoff::{Backoff, Throttle};
use super::presence::{self, Presence};
use super::shared;
use super::statement::{count, count_afresh};
use crate::check::clock;

/// Rows that one transaction handles: the LIMIT of the statements.
pub const BATCH: i64 = 5_000;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// DROP EXTENSION is a matter of moments. How often a step finds the extension locked before it complains.
const DOUBTS: u32 = 3;

/// Why a step did not do its work.
pub enum Stop {
    /// The extension is not there any more.
    Gone,
    /// The extension is being dropped by a transaction that is still open.
    InDoubt,
    Failed(Failure),
}

pub struct Failure {
    code: PgSqlErrorCode,
    message: String,
}

impl Failure {
    fn of(report: &ErrorReportWithLevel) -> Self {
        Failure { code: report.sql_error_code(), message: report.message().to_owned() }
    }
}

/// Runs `body` in a transaction, as the bootstrap superuser, once the extension is known to be
/// there.
pub fn transaction<R>(body: impl FnOnce() -> spi::Result<R>) -> Result<R, Stop> {
    let attempt = PgTryBuilder::new(AssertUnwindSafe(|| {
        // SAFETY: the worker is connected and outside a transaction. now() is the start of the
        // statement, which nobody but us sets here. An error anywhere in here, the commit
        // included, aborts the transaction below.
        unsafe {
            pg_sys::SetCurrentStatementStartTimestamp();
            pg_sys::StartTransactionCommand();
            // ALTER DATABASE … SET role must not make the worker somebody else.
            pg_sys::SetUserIdAndSecContext(pg_sys::Oid::from(pg_sys::BOOTSTRAP_SUPERUSERID), 0);
            pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        }
        let result = match presence::hold_extension() {
            Presence::There => body().map_err(|e| {
                Stop::Failed(Failure { code: PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, message: e.to_string() })
            }),
            Presence::Gone => Err(Stop::Gone),
            Presence::InDoubt => Err(Stop::InDoubt),
        };
        // SAFETY: as above.
        unsafe {
            if result.is_ok() {
                pg_sys::PopActiveSnapshot();
                pg_sys::CommitTransactionCommand();
            } else {
                pg_sys::AbortCurrentTransaction();
            }
        }
        result
    }))
    .catch_others(|error| {
        let failure = match &error {
            CaughtError::PostgresError(report)
            | CaughtError::ErrorReport(report)
            | CaughtError::RustPanic { ereport: report, .. } => Failure::of(report),
        };
        // SAFETY: what PostgresMain() does after an error.
        unsafe { pg_sys::AbortCurrentTransaction() };
        Err(Stop::Failed(failure))
    })
    .execute();
    // SAFETY: outside a transaction nothing else is current.
    unsafe { pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext) };
    attempt
}

/// Runs a statement that handles up to `BATCH` rows, and says how many. Only one batch: between
/// two of them the other steps have their turn, and the worker heeds that it is to leave.
pub fn batch(sql: &'static str) -> Result<i64, Stop> {
    transaction(|| count(sql))
}

/// The same for what is not done in each pass.
pub fn batch_afresh(sql: &'static str) -> Result<i64, Stop> {
    transaction(|| count_afresh(sql))
}

/// A step that is done again and again.
pub struct Step {
    /// What it does, for the log: "could not …".
    purpose: &'static str,
    /// What its failure means, for the log.
    meaning: &'static str,
    backoff: Backoff,
    complaints: Throttle,
    /// How often in a row the extension was locked.
    doubts: u32,
}

/// What became of a step.
pub enum Outcome<R> {
    Done(R),
    /// Not now, but after this long.
    Later(Duration),
    Gone,
}

impl Step {
    pub const fn new(purpose: &'static str) -> Self {
        Step {
            purpose,
            meaning: "It tries again by itself. Until then access ends as it should; only the record of it is late.",
            backoff: Backoff::new(SECOND, MINUTE),
            complaints: Throttle::new(MINUTE),
            doubts: 0,
        }
    }

    /// One that somebody's access waits for.
    pub const fn urgent(purpose: &'static str, meaning: &'static str) -> Self {
        Step {
            purpose,
            meaning,
            backoff: Backoff::new(Duration::from_millis(100), SECOND),
            complaints: Throttle::new(MINUTE),
            doubts: 0,
        }
    }

    /// Runs it unless it failed a short while ago.
    pub fn attempt<R>(&mut self, run: impl FnOnce() -> Result<R, Stop>) -> Outcome<R> {
        if let Some(wait) = self.backoff.too_early(Instant::now()) {
            return Outcome::Later(wait);
        }
        let outcome = run();
        self.doubts = if matches!(outcome, Err(Stop::InDoubt)) { self.doubts.saturating_add(1) } else { 0 };
        match outcome {
            Ok(result) => {
                self.backoff.succeeded();
                Outcome::Done(result)
            }
            Err(Stop::Gone) => Outcome::Gone,
            Err(Stop::InDoubt) => {
                if self.doubts >= DOUBTS {
                    self.complain(Failure {
                        code: PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
                        message: "somebody keeps the extension jit_rls locked".to_owned(),
                    });
                }
                Outcome::Later(SECOND)
            }
            Err(Stop::Failed(failure)) => {
                let now = Instant::now();
                let until = self.backoff.failed(now);
                self.complain(failure);
                Outcome::Later(until - now)
            }
        }
    }

    fn complain(&mut self, failure: Failure) {
        shared::report(|status| status.set_error(clock::now(), &failure.message));
        if !self.complaints.pass(Instant::now()) {
            return;
        }
        ErrorReport::new(
            failure.code,
            format!("jit_rls worker could not {}: {}", self.purpose, failure.message),
            function_name!(),
        )
        .set_detail(self.meaning)
        .report(PgLogLevel::LOG);
    }
}

//! Changes that must be committed soon after they were made, or not at all: what they were decided on holds no longer.
//!
//! A yes, before the request lapses; access that is taken. The extension of a grant, before the grant ends: an ended one
//! never comes back. A change of rules, before those who made it may ask again.

use std::ffi::c_void;
use std::sync::atomic::{AtomicI64, Ordering};

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::now;
use crate::enforce::commit;
use crate::errors::Refusal;

/// What somebody has decided is committed within this time, in microseconds.
pub const COMMIT_WITHIN: i64 = 60_000_000;

/// The earliest of the moments that the transaction at hand must be committed before.
static BEFORE: AtomicI64 = AtomicI64::new(i64::MAX);

/// Called once, from `_PG_init`.
pub fn init() {
    // SAFETY: the callback lives as long as the process.
    unsafe { pg_sys::RegisterXactCallback(Some(transaction_changes), std::ptr::null_mut()) };
}

/// The transaction at hand can be committed until then only, and not be prepared. A savepoint that takes the change
/// back does not take that back.
pub fn must_commit_before(moment: pg_sys::TimestampTz) {
    BEFORE.fetch_min(moment, Ordering::Relaxed);
}

/// Errors leave from the first two events only, see `enforce::commit`.
unsafe extern "C-unwind" fn transaction_changes(event: pg_sys::XactEvent::Type, _arg: *mut c_void) {
    use pg_sys::XactEvent::*;
    let before = BEFORE.load(Ordering::Relaxed);
    if before == i64::MAX {
        return;
    }
    match event {
        XACT_EVENT_PRE_COMMIT => refuse_late_commit(before),
        XACT_EVENT_PRE_PREPARE => refuse_prepare(),
        XACT_EVENT_COMMIT | XACT_EVENT_ABORT | XACT_EVENT_PREPARE => {
            BEFORE.store(i64::MAX, Ordering::Relaxed)
        }
        _ => {}
    }
}

#[pg_guard]
extern "C-unwind" fn refuse_late_commit(before: pg_sys::TimestampTz) {
    commit::wait_for_locks();
    if now() < before {
        return;
    }
    Refusal::wrong_state("this transaction is committed too late")
        .detail("Longer than a minute ago it has approved a request, broken the glass or changed rules; or the request has lapsed since, or the grant has ended that it was to lengthen.")
        .hint("Do it again, and COMMIT at once.")
        .raise()
}

#[pg_guard]
extern "C-unwind" fn refuse_prepare() {
    Refusal::new(
        PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
        "cannot PREPARE a transaction that has approved a request, broken the glass or changed rules",
    )
    .detail("It could be committed at any time later.")
    .hint("COMMIT it.")
    .raise()
}

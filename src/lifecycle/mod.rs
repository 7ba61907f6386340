//! The state machine: scopes and their rules, requests, reviews, grants and endings.
//!
//! Every function here decides who is asking first, then acts as the owner of the tables
//! (`crate::privileged`), and writes the event of a change in the transaction of the change.

pub mod args;
mod ask;
mod automatic;
mod break_glass;
pub mod commit_in_time;
mod decision;
pub mod deliberate;
mod ending;
mod explain;
mod extend;
pub mod grant;
mod key;
mod limits;
pub mod options;
mod pinned;
mod quorum;
mod request;
mod review;
mod rule_change;
mod rules;
mod scope;
mod session;
mod span;
mod stages;
mod wish;

use std::ffi::CStr;

use pgrx::pg_sys;

use crate::errors::{Outcome, Refusal};
use crate::identity::Identity;

/// What each function that writes asks first. Raises 25006 itself on a standby and in a
/// read-only transaction.
fn begin(function: &CStr) -> Outcome<Identity> {
    // SAFETY: reads XactReadOnly; raises or returns.
    unsafe { pg_sys::PreventCommandIfReadOnly(function.as_ptr()) };
    // SAFETY: reads a static. An index expression or a materialised view of somebody else's runs
    // like this under a superuser's ANALYZE, autovacuum or REFRESH, as the session of that superuser.
    if unsafe { pg_sys::InSecurityRestrictedOperation() } {
        return Err(restricted(function));
    }
    Ok(Identity::current())
}

fn restricted(function: &CStr) -> Refusal {
    Refusal::not_allowed(format!(
        "{} cannot be used inside a security-restricted operation",
        function.to_string_lossy()
    ))
    .detail("Maintenance commands run index expressions and materialised views of other people like this.")
    .hint("Call it in a statement of its own.")
}

/// The clock of the database, in microseconds since 2000-01-01 UTC.
fn now() -> pg_sys::TimestampTz {
    // SAFETY: reads the system clock.
    unsafe { pg_sys::GetCurrentTimestamp() }
}

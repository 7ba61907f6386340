//! Waking the worker once a transaction has committed.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::prelude::*;

use super::{preloaded, shared, stay_out};
use crate::check::replica;

/// Whether the transaction at hand wants the worker to look.
static WANTED: AtomicBool = AtomicBool::new(false);
/// The same for the workers of all databases.
static WANTED_EVERYWHERE: AtomicBool = AtomicBool::new(false);

/// The worker of this database looks around as soon as the current transaction has committed.
pub fn nudge_after_commit() {
    if preloaded() {
        WANTED.store(true, Ordering::Relaxed);
    }
}

/// Roles are everybody's: who belongs to which decides about access in each database.
pub fn nudge_all_after_commit() {
    if preloaded() {
        WANTED_EVERYWHERE.store(true, Ordering::Relaxed);
    }
}

/// A transaction uses a grant. On a standby nobody commits anything that would wake the worker: it looks around
/// for as long as there are uses.
pub fn use_on_a_standby() {
    if replica::in_recovery() {
        // SAFETY: a global of this process.
        shared::nudge_unless_watching(unsafe { pg_sys::MyDatabaseId });
    }
}

/// Once the current transaction has committed, the launcher probes this database. A nudge
/// where there is no worker is just that.
pub fn announce_database() {
    nudge_after_commit();
}

/// In the postmaster, for every process that it forks: the list of callbacks is inherited.
pub fn register() {
    // SAFETY: the callback is guarded and lives as long as the process.
    unsafe { pg_sys::RegisterResourceReleaseCallback(Some(transaction_ends), std::ptr::null_mut()) };
}

/// Why not XACT_EVENT_COMMIT: CommitTransaction() sends the invalidation messages after it, and
/// a worker woken that early could look with catalogs that are out of date. When the locks are
/// released, the transaction is over for everybody.
///
/// PREPARE TRANSACTION comes by here as a commit as well; the worker then finds nothing, and
/// COMMIT PREPARED nudges it in `stay_out::after_utility`.
#[pg_guard]
unsafe extern "C-unwind" fn transaction_ends(
    phase: pg_sys::ResourceReleasePhase::Type,
    is_commit: bool,
    is_top_level: bool,
    _arg: *mut c_void,
) {
    // Portals and subtransactions release their resources with is_top_level = false.
    if phase != pg_sys::ResourceReleasePhase::RESOURCE_RELEASE_AFTER_LOCKS || !is_top_level {
        return;
    }
    if !is_commit {
        stay_out::after_failure();
    }
    if WANTED_EVERYWHERE.swap(false, Ordering::Relaxed) && is_commit {
        shared::nudge_all();
    }
    if WANTED.swap(false, Ordering::Relaxed) && is_commit {
        // SAFETY: a global of this process.
        shared::nudge(unsafe { pg_sys::MyDatabaseId });
    }
}

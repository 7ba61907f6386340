//! The background workers: a launcher for the cluster, and one worker for each database
//! that has the extension.
//!
//! No access depends on them: a grant ends by the clock and by its ending's commit, worker
//! or not. The worker stops who uses what has ended, puts on record what ended by itself, tidies
//! up, and notifies. On a hot standby it stops, and writes nothing.
//!
//! Everything here is harmless where the library was not preloaded: there is no shared
//! memory then, and nobody to tell.

mod backoff;
mod database;
mod endings;
mod enforce;
mod heartbeat;
mod launcher;
mod names;
mod notify;
mod nudge;
mod pass;
mod presence;
mod requests;
mod reviews;
mod shared;
mod starts;
mod statement;
mod status;
mod stay_out;
mod step;
mod wait;

use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

pub use nudge::{announce_database, nudge_after_commit, use_on_a_standby};
pub use stay_out::{after_utility, before_utility};

/// Set in the postmaster and inherited by every process that it forks.
static PRELOADED: AtomicBool = AtomicBool::new(false);

/// Called once, from `_PG_init`.
pub fn init() {
    // SAFETY: reads of globals that are set before any library is loaded.
    let at_start = unsafe { pg_sys::process_shared_preload_libraries_in_progress };
    // pg_upgrade moves files under a server of its own, where a worker would be in the way.
    // SAFETY: as above.
    if !at_start || unsafe { pg_sys::IsBinaryUpgrade } {
        return;
    }
    PRELOADED.store(true, Ordering::Relaxed);
    shared::request();
    crate::enforce::init_shared();
    nudge::register();
    launcher::register();
}

/// Whether `shared_preload_libraries` loaded the library, so that there is a worker.
pub fn preloaded() -> bool {
    PRELOADED.load(Ordering::Relaxed)
}

/// `jit.preloaded()`
#[pg_extern(sql = false)]
fn jit_preloaded() -> bool {
    preloaded()
}

/// `jit.announce_installation()`: called by the install script.
#[pg_extern(sql = false)]
fn jit_announce_installation() {
    if preloaded() {
        announce_database();
        return;
    }
    ErrorReport::new(
        PgSqlErrorCode::ERRCODE_WARNING,
        "jit_rls is installed, but its worker will not run",
        function_name!(),
    )
    .set_detail(
        "Access is granted and ended all the same: expired grants stop serving at their time, revoked ones at once. \
         What is missing: statements that run on a grant when it ends are not cancelled, and there are no events of expiry and of \
         lapsed requests, and no NOTIFY jit_rls.",
    )
    .set_hint(
        "Add to postgresql.conf: shared_preload_libraries = 'jit_rls' and restart. Until then, have the library \
         loaded when sessions start, so that their first decision is known to be their own: \
         ALTER DATABASE ... SET session_preload_libraries = 'jit_rls'.",
    )
    .report(PgLogLevel::WARNING);
}

//! How the background processes sleep, and what they heed when they wake up.

use std::ffi::c_int;
use std::time::Duration;

use pgrx::prelude::*;

use crate::compat;

unsafe extern "C-unwind" {
    // pgrx's bindings are wrappers, which have no place in a signal handler.
    fn die(signal: c_int);
    fn SignalHandlerForConfigReload(signal: c_int);
}

/// Lets signals in. `die` for SIGTERM, as in a session: it ends a statement under way, too,
/// where a flag of our own would leave a fast shutdown waiting for it.
pub fn handle_signals() {
    // SAFETY: both are PostgreSQL's own handlers, safe in a signal's context.
    unsafe {
        compat::handle_signal(pg_sys::SIGHUP as c_int, SignalHandlerForConfigReload);
        compat::handle_signal(pg_sys::SIGTERM as c_int, die);
        pg_sys::BackgroundWorkerUnblockSignals();
    }
}

/// Sleeps until the latch is set, or for as long as told. False: time to exit.
#[must_use]
pub fn sleep(longest: Duration) -> bool {
    let millis = longest.as_millis().try_into().unwrap_or(60_000);
    // WaitLatch() knows nothing shorter than a millisecond.
    let rest = longest.saturating_sub(Duration::from_millis(u64::try_from(millis).unwrap_or(0)));
    let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    // SAFETY: MyLatch is this process's own; the flags are set by signal handlers only.
    unsafe {
        let woken = pg_sys::WaitLatch(pg_sys::MyLatch, events as c_int, millis, pg_sys::PG_WAIT_EXTENSION);
        if woken & pg_sys::WL_LATCH_SET as c_int == 0 {
            std::thread::sleep(rest);
        }
        pg_sys::ResetLatch(pg_sys::MyLatch);
        if (&raw const pg_sys::ProcDiePending).read_volatile() != 0 {
            return false;
        }
        // pg_cancel_backend() cancels a statement, and none is running.
        (&raw mut pg_sys::QueryCancelPending).write_volatile(0);
        pg_sys::check_for_interrupts!();
        if (&raw const pg_sys::ConfigReloadPending).read_volatile() != 0 {
            (&raw mut pg_sys::ConfigReloadPending).write_volatile(0);
            pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
        }
    }
    true
}

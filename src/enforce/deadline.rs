//! A backend cancels its own statement at the moment when the time of a grant that it uses is up.
//!
//! The worker does so, too; but it has to wake up for it, and to wait for a processor. A timer of the process itself
//! goes off in the midst of what the process does. What it finds in the slot decides: the worker writes there that a
//! grant has been extended. Only for scopes whose `on_end` is `cancel`; parallel workers leave it to the worker.

use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, Ordering};

use pgrx::pg_sys::{self, TimestampTz};

use super::slots;
use crate::check::{clock, replica};

type Handler = unsafe extern "C-unwind" fn();

// Not among pgrx's bindings, and raw: on everybody's way and in a signal handler. timeout.c works on memory of the
// process's own; it raises nothing but FATAL, for a mistake of the caller's.
unsafe extern "C-unwind" {
    fn RegisterTimeout(id: c_int, handler: Handler) -> c_int;
    fn enable_timeout_at(id: c_int, at: TimestampTz);
    fn get_timeout_active(id: c_int) -> bool;
}

/// Whatever is not below USER_TIMEOUT, which differs between versions, asks RegisterTimeout() for a free one.
const ANY_FREE: c_int = c_int::MAX;

const NOT_REGISTERED: i32 = -1;

/// The number that timeout.c has given the timer.
static TIMER: AtomicI32 = AtomicI32::new(NOT_REGISTERED);
/// What it was set to last.
static SET_TO: AtomicI64 = AtomicI64::new(TimestampTz::MAX);
/// Whether time was up while the transaction at hand used a grant, and which one's.
static PASSED: AtomicBool = AtomicBool::new(false);
static GRANT: AtomicI64 = AtomicI64::new(0);

/// A use that the slot names by now ends then. Cheap as long as the timer goes off before: it is left set from one
/// transaction to the next, and sets itself anew.
///
/// Not on a standby, where it could not be known in time that the grant has been lengthened: its worker looks all the
/// time.
pub fn set(end: TimestampTz) {
    if slots::is_parallel_worker() || replica::in_recovery() {
        return;
    }
    if TIMER.load(Ordering::Relaxed) == NOT_REGISTERED {
        // SAFETY: a backend's main thread, whose timeouts are initialised before it runs anything.
        TIMER.store(unsafe { RegisterTimeout(ANY_FREE, time_is_up) }, Ordering::Relaxed);
    }
    if !is_set() {
        set_to(slots::look_at_the_clock(TimestampTz::MIN).next.map_or(end, |first| first.min(end)));
    } else if end < SET_TO.load(Ordering::Relaxed) {
        set_to(end);
    }
}

/// For a transaction that goes on after an error: with a savepoint of the client's all timers are taken away
/// (disable_all_timeouts() in PostgresMain()).
pub fn keep() {
    if TIMER.load(Ordering::Relaxed) != NOT_REGISTERED
        && !is_set()
        && passed().is_none()
        && let Some(first) = slots::look_at_the_clock(TimestampTz::MIN).next
    {
        set_to(first);
    }
}

fn is_set() -> bool {
    // SAFETY: reads what timeout.c says of a timer; it has been registered.
    unsafe { get_timeout_active(TIMER.load(Ordering::Relaxed)) }
}

fn set_to(at: TimestampTz) {
    SET_TO.store(at, Ordering::Relaxed);
    // SAFETY: registered. In the handler as well: handle_sig_alarm() does the same for timeouts that repeat.
    unsafe { enable_timeout_at(TIMER.load(Ordering::Relaxed), at) };
}

/// In the midst of anything: takes no lock, allocates nothing. The clock is gettimeofday(), as in handle_sig_alarm() itself,
/// and an atomic.
unsafe extern "C-unwind" fn time_is_up() {
    let found = slots::look_at_the_clock(clock::now());
    if let Some(grant) = found.over {
        GRANT.store(grant, Ordering::Relaxed);
        PASSED.store(true, Ordering::Relaxed);
        // SAFETY: what StatementCancelHandler() (postgres.c) does; handle_sig_alarm() (timeout.c) has set the latch.
        unsafe {
            (&raw mut pg_sys::QueryCancelPending).write_volatile(1);
            (&raw mut pg_sys::InterruptPending).write_volatile(1);
        }
    }
    if let Some(next) = found.next {
        set_to(next);
    }
}

/// The grant whose time was up while the transaction at hand used it.
pub fn passed() -> Option<i64> {
    PASSED.load(Ordering::Relaxed).then(|| GRANT.load(Ordering::Relaxed))
}

/// The transaction is over. Whether it had been cancelled from here.
pub fn forget() -> bool {
    PASSED.swap(false, Ordering::Relaxed)
}

//! The database's clock, as checks read it.

use std::sync::atomic::{AtomicI64, Ordering};

use pgrx::datum::{TimestampWithTimeZone, ToIsoString};
use pgrx::pg_sys::TimestampTz;

unsafe extern "C-unwind" {
    /// Declared here once more because pgrx wraps every function in a sigsetjmp(), which costs
    /// as much as this one does. It only reads gettimeofday() (timestamp.c) and cannot raise.
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

/// A point in time as text, with its offset; in UTC where a `privileged::Owner` pins the time zone.
pub fn timestamp_text(micros: i64) -> String {
    TimestampWithTimeZone::try_from(micros).map(|at| at.to_iso_string()).unwrap_or_default()
}

/// How much the rough clock may lag behind, in microseconds. It is set at each tick of the timer, a
/// hundred times a second or more; a processor of a virtual machine that is not given time misses
/// some. Since Linux 5.17 another processor takes over after five (tick_sched_do_timer()).
const MARGIN: i64 = 2_000_000;

/// A time that says about every window what [`now`] would say, given that no window begins or ends
/// between now and `next_change`. Far from it the clock need not be read exactly, which takes as
/// long as all the rest of a check.
#[inline]
pub fn now_before(next_change: i64) -> TimestampTz {
    match rough_now() {
        Some(rough) => {
            let rough = rough.max(LATEST.load(Ordering::Relaxed));
            if rough.saturating_add(MARGIN) < next_change { rough } else { now() }
        }
        None => now(),
    }
}

/// The time of the last tick, without reading the hardware's counter.
#[cfg(target_os = "linux")]
#[inline]
fn rough_now() -> Option<TimestampTz> {
    const POSTGRES_EPOCH: i64 = 946_684_800;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: fills in the struct.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_REALTIME_COARSE, &mut time) };
    (failed == 0).then(|| (time.tv_sec - POSTGRES_EPOCH) * 1_000_000 + time.tv_nsec / 1_000)
}

#[cfg(not(target_os = "linux"))]
#[inline]
fn rough_now() -> Option<TimestampTz> {
    None
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    #[test]
    fn the_rough_clock_is_the_system_clock_within_the_margin() {
        let since_1970 =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map(|time| time.as_micros());
        let exact = since_1970
            .ok()
            .and_then(|micros| i64::try_from(micros).ok())
            .map(|micros| micros - 946_684_800_000_000);
        let lag = exact.zip(super::rough_now()).map(|(exact, rough)| exact - rough);
        assert!(lag.is_some_and(|lag| (-super::MARGIN..=super::MARGIN).contains(&lag)), "{lag:?}");
    }
}

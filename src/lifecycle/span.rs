//! Lengths of time. Days are 24 hours; months have no length and are refused.

use pgrx::datum::Interval;
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::errors::{Outcome, Refusal};

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// The longest that any duration may be; keeps every end far from the last timestamp.
pub const LONGEST: i64 = 3_660 * DAY;

/// Microseconds of an interval, as near as they fit; None for months and infinity.
pub fn micros(interval: &Interval) -> Option<i64> {
    // An infinite interval (17 and later) has the greatest or least number of months.
    if interval.months() != 0 {
        return None;
    }
    Some(i64::from(interval.days()).saturating_mul(DAY).saturating_add(interval.micros()))
}

/// Checks that a duration is positive and at most `most`.
pub fn checked(what: &str, interval: &Interval, most: i64) -> Outcome<i64> {
    match micros(interval) {
        Some(micros) if micros > 0 && micros <= most => Ok(micros),
        Some(micros) if micros > most => {
            Err(Refusal::bad_value(format!("{what} is longer than the maximum of {}", text(most)))
                .hint(format!("Write at most '{}'.", text(most))))
        }
        Some(_) => Err(Refusal::bad_value(format!("{what} must be longer than nothing"))
            .hint(format!("Write, for example, '1 hour'; the maximum is '{}'.", text(most)))),
        None => Err(Refusal::bad_value(format!("{what} must not have months or years, or be infinite"))
            .detail("A month has no fixed length.")
            .hint(format!("Write days (of 24 hours) or hours; the maximum is '{}'.", text(most)))),
    }
}

/// As PostgreSQL shows an interval without days: `04:00:00`.
pub fn text(micros: i64) -> String {
    let seconds = micros / SECOND;
    let fraction = micros % SECOND;
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if fraction == 0 { clock } else { format!("{clock}.{fraction:06}") }
}

/// Reads what a person wrote, with PostgreSQL's own interval_in(); None when that refuses it.
pub fn parse(written: &str) -> Option<Interval> {
    let written = std::ffi::CString::new(written).ok()?;
    // interval_in() only computes: an error of its leaves nothing to clean up, so that catching
    // it here needs no subtransaction.
    PgTryBuilder::new(|| {
        // SAFETY: the arguments of a type input function (fmgr README): text, type, typmod.
        unsafe {
            pgrx::direct_function_call::<Interval>(
                pg_sys::interval_in,
                &[Some(written.as_ptr().into()), Some(0.into()), Some((-1i32).into())],
            )
        }
    })
    .catch_others(|_| None)
    .execute()
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn durations_read_as_clock_time() {
        assert_eq!(text(4 * 3600 * 1_000_000), "04:00:00");
        assert_eq!(text(30 * 86_400 * 1_000_000), "720:00:00");
        assert_eq!(text(1_500_000), "00:00:01.500000");
    }
}

//! `jit.worker()`: whether this database has a worker, and how it fares; for the view `jit.worker_status`.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::iter::TableIterator;
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::shared;

fn time(micros: pg_sys::TimestampTz) -> Option<TimestampWithTimeZone> {
    if micros == 0 { None } else { TimestampWithTimeZone::try_from(micros).ok() }
}

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)] // pgrx reads the columns from the signature
fn jit_worker() -> TableIterator<
    'static,
    (
        name!(running, bool),
        name!(pid, Option<i32>),
        name!(since, Option<TimestampWithTimeZone>),
        name!(last_pass, Option<TimestampWithTimeZone>),
        name!(next_deadline, Option<TimestampWithTimeZone>),
        name!(ended, Option<i64>),
        name!(last_error_at, Option<TimestampWithTimeZone>),
        name!(last_error, Option<String>),
    ),
> {
    // SAFETY: a global of this process.
    let known = shared::status(unsafe { pg_sys::MyDatabaseId });
    TableIterator::once(match known {
        None => (false, None, None, None, None, None, None, None),
        Some((pid, status)) => (
            pid != 0,
            Some(pid).filter(|pid| *pid != 0),
            time(status.since).filter(|_| pid != 0),
            time(status.last_pass),
            time(status.next_deadline).filter(|_| pid != 0),
            Some(status.ended),
            time(status.error_at),
            time(status.error_at).map(|_| status.error()),
        ),
    })
}

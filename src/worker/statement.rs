//! How the worker runs its statements: planned anew each time, or kept.
//!
//! To plan takes ten times as long as to run what has nothing to do, and while the worker plans, somebody may wait to be
//! stopped. But a plan that was made for small tables is a bad one for large ones. So only what each pass needs is kept,
//! not for long, and not beyond what changes the tables; and its look-ups of endings are subqueries with OFFSET 0, which
//! are look-ups by index whatever the planner thinks of the table's size.
//!
//! Not by pgrx's get_one(), which takes a transaction id whether or not anything is written, and with it a record in the
//! WAL, flushed, for each step of each pass.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::CString;
use std::time::{Duration, Instant};

use pgrx::prelude::*;
use pgrx::spi::SpiError;

/// How long a plan is kept.
const KEPT: Duration = Duration::from_secs(60);

struct Plan {
    plan: pg_sys::SPIPlanPtr,
    made: Instant,
}

thread_local! {
    /// What a plan depends on is watched by plancache.c as well, which begins again from the text when that changes, be it
    /// all of the extension.
    static PLANS: RefCell<HashMap<&'static str, Plan>> = RefCell::default();
}

/// Runs a statement that returns numbers, one in each column, by a plan that is kept. None: it returned nothing.
pub fn numbers<const N: usize>(sql: &'static str, arguments: &[i64]) -> spi::Result<Option<[i64; N]>> {
    Spi::connect(|_| {
        let known = PLANS.with_borrow(|plans| {
            plans.get(sql).filter(|plan| plan.made.elapsed() < KEPT).map(|plan| plan.plan)
        });
        let plan = known.map_or_else(|| keep(sql, arguments.len()), Ok)?;
        let mut arguments: Vec<_> = arguments.iter().map(|argument| pg_sys::Datum::from(*argument)).collect();
        // SAFETY: SPI is connected; the plan has been kept, and is let go only by this process, not while it runs.
        unsafe {
            first_row(pg_sys::SPI_execute_plan(plan, arguments.as_mut_ptr(), std::ptr::null(), false, 1))
        }
    })
}

/// The same for one number.
pub fn number(sql: &'static str) -> spi::Result<Option<i64>> {
    Ok(numbers::<1>(sql, &[])?.map(|[number]| number))
}

/// The same for a statement that says how many rows it has handled.
pub fn count(sql: &'static str) -> spi::Result<i64> {
    let handled = number(sql)?.unwrap_or_default();
    if handled > 0 {
        plan_anew();
    }
    Ok(handled)
}

/// The tables have changed.
pub fn plan_anew() {
    PLANS.take().into_values().for_each(let_go);
}

/// The same, planned anew.
pub fn count_afresh(sql: &'static str) -> spi::Result<i64> {
    let text = CString::new(sql).map_err(|_| SpiError::InvalidPosition)?;
    // SAFETY: SPI is connected.
    let row = Spi::connect(|_| unsafe { first_row(pg_sys::SPI_execute(text.as_ptr(), false, 1)) })?;
    Ok(row.map_or(0, |[number]| number))
}

fn keep(sql: &'static str, arguments: usize) -> spi::Result<pg_sys::SPIPlanPtr> {
    let mut types = vec![pg_sys::INT8OID; arguments];
    let count = i32::try_from(arguments).map_err(|_| SpiError::InvalidPosition)?;
    let text = CString::new(sql).map_err(|_| SpiError::InvalidPosition)?;
    // SAFETY: SPI is connected; a plan is kept before anything else uses it.
    let plan = unsafe {
        let plan = pg_sys::SPI_prepare(text.as_ptr(), count, types.as_mut_ptr());
        if plan.is_null() || pg_sys::SPI_keepplan(plan) != 0 {
            return Err(SpiError::InvalidPosition);
        }
        plan
    };
    let old = PLANS.with_borrow_mut(|plans| plans.insert(sql, Plan { plan, made: Instant::now() }));
    old.into_iter().for_each(let_go);
    Ok(plan)
}

fn let_go(plan: Plan) {
    // SAFETY: it has been kept, and nothing uses it any more.
    unsafe { pg_sys::SPI_freeplan(plan.plan) };
}

/// # Safety
/// SPI is connected, and `code` is what has just been returned.
unsafe fn first_row<const N: usize>(code: i32) -> spi::Result<Option<[i64; N]>> {
    if code < 0 {
        return Err(SpiError::InvalidPosition);
    }
    // SAFETY: the row is read before it is finished.
    unsafe {
        let Some(table) = pg_sys::SPI_tuptable.as_ref().filter(|_| pg_sys::SPI_processed > 0) else {
            return Ok(None);
        };
        let mut row = [0; N];
        for (number, column) in row.iter_mut().zip(1..) {
            let mut null = false;
            let datum = pg_sys::SPI_getbinval(*table.vals, table.tupdesc, column, &mut null);
            *number = i64::from_datum(datum, null).unwrap_or(0);
        }
        Ok(Some(row))
    }
}

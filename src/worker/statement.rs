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

/// Runs a statement that returns one number, by a plan that is kept. None: it returned nothing.
pub fn number(sql: &'static str) -> spi::Result<Option<i64>> {
    Spi::connect(|_| {
        let known = PLANS.with_borrow(|plans| {
            plans.get(sql).filter(|plan| plan.made.elapsed() < KEPT).map(|plan| plan.plan)
        });
        let plan = known.map_or_else(|| keep(sql), Ok)?;
        // SAFETY: SPI is connected; the plan has been kept, and is let go only by this process, not while it runs.
        unsafe {
            first_number(pg_sys::SPI_execute_plan(plan, std::ptr::null_mut(), std::ptr::null(), false, 1))
        }
    })
}

/// The same for a statement that says how many rows it has handled.
pub fn count(sql: &'static str) -> spi::Result<i64> {
    let handled = number(sql)?.unwrap_or_default();
    if handled > 0 {
        PLANS.take().into_values().for_each(let_go);
    }
    Ok(handled)
}

/// The same, planned anew.
pub fn count_afresh(sql: &'static str) -> spi::Result<i64> {
    let text = CString::new(sql).map_err(|_| SpiError::InvalidPosition)?;
    // SAFETY: SPI is connected.
    Spi::connect(|_| unsafe { first_number(pg_sys::SPI_execute(text.as_ptr(), false, 1)) })
        .map(Option::unwrap_or_default)
}

fn keep(sql: &'static str) -> spi::Result<pg_sys::SPIPlanPtr> {
    let text = CString::new(sql).map_err(|_| SpiError::InvalidPosition)?;
    // SAFETY: SPI is connected; a plan is kept before anything else uses it.
    let plan = unsafe {
        let plan = pg_sys::SPI_prepare(text.as_ptr(), 0, std::ptr::null_mut());
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
unsafe fn first_number(code: i32) -> spi::Result<Option<i64>> {
    if code < 0 {
        return Err(SpiError::InvalidPosition);
    }
    // SAFETY: the row is read before it is finished.
    unsafe {
        let Some(table) = pg_sys::SPI_tuptable.as_ref().filter(|_| pg_sys::SPI_processed > 0) else {
            return Ok(None);
        };
        let mut null = false;
        let number = pg_sys::SPI_getbinval(*table.vals, table.tupdesc, 1, &mut null);
        Ok(i64::from_datum(number, null))
    }
}

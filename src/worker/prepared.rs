//! The worker's statements, planned once: to plan them takes ten times as long as to run them when there is nothing to do,
//! and with each pass somebody waits.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::CString;

use pgrx::prelude::*;
use pgrx::spi::SpiError;

thread_local! {
    /// They stay for as long as the process. What they were planned for is watched by plancache.c, which begins again
    /// from the text when that changes, be it all of the extension.
    static PLANS: RefCell<HashMap<&'static str, pg_sys::SPIPlanPtr>> = RefCell::default();
}

/// Runs a statement that returns one number; None: it returned nothing. Not by pgrx's get_one(), which takes a transaction
/// id whether or not anything is written, and with it a record in the WAL, flushed, for each step of each pass.
pub fn number(sql: &'static str) -> spi::Result<Option<i64>> {
    Spi::connect(|_| {
        let known = PLANS.with_borrow(|plans| plans.get(sql).copied());
        // SAFETY: SPI is connected; a plan is kept before anything uses it, and for good; the row is read before it is
        // finished.
        unsafe {
            let plan = match known {
                Some(plan) => plan,
                None => {
                    let text = CString::new(sql).map_err(|_| SpiError::InvalidPosition)?;
                    let plan = pg_sys::SPI_prepare(text.as_ptr(), 0, std::ptr::null_mut());
                    if plan.is_null() || pg_sys::SPI_keepplan(plan) != 0 {
                        return Err(SpiError::InvalidPosition);
                    }
                    PLANS.with_borrow_mut(|plans| plans.insert(sql, plan));
                    plan
                }
            };
            if pg_sys::SPI_execute_plan(plan, std::ptr::null_mut(), std::ptr::null(), false, 1) < 0 {
                return Err(SpiError::InvalidPosition);
            }
            let Some(table) = pg_sys::SPI_tuptable.as_ref().filter(|_| pg_sys::SPI_processed > 0) else {
                return Ok(None);
            };
            let mut null = false;
            let number = pg_sys::SPI_getbinval(*table.vals, table.tupdesc, 1, &mut null);
            Ok(i64::from_datum(number, null))
        }
    })
}

/// The same for a statement that says how many rows it has handled.
pub fn count(sql: &'static str) -> spi::Result<i64> {
    number(sql).map(Option::unwrap_or_default)
}

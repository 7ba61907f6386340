//! What the planner is told about the check.
//!
//! `support` is the SUPPORT function of `jit_active` and `jit_keys`; it hands out to
//! `index_condition` and `estimate`. `gating` decides a policy without columns once, not for each row, and `gate`
//! carries that out.
//! What a plan was made on, and when it has to be made anew, is in `dependence`.

mod call;
pub mod dependence;
mod estimate;
mod gate;
mod gating;
pub mod index_condition;
pub mod nodes;
mod support;

use pgrx::pg_sys;

use crate::check::uses;
use crate::enforce::notice;

static mut PREVIOUS_PLANNER: pg_sys::planner_hook_type = None;

/// To be called once, from `_PG_init`.
pub fn init() {
    // SAFETY: called on the process's only thread.
    unsafe {
        PREVIOUS_PLANNER = pg_sys::planner_hook;
        pg_sys::planner_hook = Some(planner);
    }
    gating::init();
    gate::init();
}

// Raw, so that an error passes through as it is: see `crate::hooks`.
unsafe extern "C-unwind" {
    fn standard_planner(
        query: *mut pg_sys::Query,
        text: *const std::ffi::c_char,
        options: std::ffi::c_int,
        params: pg_sys::ParamListInfo,
    ) -> *mut pg_sys::PlannedStmt;
}

/// Marks that the planner is at work: what it tries out is no use of a grant. After an error
/// `crate::hooks` puts the mark right.
unsafe extern "C-unwind" fn planner(
    query: *mut pg_sys::Query,
    text: *const std::ffi::c_char,
    options: std::ffi::c_int,
    params: pg_sys::ParamListInfo,
) -> *mut pg_sys::PlannedStmt {
    let before = uses::set_planning(true);
    // SAFETY: passes on what planner() (planner.c) passed.
    let mut plan = std::ptr::null_mut();
    unsafe {
        let previous = PREVIOUS_PLANNER.unwrap_or(standard_planner);
        notice::explained(|| plan = previous(query, text, options, params));
    }
    uses::set_planning(before);
    plan
}

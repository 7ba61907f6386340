//! The SUPPORT function (supportnodes.h) of `jit_active` and `jit_keys`.
//!
//! It never folds a call into a constant: a plan may outlive a grant.

use std::sync::atomic::{AtomicU32, Ordering};

use pgrx::pg_sys::{self, Datum, FunctionCallInfo, Node, NodeTag, Oid};

use super::{estimate, index_condition};
use crate::check::arguments::{argument, sql_functions};

/// As what the support function was called last; it is asked about each of our calls before
/// anything else in a plan is decided.
static SUPPORT: AtomicU32 = AtomicU32::new(0);

/// Whether a function is one of ours.
pub fn supports(function: Oid) -> bool {
    let support = SUPPORT.load(Ordering::Relaxed);
    // SAFETY: looks up the syscache, and gives InvalidOid for an unknown function.
    support != 0 && unsafe { pg_sys::get_func_support(function) }.to_u32() == support
}

/// # Safety
/// `fcinfo` comes from fmgr.
unsafe fn support(fcinfo: FunctionCallInfo) -> Datum {
    // SAFETY: the argument is internal, which SQL cannot make: a request, told apart by its tag.
    unsafe {
        if let Some(flinfo) = (*fcinfo).flinfo.as_ref() {
            SUPPORT.store(flinfo.fn_oid.to_u32(), Ordering::Relaxed);
        }
        let request =
            argument(fcinfo, 0).map_or(std::ptr::null_mut(), |request| request.cast_mut_ptr::<Node>());
        let Some(tag) = request.as_ref().map(|request| request.type_) else { return Datum::from(0) };
        match tag {
            NodeTag::T_SupportRequestIndexCondition => Datum::from(index_condition::of(&mut *request.cast())),
            NodeTag::T_SupportRequestSelectivity => {
                helped(request, estimate::selectivity(&mut *request.cast()))
            }
            NodeTag::T_SupportRequestCost => helped(request, estimate::cost(&mut *request.cast())),
            // No help: zero, but not NULL.
            _ => Datum::from(0),
        }
    }
}

/// The request itself says that it has been filled in.
fn helped(request: *mut Node, filled_in: Option<()>) -> Datum {
    filled_in.map_or(Datum::from(0), |()| Datum::from(request))
}

sql_functions! {
    jit_plan_support_wrapper, pg_finfo_jit_plan_support_wrapper => support;
}

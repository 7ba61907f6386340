//! What carries out a gate: the Result node with the One-Time Filter, see `gating`.
//!
//! Once the filter has let the scan through, all that ExecResult() (nodeResult.c) does for a row is to copy
//! columns, by way of the expression interpreter: beside a bare scan that is a quarter more. Here they are
//! copied straight.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};

use pgrx::pg_sys::{self, NodeTag, PlanState, QueryDesc, ResultState, TupleTableSlot};

use super::dependence;
use super::nodes::{cast, members};
use crate::compat;

static mut PREVIOUS: pg_sys::ExecutorStart_hook_type = None;

/// ExecResult(), which is static; from the first node that is found.
static EXEC_RESULT: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

// Raw, so that errors pass through as they are: see `crate::hooks`.
unsafe extern "C-unwind" {
    #[link_name = "standard_ExecutorStart"]
    fn standard_executor_start(query: *mut QueryDesc, flags: c_int);
    fn ExecSetExecProcNode(node: *mut PlanState, function: pg_sys::ExecProcNodeMtd);
    fn ExecReScan(node: *mut PlanState);
    fn slot_getsomeattrs_int(slot: *mut TupleTableSlot, attribute: c_int);
}

pub fn init() {
    // SAFETY: called on the process's only thread.
    unsafe {
        PREVIOUS = pg_sys::ExecutorStart_hook;
        pg_sys::ExecutorStart_hook = Some(executor_start);
    }
}

unsafe extern "C-unwind" fn executor_start(query: *mut QueryDesc, flags: c_int) {
    // SAFETY: passes on what execMain.c passed, which has filled in the plan's state then.
    unsafe {
        PREVIOUS.unwrap_or(standard_executor_start)(query, flags);
        if dependence::has_marker((*query).plannedstmt) {
            replace((*query).planstate, std::ptr::null_mut());
        }
    }
}

/// Has the functions below carry out the gates among the nodes. Never true, which would end the walk.
unsafe extern "C-unwind" fn replace(node: *mut PlanState, context: *mut c_void) -> bool {
    // SAFETY: nodes that the executor has just made. ExecSetExecProcNode() (execProcnode.c) is for any
    // function that gives what the node's own would.
    unsafe {
        if node.is_null() {
            return false;
        }
        if let Some(result) = cast::<ResultState>(node.cast(), NodeTag::T_ResultState)
            && is_gate(result)
            && let Some(function) = result.ps.ExecProcNodeReal
        {
            // Always the same, unless somebody else has put theirs there: that node stays as it is.
            let known = EXEC_RESULT.load(Ordering::Relaxed);
            if !known.is_null() && known != function as *mut c_void {
                return compat::planstate_tree_walker(node, replace, context);
            }
            EXEC_RESULT.store(function as *mut c_void, Ordering::Relaxed);
            let no_columns = (*result.ps.plan).targetlist.is_null();
            ExecSetExecProcNode(node, Some(if no_columns { pass_rows } else { pass_columns }));
        }
        compat::planstate_tree_walker(node, replace, context)
    }
}

/// A filter above a node of which columns are taken as they are.
unsafe fn is_gate(result: &ResultState) -> bool {
    // SAFETY: a finished plan.
    unsafe {
        let Some(plan) = result.ps.plan.cast::<pg_sys::Result>().as_ref() else { return false };
        !result.ps.lefttree.is_null()
            && result.ps.qual.is_null()
            && !plan.resconstantqual.is_null()
            && members::<pg_sys::TargetEntry>(plan.plan.targetlist).all(|entry| {
                cast::<pg_sys::Var>((*entry).expr.cast(), NodeTag::T_Var)
                    .is_some_and(|column| column.varno == pg_sys::OUTER_VAR && column.varattno > 0)
            })
    }
}

/// ExecResult() for a gate. Until the filter has been asked, and after it has said no, that itself.
unsafe extern "C-unwind" fn pass_columns(node: *mut PlanState) -> *mut TupleTableSlot {
    // SAFETY: a node that `is_gate` has looked at; so its target list is of columns of its outer node,
    // which a Result evaluates (ExecProject(), executor.h) as is done here.
    unsafe {
        if !is_open(node) {
            return exec_result(node);
        }
        let Some(row) = next_row(node) else { return std::ptr::null_mut() };
        let slot = (*node).ps_ResultTupleSlot;
        copy_columns((*(*node).plan).targetlist, row, slot);
        slot
    }
}

/// The same where no column is wanted, as for count(*): a few instructions a row.
unsafe extern "C-unwind" fn pass_rows(node: *mut PlanState) -> *mut TupleTableSlot {
    // SAFETY: as above; a virtual slot of no columns owns nothing.
    unsafe {
        if !is_open(node) {
            return exec_result(node);
        }
        if next_row(node).is_none() {
            return std::ptr::null_mut();
        }
        let slot = (*node).ps_ResultTupleSlot;
        (*slot).tts_flags &= !EMPTY;
        slot
    }
}

#[inline(always)]
unsafe fn is_open(node: *mut PlanState) -> bool {
    // SAFETY: a Result's.
    unsafe {
        let state = node.cast::<ResultState>();
        !(*state).rs_checkqual && !(*state).rs_done
    }
}

#[cold]
unsafe fn exec_result(node: *mut PlanState) -> *mut TupleTableSlot {
    // SAFETY: `replace` has put the function there, before a node could get here.
    unsafe {
        let function: unsafe extern "C-unwind" fn(*mut PlanState) -> *mut TupleTableSlot =
            std::mem::transmute(EXEC_RESULT.load(Ordering::Relaxed));
        function(node)
    }
}

/// ExecProcNode() of executor.h, of the outer node, which checks for interrupts.
#[inline(always)]
unsafe fn next_row(node: *mut PlanState) -> Option<*mut TupleTableSlot> {
    // SAFETY: a node that has an outer node.
    unsafe {
        let child = (*node).lefttree;
        if !(*child).chgParam.is_null() {
            ExecReScan(child);
        }
        let row = (*child).ExecProcNode.map(|next| next(child))?;
        (!row.is_null() && (*row).tts_flags & EMPTY == 0).then_some(row)
    }
}

const EMPTY: u16 = pg_sys::TTS_FLAG_EMPTY as u16;
const SHOULD_FREE: u16 = pg_sys::TTS_FLAG_SHOULDFREE as u16;

/// Fills a virtual slot (execTuples.c), as EEOP_ASSIGN_OUTER_VAR would (execExprInterp.c).
#[inline(always)]
unsafe fn copy_columns(list: *mut pg_sys::List, row: *mut TupleTableSlot, slot: *mut TupleTableSlot) {
    // SAFETY: the list has as many columns as the slot, and none beyond those of the row.
    unsafe {
        if (*slot).tts_flags & SHOULD_FREE != 0
            && let Some(clear) = (*slot).tts_ops.as_ref().and_then(|operations| operations.clear)
        {
            clear(slot);
        }
        if let Some(list) = list.as_ref() {
            // Backwards: the last column is mostly the one for which the row has to be taken apart farthest.
            for place in (0..usize::try_from(list.length).unwrap_or(0)).rev() {
                let entry = (*list.elements.add(place)).ptr_value.cast::<pg_sys::TargetEntry>();
                let attribute = (*(*entry).expr.cast::<pg_sys::Var>()).varattno;
                if (*row).tts_nvalid < attribute {
                    slot_getsomeattrs_int(row, attribute.into());
                }
                let column = attribute as usize - 1;
                *(*slot).tts_values.add(place) = *(*row).tts_values.add(column);
                *(*slot).tts_isnull.add(place) = *(*row).tts_isnull.add(column);
            }
            (*slot).tts_nvalid = list.length as i16;
        }
        (*slot).tts_flags &= !EMPTY;
    }
}

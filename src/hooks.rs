//! The hooks into executor and utility commands. Previous hooks are kept and called.
//!
//! What they are for: to know how deep inside the client's statement we are (decisions are
//! made only at its top, see `lifecycle::deliberate`), and to let the worker leave a
//! database that is about to be dropped.
//!
//! Everybody's statements pass through here. The hooks are not guarded as other functions are:
//! pgrx's guard reports an error anew, without constraint, table and column names, position and
//! context, which applications rely on. Errors jump over these frames instead, which hold nothing
//! to drop; the counters are put right by the abort of the (sub)transaction that follows.

use std::cell::{Cell, RefCell};
use std::ffi::{c_char, c_void};

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::{compat, worker};

static mut PREVIOUS_FINISH: pg_sys::ExecutorFinish_hook_type = None;
static mut PREVIOUS_UTILITY: pg_sys::ProcessUtility_hook_type = None;

thread_local! {
    /// Runs of the executor that are under way.
    static EXECUTOR_DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Code blocks, procedure calls and after-triggers under way: all of them run what
    /// somebody else may have written.
    static FOREIGN_DEPTH: Cell<u32> = const { Cell::new(0) };
    /// The start of the client's statement in whose middle the library was loaded, if it was:
    /// what was under way before that is not counted above.
    static LOADED_INSIDE: Cell<Option<pg_sys::TimestampTz>> = const { Cell::new(None) };
    /// The two counters at the start of each open subtransaction.
    static AT_SAVEPOINT: RefCell<Vec<(pg_sys::SubTransactionId, u32, u32)>> = const { RefCell::new(Vec::new()) };
}

pub fn init() {
    compat::executor_run::install();
    // SAFETY: called from _PG_init, on the process's only thread.
    unsafe {
        PREVIOUS_FINISH = pg_sys::ExecutorFinish_hook;
        pg_sys::ExecutorFinish_hook = Some(executor_finish);
        PREVIOUS_UTILITY = pg_sys::ProcessUtility_hook;
        pg_sys::ProcessUtility_hook = Some(process_utility);
        pg_sys::RegisterXactCallback(Some(transaction_ended), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(subtransaction_changed), std::ptr::null_mut());
        if loaded_inside_a_statement() {
            LOADED_INSIDE.set(Some(pg_sys::GetCurrentStatementStartTimestamp()));
        }
    }
}

/// Without preload the first call of one of our functions loads the library. In the client's
/// own statement that happens while its portal starts; anywhere else something is already
/// running that the counters above have not seen.
unsafe fn loaded_inside_a_statement() -> bool {
    // SAFETY: ActivePortal is NULL or the portal that pquery.c is starting or running.
    unsafe {
        if pg_sys::process_shared_preload_libraries_in_progress {
            return false;
        }
        match pg_sys::ActivePortal.as_ref() {
            None => false,
            Some(portal) => portal.status == pg_sys::PortalStatus::PORTAL_ACTIVE || *portal.name != 0,
        }
    }
}

/// Whether what runs now was called by the client's statement itself: one run of the executor,
/// no code block, procedure or trigger around it, and all of it seen from its beginning.
pub fn at_top_of_statement() -> bool {
    // SAFETY: reads a static of xact.c.
    let statement = unsafe { pg_sys::GetCurrentStatementStartTimestamp() };
    EXECUTOR_DEPTH.get() == 1 && FOREIGN_DEPTH.get() == 0 && LOADED_INSIDE.get() != Some(statement)
}

unsafe extern "C-unwind" fn transaction_ended(event: pg_sys::XactEvent::Type, _arg: *mut c_void) {
    if event == pg_sys::XactEvent::XACT_EVENT_ABORT || event == pg_sys::XactEvent::XACT_EVENT_PARALLEL_ABORT {
        EXECUTOR_DEPTH.set(0);
        FOREIGN_DEPTH.set(0);
        AT_SAVEPOINT.with(|open| open.try_borrow_mut().map(|mut open| open.clear()).unwrap_or_default());
    }
}

unsafe extern "C-unwind" fn subtransaction_changed(
    event: pg_sys::SubXactEvent::Type,
    subtransaction: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    _arg: *mut c_void,
) {
    AT_SAVEPOINT.with(|open| {
        let Ok(mut open) = open.try_borrow_mut() else { return };
        match event {
            pg_sys::SubXactEvent::SUBXACT_EVENT_START_SUB => {
                open.push((subtransaction, EXECUTOR_DEPTH.get(), FOREIGN_DEPTH.get()));
            }
            pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB => {
                if let Some((_, executor, foreign)) = open.iter().find(|saved| saved.0 == subtransaction) {
                    EXECUTOR_DEPTH.set(*executor);
                    FOREIGN_DEPTH.set(*foreign);
                }
                open.retain(|saved| saved.0 < subtransaction);
            }
            pg_sys::SubXactEvent::SUBXACT_EVENT_COMMIT_SUB => open.retain(|saved| saved.0 < subtransaction),
            _ => {}
        }
    });
}

fn deeper(depth: &'static std::thread::LocalKey<Cell<u32>>) {
    depth.set(depth.get().saturating_add(1));
}

fn back(depth: &'static std::thread::LocalKey<Cell<u32>>) {
    depth.set(depth.get().saturating_sub(1));
}

/// Runs `body` as one more run of the executor. `body` may leave by longjmp: it owns nothing.
pub fn inside_executor(body: impl FnOnce()) {
    deeper(&EXECUTOR_DEPTH);
    body();
    back(&EXECUTOR_DEPTH);
}

/// AFTER triggers fire here, at the depth of the statement's own executor.
unsafe extern "C-unwind" fn executor_finish(query: *mut pg_sys::QueryDesc) {
    deeper(&FOREIGN_DEPTH);
    // SAFETY: passes on what execMain.c passed.
    unsafe {
        match PREVIOUS_FINISH {
            Some(previous) => previous(query),
            None => compat::standard_executor_finish(query),
        }
    }
    back(&FOREIGN_DEPTH);
}

#[allow(clippy::too_many_arguments)] // ProcessUtility's own
unsafe extern "C-unwind" fn process_utility(
    statement: *mut pg_sys::PlannedStmt,
    text: *const c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    params: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    destination: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    // SAFETY: utility.c passes a PlannedStmt around the utility statement, and everything is
    // passed on as it came.
    unsafe {
        let node = (*statement).utilityStmt;
        // Of the utility commands only EXPLAIN ANALYZE carries out a plan that stands in the
        // client's text. What DO, CALL, EXECUTE and FETCH run was written elsewhere or earlier.
        let foreign = (*node).type_ != pg_sys::NodeTag::T_ExplainStmt;
        if foreign {
            deeper(&FOREIGN_DEPTH);
        }
        before_utility(node);
        let run = PREVIOUS_UTILITY.unwrap_or(compat::standard_process_utility);
        run(statement, text, read_only_tree, context, params, environment, destination, completion);
        after_utility(node);
        if foreign {
            back(&FOREIGN_DEPTH);
        }
    }
}

/// Guarded, since it is our own code, whose errors start here.
#[pg_guard]
unsafe extern "C-unwind" fn before_utility(node: *mut pg_sys::Node) {
    worker::before_utility(node);
}

#[pg_guard]
unsafe extern "C-unwind" fn after_utility(node: *mut pg_sys::Node) {
    worker::after_utility(node);
}

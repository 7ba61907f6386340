//! The hooks into executor and utility commands. Previous hooks are kept and called.
//!
//! What they are for: to know how deep inside the client's statement we are (decisions are
//! made only at its top, see `lifecycle::deliberate`), and to let the worker leave a
//! database that is about to be dropped.

use std::cell::Cell;
use std::ffi::c_char;

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
}

pub fn init() {
    compat::executor_run::install();
    // SAFETY: called from _PG_init, on the process's only thread.
    unsafe {
        PREVIOUS_FINISH = pg_sys::ExecutorFinish_hook;
        pg_sys::ExecutorFinish_hook = Some(executor_finish);
        PREVIOUS_UTILITY = pg_sys::ProcessUtility_hook;
        pg_sys::ProcessUtility_hook = Some(process_utility);
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

/// Counts down again on every way out, an error's unwinding included.
struct Deeper(&'static std::thread::LocalKey<Cell<u32>>);

impl Deeper {
    fn enter(depth: &'static std::thread::LocalKey<Cell<u32>>) -> Self {
        depth.set(depth.get() + 1);
        Deeper(depth)
    }
}

impl Drop for Deeper {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// Runs `body` as one more run of the executor.
pub fn inside_executor(body: impl FnOnce()) {
    let _deeper = Deeper::enter(&EXECUTOR_DEPTH);
    body();
}

/// AFTER triggers fire here, at the depth of the statement's own executor.
#[pg_guard]
unsafe extern "C-unwind" fn executor_finish(query: *mut pg_sys::QueryDesc) {
    let _deeper = Deeper::enter(&FOREIGN_DEPTH);
    // SAFETY: passes on what execMain.c passed; an error unwinds through the guard.
    unsafe {
        match PREVIOUS_FINISH {
            Some(previous) => pg_sys::ffi::pg_guard_ffi_boundary(|| previous(query)),
            None => pg_sys::standard_ExecutorFinish(query),
        }
    }
}

#[pg_guard]
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
    // SAFETY: utility.c passes a PlannedStmt around the utility statement.
    let node = unsafe { (*statement).utilityStmt };
    // Of the utility commands only EXPLAIN ANALYZE carries out a plan that stands in the
    // client's text. What DO, CALL, EXECUTE and FETCH run was written elsewhere or earlier.
    let _deeper = (!carries_the_clients_plan(node)).then(|| Deeper::enter(&FOREIGN_DEPTH));
    worker::before_utility(node);
    // SAFETY: passes on what utility.c passed; an error unwinds through the guard.
    unsafe {
        match PREVIOUS_UTILITY {
            Some(previous) => pg_sys::ffi::pg_guard_ffi_boundary(|| {
                previous(
                    statement,
                    text,
                    read_only_tree,
                    context,
                    params,
                    environment,
                    destination,
                    completion,
                )
            }),
            None => pg_sys::standard_ProcessUtility(
                statement,
                text,
                read_only_tree,
                context,
                params,
                environment,
                destination,
                completion,
            ),
        }
    }
    worker::after_utility(node);
}

fn carries_the_clients_plan(node: *mut pg_sys::Node) -> bool {
    // SAFETY: utility statements are nodes.
    unsafe { !node.is_null() && (*node).type_ == pg_sys::NodeTag::T_ExplainStmt }
}

//! The hooks into executor and utility commands. Previous hooks are kept and called.
//!
//! What they are for: to know the calls that stand in the client's own text and how deep inside
//! its statement we are (decisions are made only there, see `lifecycle::deliberate`); to keep
//! others' locks off our tables (`statements`); and to let the worker leave a database that is
//! about to be dropped.
//!
//! Everybody's statements pass through here. The hooks are not guarded as other functions are:
//! pgrx's guard reports an error anew, without constraint, table and column names, position and
//! context, which applications rely on. Errors jump over these frames instead, which hold nothing
//! to drop; the counters are put right by the abort of the subtransaction, or by the client's next
//! message.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_char, c_void};

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::check::uses;
use crate::enforce::{commit, notice};
use crate::lifecycle::deliberate;
use crate::planner::dependence;
use crate::{compat, statements, worker};

static mut PREVIOUS_FINISH: pg_sys::ExecutorFinish_hook_type = None;
static mut PREVIOUS_ANALYZE: pg_sys::post_parse_analyze_hook_type = None;
static mut PREVIOUS_UTILITY: pg_sys::ProcessUtility_hook_type = None;

thread_local! {
    /// Runs of the executor that are under way.
    static EXECUTOR_DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Code blocks, procedure calls and after-triggers under way: all of them run what
    /// somebody else may have written.
    static FOREIGN_DEPTH: Cell<u32> = const { Cell::new(0) };
    /// When the client's message came that the counters belong to.
    static MESSAGE: Cell<pg_sys::TimestampTz> = const { Cell::new(0) };
    /// When the transaction began in which the library was loaded.
    static LOADED_IN: Cell<pg_sys::TimestampTz> = const { Cell::new(0) };
    /// How it was at the start of each open subtransaction.
    static AT_SAVEPOINT: RefCell<Vec<AtSavepoint>> = const { RefCell::new(Vec::new()) };
}

struct AtSavepoint {
    subtransaction: pg_sys::SubTransactionId,
    executor_depth: u32,
    foreign_depth: u32,
    planning: bool,
}

pub fn init() {
    compat::executor_run::install();
    // SAFETY: called from _PG_init, on the process's only thread.
    unsafe {
        PREVIOUS_FINISH = pg_sys::ExecutorFinish_hook;
        pg_sys::ExecutorFinish_hook = Some(executor_finish);
        PREVIOUS_UTILITY = pg_sys::ProcessUtility_hook;
        pg_sys::ProcessUtility_hook = Some(process_utility);
        pg_sys::RegisterSubXactCallback(Some(subtransaction_changed), std::ptr::null_mut());
        PREVIOUS_ANALYZE = pg_sys::post_parse_analyze_hook;
        pg_sys::post_parse_analyze_hook = Some(post_parse_analyze);
        // Statements that the client has prepared before are analysed again, so that the calls in them
        // get known. Only sets flags.
        if !pg_sys::process_shared_preload_libraries_in_progress {
            pg_sys::ResetPlanCache();
            LOADED_IN.set(pg_sys::GetCurrentTransactionStartTimestamp());
        }
    }
}

/// Whether what runs now was called by the client's statement itself: one run of the executor,
/// no code block, procedure or trigger around it.
pub fn at_top_of_statement() -> bool {
    EXECUTOR_DEPTH.get() == 1 && FOREIGN_DEPTH.get() == 0
}

/// Whether statements of the transaction at hand may have been analysed before there was a hook.
pub fn may_have_missed_analysis() -> bool {
    // SAFETY: reads a static of xact.c.
    LOADED_IN.get() == unsafe { pg_sys::GetCurrentTransactionStartTimestamp() }
}

/// Parse analysis of whatever text. That of the client's own is known by the buffer that the text is in.
unsafe extern "C-unwind" fn post_parse_analyze(
    state: *mut pg_sys::ParseState,
    query: *mut pg_sys::Query,
    jumble: *mut pg_sys::JumbleState,
) {
    // SAFETY: passes on what analyze.c passed; the texts are C strings or NULL.
    unsafe {
        if let Some(previous) = PREVIOUS_ANALYZE {
            previous(state, query, jumble);
        }
        begin_message();
        let text = (*state).p_sourcetext;
        // A function can have the client's prepared statement analysed again, by EXECUTE: not at depth 0.
        let at_top = EXECUTOR_DEPTH.get() == 0 && FOREIGN_DEPTH.get() == 0;
        if at_top && !text.is_null() && text == pg_sys::debug_query_string {
            deliberate::mark(text, query);
        }
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
                open.push(AtSavepoint {
                    subtransaction,
                    executor_depth: EXECUTOR_DEPTH.get(),
                    foreign_depth: FOREIGN_DEPTH.get(),
                    planning: uses::planning(),
                });
            }
            pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB => {
                if let Some(saved) = open.iter().find(|saved| saved.subtransaction == subtransaction) {
                    EXECUTOR_DEPTH.set(saved.executor_depth);
                    FOREIGN_DEPTH.set(saved.foreign_depth);
                    uses::set_planning(saved.planning);
                }
                open.retain(|saved| saved.subtransaction < subtransaction);
            }
            pg_sys::SubXactEvent::SUBXACT_EVENT_COMMIT_SUB => {
                open.retain(|saved| saved.subtransaction < subtransaction);
            }
            _ => {}
        }
    });
}

unsafe extern "C-unwind" {
    // Raw, for each statement: only reads a static of xact.c.
    safe fn GetCurrentStatementStartTimestamp() -> pg_sys::TimestampTz;
}

/// With a new message of the client's, whatever was under way has ended, by an error or not.
fn begin_message() {
    let now = GetCurrentStatementStartTimestamp();
    if MESSAGE.replace(now) != now {
        EXECUTOR_DEPTH.set(0);
        FOREIGN_DEPTH.set(0);
        uses::set_planning(false);
        // Savepoints that stay open from an earlier message were made at depth 0.
        AT_SAVEPOINT.with(|open| open.try_borrow_mut().map(|mut open| open.clear()).unwrap_or_default());
    }
}

fn deeper(depth: &'static std::thread::LocalKey<Cell<u32>>) {
    depth.set(depth.get().saturating_add(1));
}

fn back(depth: &'static std::thread::LocalKey<Cell<u32>>) {
    depth.set(depth.get().saturating_sub(1));
}

/// Runs `body` as one more run of the executor, of a plan made from `text`. `body` may leave by
/// longjmp: it owns nothing.
///
/// The outermost run is the client's own only if it runs the text that the client has sent. Triggers at
/// commit, functions that run while planning and the like find nothing around them either, and
/// could have a statement run that the client has prepared earlier, with other arguments.
///
/// # Safety
/// `query` is what ExecutorRun() was called with; `body` as for [`notice::explained`].
pub unsafe fn inside_executor(query: *mut pg_sys::QueryDesc, body: impl FnOnce()) {
    begin_message();
    if uses::any() {
        uses::refuse_if_ended();
    }
    dependence::actor_may_have_changed();
    // SAFETY: the caller's promise.
    let foreign = EXECUTOR_DEPTH.get() == 0 && !is_the_clients(unsafe { (*query).sourceText });
    if foreign {
        deeper(&FOREIGN_DEPTH);
    }
    deeper(&EXECUTOR_DEPTH);
    let planning = uses::set_planning(false);
    // SAFETY: the caller's promise.
    unsafe { notice::explained(body) };
    uses::set_planning(planning);
    back(&EXECUTOR_DEPTH);
    dependence::actor_may_have_changed();
    if foreign {
        back(&FOREIGN_DEPTH);
    } else if EXECUTOR_DEPTH.get() == 0 && uses::any() && commit::writes() {
        commit::come_first();
    }
    // SAFETY: the caller's promise.
    if uses::any() && unsafe { commit::fills_held_cursor(query) } {
        commit::refuse_held_rows();
    }
}

/// By content: exec_execute_message() (postgres.c) shows a copy of the portal's text.
fn is_the_clients(text: *const c_char) -> bool {
    // SAFETY: C strings or NULL, which live as long as the statement.
    unsafe {
        let clients = pg_sys::debug_query_string;
        text == clients
            || !text.is_null() && !clients.is_null() && CStr::from_ptr(text) == CStr::from_ptr(clients)
    }
}

/// AFTER triggers fire here, at the depth of the statement's own executor.
unsafe extern "C-unwind" fn executor_finish(query: *mut pg_sys::QueryDesc) {
    deeper(&FOREIGN_DEPTH);
    // SAFETY: passes on what execMain.c passed.
    unsafe {
        let finish = PREVIOUS_FINISH.unwrap_or(compat::standard_executor_finish);
        notice::explained(|| finish(query));
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
        begin_message();
        dependence::actor_may_have_changed();
        if uses::any() && may_give_stored_rows(node) {
            uses::refuse_if_ended();
        }
        let foreign = !explains_the_clients_text(node);
        if foreign {
            deeper(&FOREIGN_DEPTH);
        }
        before_utility(node);
        let run = PREVIOUS_UTILITY.unwrap_or(compat::standard_process_utility);
        notice::explained(|| {
            run(statement, text, read_only_tree, context, params, environment, destination, completion);
        });
        after_utility(node);
        if context == pg_sys::ProcessUtilityContext::PROCESS_UTILITY_TOPLEVEL
            && uses::any()
            && commit::writes()
        {
            commit::come_first();
        }
        dependence::actor_may_have_changed();
        if foreign {
            back(&FOREIGN_DEPTH);
        }
    }
}

/// FETCH may give out rows that were stored before, without a run of the executor. So may PL/pgSQL, which does not come by
/// here for its own FETCH, where a cursor is open.
unsafe fn may_give_stored_rows(node: *mut pg_sys::Node) -> bool {
    unsafe extern "C-unwind" {
        // Raw, since frames that a Rust panic must not reach call it: it walks over the portals, and raises nothing.
        safe fn ThereAreNoReadyPortals() -> bool;
    }
    use pg_sys::NodeTag::*;
    // SAFETY: a node's tag tells its type.
    match unsafe { (*node).type_ } {
        T_FetchStmt | T_CopyStmt => true,
        T_DoStmt | T_CallStmt => !ThereAreNoReadyPortals(),
        _ => false,
    }
}

/// EXPLAIN of a query, and not of EXECUTE, CREATE TABLE AS or DECLARE CURSOR.
unsafe fn explains_the_clients_text(node: *mut pg_sys::Node) -> bool {
    // SAFETY: after parse analysis, ExplainStmt.query is a Query (transformExplainStmt(), analyze.c).
    unsafe {
        (*node).type_ == pg_sys::NodeTag::T_ExplainStmt && {
            let query: *mut pg_sys::Query = (*node.cast::<pg_sys::ExplainStmt>()).query.cast();
            !query.is_null() && (*query).commandType != pg_sys::CmdType::CMD_UTILITY
        }
    }
}

/// Guarded, since it is our own code, whose errors start here.
#[pg_guard]
unsafe extern "C-unwind" fn before_utility(node: *mut pg_sys::Node) {
    statements::check(node);
    worker::before_utility(node);
}

#[pg_guard]
unsafe extern "C-unwind" fn after_utility(node: *mut pg_sys::Node) {
    worker::after_utility(node);
}

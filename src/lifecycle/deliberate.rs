//! Decisions are deliberate: they are made only where the client's own statement calls them.
//!
//! Without this, whoever can get an approver to read a view, fire a trigger or call a function
//! of theirs could have it approve a request in the approver's name.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_void};

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::errors::{Outcome, Refusal};
use crate::{compat, hooks, settings};

/// Refuses unless the call that `fcinfo` stands for is written in the statement that the client
/// sent. Asked before the guard switches to the owner.
///
/// All of these must hold:
/// - no security-restricted operation (refused in `lifecycle::begin`), no SECURITY DEFINER function;
/// - one run of the executor and no code block, procedure or trigger around it (`hooks`);
/// - the portal that runs is the client's: its text is what the client sent. A cursor of a
///   PL/pgSQL function has a portal of its own;
/// - that text, parsed again, has a call of this function at the position which the expression
///   carries. What was stored (view, rule, policy, default) carries -1 (`READ_LOCATION_FIELD`,
///   readfuncs.c), and what the planner has inlined from an SQL function or PL/pgSQL evaluates as
///   a simple expression carries a position in another text;
/// - no other expression has decided from the same position in this statement, so that a position
///   which happens to agree is of no use: the whole statement fails.
pub fn check(fcinfo: pg_sys::FunctionCallInfo, function: &CStr) -> Outcome<()> {
    if settings::allow_indirect_decisions() {
        return Ok(());
    }
    // SAFETY: reads a static of miscinit.c.
    if unsafe { pg_sys::InLocalUserIdChange() } || !hooks::at_top_of_statement() {
        return Err(indirect(function));
    }
    let Some(call) = call_site(fcinfo) else { return Err(indirect(function)) };
    let Some(text) = clients_text() else { return Err(indirect(function)) };
    if !text_calls_at(text, function, call.location) || !only_expression_there(&call) {
        return Err(indirect(function));
    }
    Ok(())
}

fn indirect(function: &CStr) -> Refusal {
    let function = function.to_string_lossy();
    Refusal::not_allowed(format!("{function} works only where your own statement calls it"))
        .detail("It was called from inside a view, function, trigger, policy, cursor, prepared statement or code block, which somebody else may have written.")
        .hint(format!(
            "Send SELECT {function}(...) as a statement of its own; without shared_preload_libraries, send it again if it was the first use of jit_rls in this session. A superuser can set jit_rls.allow_indirect_decisions for people who wrap it."
        ))
}

/// Where a call stands: the position in its statement, and the expression node itself.
#[derive(PartialEq)]
struct CallSite {
    location: i32,
    expression: usize,
}

fn call_site(fcinfo: pg_sys::FunctionCallInfo) -> Option<CallSite> {
    // SAFETY: fmgr passes a valid fcinfo; fn_expr is NULL or the node the function was called for
    // (fmgr_info_set_expr(), by ExecInitFunc() the FuncExpr of the plan).
    unsafe {
        let expression = (*(*fcinfo).flinfo).fn_expr;
        if expression.is_null() || (*expression).type_ != pg_sys::NodeTag::T_FuncExpr {
            return None;
        }
        let location = (*expression.cast::<pg_sys::FuncExpr>()).location;
        (location >= 0).then_some(CallSite { location, expression: expression as usize })
    }
}

/// The text of the portal that runs, if that is the text which the client sent.
fn clients_text() -> Option<&'static CStr> {
    // SAFETY: both strings live until the client's statement has ended (postgres.c), and are
    // only used within the call that asks.
    unsafe {
        let portal = pg_sys::ActivePortal.as_ref()?;
        if portal.sourceText.is_null() || pg_sys::debug_query_string.is_null() {
            return None;
        }
        let running = CStr::from_ptr(portal.sourceText);
        (running == CStr::from_ptr(pg_sys::debug_query_string)).then_some(running)
    }
}

struct Wanted<'a> {
    function: &'a CStr,
    location: i32,
}

/// Whether the text has, at that position, a call of a function of that name.
fn text_calls_at(text: &CStr, function: &CStr, location: i32) -> bool {
    let wanted = Wanted { function, location };
    // SAFETY: raw_parser() takes any C string and gives a list of RawStmt, allocated in the
    // current memory context; the text has been parsed before, so it does parse.
    unsafe {
        let statements = pg_sys::raw_parser(text.as_ptr(), pg_sys::RawParseMode::RAW_PARSE_DEFAULT);
        let statements = pgrx::PgList::<pg_sys::RawStmt>::from_pg(statements);
        statements.iter_ptr().any(|raw| {
            let mut statement = (*raw).stmt;
            if (*statement).type_ == pg_sys::NodeTag::T_ExplainStmt {
                statement = (*statement.cast::<pg_sys::ExplainStmt>()).query;
            }
            // The walker knows these; it raises for utility statements.
            matches!(
                (*statement).type_,
                pg_sys::NodeTag::T_SelectStmt
                    | pg_sys::NodeTag::T_InsertStmt
                    | pg_sys::NodeTag::T_UpdateStmt
                    | pg_sys::NodeTag::T_DeleteStmt
            ) && find_call(statement, (&raw const wanted).cast_mut().cast())
        })
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn find_call(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
    if node.is_null() {
        return false;
    }
    // SAFETY: the walker passes nodes, and the context that text_calls_at() gave it.
    unsafe {
        if (*node).type_ == pg_sys::NodeTag::T_FuncCall {
            let call = node.cast::<pg_sys::FuncCall>();
            let wanted = &*context.cast::<Wanted>();
            if (*call).location == wanted.location && last_name((*call).funcname) == Some(wanted.function) {
                return true;
            }
        }
        compat::walk_raw_tree(node, find_call, context)
    }
}

/// The last part of a qualified name.
unsafe fn last_name<'a>(name: *mut pg_sys::List) -> Option<&'a CStr> {
    // SAFETY: funcname is a list of String nodes (parsenodes.h), whose text is never NULL.
    unsafe {
        let last: *mut pg_sys::Node = pgrx::PgList::<pg_sys::Node>::from_pg(name).tail()?;
        let text: *const c_char = (*last.cast::<pg_sys::String>()).sval;
        Some(CStr::from_ptr(text))
    }
}

thread_local! {
    /// The expressions that have decided in the client's statement which began then.
    static DECIDED: RefCell<(pg_sys::TimestampTz, Vec<CallSite>)> = const { RefCell::new((0, Vec::new())) };
}

fn only_expression_there(call: &CallSite) -> bool {
    // SAFETY: reads a static of xact.c.
    let statement = unsafe { pg_sys::GetCurrentStatementStartTimestamp() };
    DECIDED.with_borrow_mut(|(began, sites)| {
        if *began != statement {
            *began = statement;
            sites.clear();
        }
        match sites.iter().find(|site| site.location == call.location) {
            Some(site) => site == call,
            None => {
                sites.push(CallSite { ..*call });
                true
            }
        }
    })
}

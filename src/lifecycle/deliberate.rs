//! Decisions are deliberate: they are made only where the client's own statement calls them.
//!
//! Without this, whoever can get an approver to read a view, fire a trigger or call a function
//! of theirs could have it approve a request in the approver's name, or get an admin to change the rules.
//!
//! How it is known: right after parse analysis, the calls of our deciding functions in the text that
//! the client has sent get a mark, a position that no text can have. What is analysed anywhere
//! else (functions of any language, cursors, SQL PREPARE, code blocks, triggers, bodies that the planner
//! inlines) is text of another buffer and gets none; what was stored (views, rules, policies, defaults)
//! is read back without a position (`READ_LOCATION_FIELD`, readfuncs.c). Copies of the tree keep the mark.

use std::ffi::{CStr, c_char, c_void};

use pgrx::pg_sys::{self, SysCacheIdentifier};
use pgrx::prelude::*;

use crate::errors::{Outcome, Refusal};
use crate::{compat, hooks, settings};

/// Longer than any text can be (MaxAllocSize, memutils.h).
const MARK: i32 = 1 << 30;

/// ClanguageId of pg_language.dat, which pgrx's bindings lack.
const LANGUAGE_C: u32 = 13;

/// The C symbols of what must be called deliberately; of the requests, those that a function is to approve.
const DECIDING: [&CStr; 9] = [
    c"jit_approve_wrapper",
    c"jit_deny_wrapper",
    c"jit_break_glass_wrapper",
    c"jit_request_wrapper",
    c"jit_extend_wrapper",
    c"jit_review_wrapper",
    c"jit_create_scope_wrapper",
    c"jit_alter_scope_wrapper",
    c"jit_drop_scope_wrapper",
];

/// Marks the deciding calls in the client's own query. Called by the hook, whose frames an error
/// may jump over: nothing here owns anything.
///
/// # Safety
/// `query` has just been made by parse analysis of `text`, a C string.
pub unsafe fn mark(text: *const c_char, query: *mut pg_sys::Query) {
    // SAFETY: the caller's promise; the walkers know every node of an analysed query.
    unsafe {
        // Most statements end here. A name in Unicode escapes is not found, and then refused.
        if !mentions_us(CStr::from_ptr(text).to_bytes()) || prepares(text) {
            return;
        }
        let mut query = query;
        if (*query).commandType == pg_sys::CmdType::CMD_UTILITY {
            let statement = (*query).utilityStmt;
            if statement.is_null() || (*statement).type_ != pg_sys::NodeTag::T_ExplainStmt {
                return;
            }
            query = (*statement.cast::<pg_sys::ExplainStmt>()).query.cast();
            // EXPLAIN of CREATE TABLE AS, EXECUTE or DECLARE has a utility statement inside again.
            if query.is_null() || (*query).commandType == pg_sys::CmdType::CMD_UTILITY {
                return;
            }
        }
        mark_node(query.cast(), std::ptr::null_mut());
    }
}

/// Whether the text has a PREPARE in it. What SQL PREPARE has made keeps the text that it stood in, be
/// that a function's; when the client binds it through the protocol, it can be analysed again, as if
/// it were the client's own (RevalidateCachedQuery(), plancache.c).
///
/// Guarded, since it is called from frames that a Rust panic must not reach.
#[pg_guard]
unsafe extern "C-unwind" fn prepares(text: *const c_char) -> bool {
    // SAFETY: any C string gives a list of RawStmt; this one has been parsed before.
    unsafe {
        let statements = pg_sys::raw_parser(text, pg_sys::RawParseMode::RAW_PARSE_DEFAULT);
        pgrx::PgList::<pg_sys::RawStmt>::from_pg(statements)
            .iter_ptr()
            .any(|raw| (*(*raw).stmt).type_ == pg_sys::NodeTag::T_PrepareStmt)
    }
}

/// Every deciding function has jit_ or _scope in its name.
fn mentions_us(text: &[u8]) -> bool {
    let is = |part: Option<&[u8]>, word: &[u8]| part.is_some_and(|part| part.eq_ignore_ascii_case(word));
    text.iter().enumerate().filter(|(_, byte)| **byte == b'_').any(|(at, _)| {
        is(at.checked_sub(3).and_then(|from| text.get(from..at)), b"jit")
            || is(text.get(at + 1..at + 6), b"scope")
    })
}

unsafe extern "C-unwind" fn mark_node(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
    // SAFETY: the walkers pass nodes of the query, or NULL.
    unsafe {
        if node.is_null() {
            return false;
        }
        if (*node).type_ == pg_sys::NodeTag::T_Query {
            return compat::query_tree_walker(node.cast(), mark_node, context, 0);
        }
        if (*node).type_ == pg_sys::NodeTag::T_FuncExpr {
            let call = node.cast::<pg_sys::FuncExpr>();
            if (*call).location >= 0 && decides((*call).funcid) {
                (*call).location = MARK;
            }
        }
        compat::expression_tree_walker(node, mark_node, context)
    }
}

/// Whether it is one of ours, by what it calls: a look-alike of the same name is not. Who can make
/// functions in C is a superuser.
///
/// Guarded, since it is called from frames that a Rust panic must not reach.
#[pg_guard]
unsafe extern "C-unwind" fn decides(function: pg_sys::Oid) -> bool {
    const CACHE: i32 = SysCacheIdentifier::PROCOID as i32;
    // SAFETY: the tuple is pinned between search and release, and the values are read inside.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(CACHE, pg_sys::Datum::from(function));
        if tuple.is_null() {
            return false;
        }
        let attribute = |number: u32| {
            let mut null = false;
            let datum = pg_sys::SysCacheGetAttr(CACHE, tuple, number as i16, &mut null);
            (!null).then_some(datum)
        };
        let in_c = attribute(pg_sys::Anum_pg_proc_prolang)
            .is_some_and(|language| language.value() as u32 == LANGUAGE_C);
        let symbol = attribute(pg_sys::Anum_pg_proc_prosrc)
            .filter(|_| in_c)
            .and_then(|symbol| String::from_datum(symbol, false));
        pg_sys::ReleaseSysCache(tuple);
        symbol.is_some_and(|symbol| DECIDING.iter().any(|ours| ours.to_bytes() == symbol.as_bytes()))
    }
}

/// Refuses unless the call that `fcinfo` stands for is written in the statement that the client
/// sent, and is made at its top. Asked before the guard switches to the owner.
pub fn check(fcinfo: pg_sys::FunctionCallInfo, function: &CStr) -> Outcome<()> {
    if settings::allow_indirect_decisions() {
        return Ok(());
    }
    // SAFETY: reads a static of miscinit.c.
    let lent = unsafe { pg_sys::InLocalUserIdChange() };
    if lent || !hooks::at_top_of_statement() || !is_marked(fcinfo) {
        let function = function.to_string_lossy();
        return Err(Refusal::not_allowed(format!("{function} works only where your own statement calls it"))
            .detail("It was called from inside a view, function, trigger, policy, cursor, prepared statement or code block, which somebody else may have written.")
            .hint(format!(
                "Send SELECT {function}(...) as a statement of its own. If it was, it was the first use of jit_rls in this session, which loaded the library: send it again, or have it loaded before (session_preload_libraries). A superuser can set jit_rls.allow_indirect_decisions for people who wrap it."
            )));
    }
    Ok(())
}

/// How a function was called that need not be, but decides something if it is.
pub enum Call {
    Deliberate,
    /// By the client's own statement as it seems, which was analysed before the library was loaded. The error says to send it
    /// again.
    Unseen(Refusal),
    /// By what somebody else may have written.
    Indirect,
}

/// Asked before the guard switches to the owner.
pub fn how_called(fcinfo: pg_sys::FunctionCallInfo, function: &CStr) -> Call {
    match check(fcinfo, function) {
        Ok(()) => Call::Deliberate,
        // SAFETY: reads a static of miscinit.c.
        Err(refusal)
            if !unsafe { pg_sys::InLocalUserIdChange() }
                && hooks::at_top_of_statement()
                && hooks::may_have_missed_analysis() =>
        {
            Call::Unseen(refusal)
        }
        Err(_) => Call::Indirect,
    }
}

fn is_marked(fcinfo: pg_sys::FunctionCallInfo) -> bool {
    // SAFETY: fmgr passes a valid fcinfo; flinfo is NULL or its own, and fn_expr NULL or the node that
    // the function was called for (fmgr_info_set_expr(), by ExecInitFunc() the FuncExpr of the plan).
    unsafe {
        let Some(flinfo) = (*fcinfo).flinfo.as_ref() else { return false };
        let expression = flinfo.fn_expr;
        !expression.is_null()
            && (*expression).type_ == pg_sys::NodeTag::T_FuncExpr
            && (*expression.cast::<pg_sys::FuncExpr>()).location == MARK
    }
}

#[cfg(test)]
mod tests {
    use super::mentions_us;

    #[test]
    fn texts_that_can_hold_a_decision() {
        assert!(mentions_us(b"SELECT Jit_Approve(1)"));
        assert!(mentions_us(b"select jit.ALTER_SCOPE('x', '{}')"));
        assert!(mentions_us(b"JIT_"));
        assert!(!mentions_us(b"SELECT 1, a_scop, ji_t, _"));
        assert!(!mentions_us(b""));
    }
}

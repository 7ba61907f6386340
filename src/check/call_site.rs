//! What a call in a query is about: resolved once, not for each row.

use std::ptr;

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::{self, FunctionCallInfo, NodeTag};

use super::arguments::{Text, argument};
use super::cache::{self, CopyRef, Who};
use super::family::{Family, KeyKind};
use super::scopes;
use crate::errors::Refusal;

/// What the scope argument means for one copy of grants.
#[derive(Clone, Copy)]
pub enum Target {
    /// Unknown or disabled: nobody.
    Nobody,
    Scope {
        keys: Option<KeyKind>,
        /// Where the actor's grants stand in the copy.
        position: Option<usize>,
    },
}

/// Kept in `fn_extra`, which lives as long as the expression. Holds no pointer into a copy, and
/// needs no destructor.
struct CallSite {
    /// Whether every call names the same scope.
    constant: bool,
    /// The copy that `target` is about; 0: none yet.
    copy: u64,
    target: Target,
}

/// # Safety
/// `fcinfo` comes from fmgr.
unsafe fn call_site(fcinfo: FunctionCallInfo) -> *mut CallSite {
    // SAFETY: flinfo is NULL in a direct call, else fmgr's; fn_extra is ours to use, and fn_mcxt
    // lives as long.
    unsafe {
        let Some(flinfo) = (*fcinfo).flinfo.as_mut() else { return ptr::null_mut() };
        if flinfo.fn_extra.is_null() {
            let site: *mut CallSite =
                pg_sys::MemoryContextAlloc(flinfo.fn_mcxt, size_of::<CallSite>()).cast();
            site.write(CallSite { constant: scope_is_constant(flinfo), copy: 0, target: Target::Nobody });
            flinfo.fn_extra = site.cast();
        }
        flinfo.fn_extra.cast()
    }
}

/// Whether the first argument is a Const node. Not get_fn_expr_arg_stable(), which says yes to
/// parameters too: plpgsql keeps the expression and changes the parameter.
///
/// # Safety
/// `flinfo` is fmgr's.
unsafe fn scope_is_constant(flinfo: &pg_sys::FmgrInfo) -> bool {
    // SAFETY: fn_expr is NULL or the node that is being evaluated; a List has as many elements
    // as it says.
    unsafe {
        let Some(node) = flinfo.fn_expr.cast::<pg_sys::Node>().as_ref() else { return false };
        if node.type_ != NodeTag::T_FuncExpr {
            return false;
        }
        let Some(arguments) = (*flinfo.fn_expr.cast::<pg_sys::FuncExpr>()).args.as_ref() else {
            return false;
        };
        if arguments.length < 1 {
            return false;
        }
        let first = (*arguments.elements).ptr_value.cast::<pg_sys::Node>();
        first.as_ref().is_some_and(|node| node.type_ == NodeTag::T_Const)
            && !(*first.cast::<pg_sys::Const>()).constisnull
    }
}

/// The copy of grants to ask, and what the call's scope is in it. None denies.
///
/// # Safety
/// `fcinfo` comes from fmgr, and its first argument is a text.
pub unsafe fn resolve(fcinfo: FunctionCallInfo, who: Who) -> Option<(CopyRef, Target)> {
    // SAFETY: the caller's promise; the site lives as long as the expression, and only this
    // thread writes to it.
    unsafe {
        let name = argument(fcinfo, 0)?;
        let site = call_site(fcinfo);
        let copy = cache::ensure(who)?;
        if let Some(site) = site.as_ref()
            && site.constant
            && site.copy == copy.id
        {
            return Some((copy, site.target));
        }
        let scope = scopes::named(Text::new(name).bytes()).filter(|scope| scope.live);
        let target = match scope {
            None => Target::Nobody,
            Some(scope) => Target::Scope { keys: scope.keys, position: cache::position(copy, scope.id) },
        };
        if let Some(site) = site.as_mut() {
            site.copy = copy.id;
            site.target = target;
        }
        Some((copy, target))
    }
}

/// Raises 42809 unless keys of `given` can be compared with the scope's.
///
/// # Safety
/// As [`resolve`].
#[inline]
pub unsafe fn check_family(fcinfo: FunctionCallInfo, function: &str, keys: Option<KeyKind>, given: Family) {
    if keys.is_none_or(|keys| keys.family != given) {
        // SAFETY: the caller's promise.
        unsafe { wrong_family(fcinfo, function, keys, given) }
    }
}

#[cold]
unsafe fn wrong_family(fcinfo: FunctionCallInfo, function: &str, keys: Option<KeyKind>, given: Family) -> ! {
    let scope = {
        // SAFETY: the caller's promise. The name of a scope is ASCII.
        let name = unsafe { argument(fcinfo, 0).map(|name| Text::new(name)) };
        name.map_or_else(String::new, |name| String::from_utf8_lossy(name.bytes()).into_owned())
    };
    let family = given;
    let given = given.name();
    let (message, hint) = match keys {
        Some(keys) => (
            format!("scope \"{scope}\" has keys of type {}, not {given}", keys.name),
            match function {
                _ if matches!(
                    (keys.family, family),
                    (Family::Int, Family::Uuid) | (Family::Uuid, Family::Int)
                ) =>
                {
                    format!("There is no cast between the two: use a column of type {}.", keys.name)
                }
                "jit_keys" => format!("Write jit_keys('{scope}', NULL::{}).", keys.name),
                _ => format!(
                    "Cast the key: {function}('{scope}', customer_id::{}), with your column in the place of customer_id.",
                    keys.name
                ),
            },
        ),
        None => (
            format!("scope \"{scope}\" has no keys"),
            format!("Write jit_active('{scope}'), which is true for holders of a grant for the whole scope."),
        ),
    };
    Refusal::new(PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE, message)
        .detail(format!("{function}() was called with a key of type {given}."))
        .hint(hint)
        .raise()
}

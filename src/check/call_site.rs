//! What a call in a query is about: resolved once, not for each row.

use std::ptr;

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::{self, FunctionCallInfo, NodeTag};

use super::arguments::{Text, argument};
use super::cache::{self, CopyRef, Who};
use super::family::{Family, KeyKind};
use super::grants::ScopeGrants;
use super::{recent, scopes};
use crate::errors::Refusal;

/// Kept in `fn_extra`, which lives as long as the expression. It needs no destructor.
struct CallSite {
    /// Whether every call names the same scope.
    constant: bool,
    who: Who,
    /// In which the rest is true; 0: never.
    epoch: u64,
    /// NULL: none.
    grants: *const ScopeGrants,
}

/// What the call's scope opens for the acting role, if this call has found that out before: then
/// the inner None says that it is nothing.
///
/// # Safety
/// `fcinfo` comes from fmgr. The result is for this call, and until anything is loaded.
#[inline(always)]
pub unsafe fn known<'call>(fcinfo: FunctionCallInfo) -> Option<Option<&'call ScopeGrants>> {
    // SAFETY: flinfo is NULL in a direct call, else fmgr's, with our site or NULL in fn_extra. Before
    // a copy goes, with all that is in it, the epoch ends: see `cache`.
    unsafe {
        let flinfo = (*fcinfo).flinfo.as_ref()?;
        let site = flinfo.fn_extra.cast::<CallSite>().as_ref()?;
        if site.epoch != super::invalidation::epoch() || site.who != Who::now() {
            return None;
        }
        Some(site.grants.as_ref())
    }
}

/// In `fn_extra` after the first call: most expressions are evaluated once, in a look-up by primary key.
struct SeenOnce(CallSite);
// SAFETY: never written to; its one pointer is NULL.
unsafe impl Sync for SeenOnce {}
static SEEN_ONCE: SeenOnce = SeenOnce(CallSite {
    constant: true,
    who: Who { actor: pg_sys::InvalidOid, login: pg_sys::InvalidOid },
    epoch: 0,
    grants: ptr::null(),
});

/// The same from a call in another expression that was about the same scope, of a key of the same kind: for the
/// first call in an expression, and for those whose scope is not always the same.
///
/// # Safety
/// As [`known`].
#[inline]
pub unsafe fn known_lately<'call>(
    fcinfo: FunctionCallInfo,
    asked: Option<Family>,
) -> Option<Option<&'call ScopeGrants>> {
    // SAFETY: as in `known`, and for as long.
    unsafe {
        let flinfo = (*fcinfo).flinfo.as_mut()?;
        match flinfo.fn_extra.cast::<CallSite>().as_ref() {
            None => flinfo.fn_extra = (&raw const SEEN_ONCE.0).cast_mut().cast(),
            // From the second call on it has a site of its own, which is found faster.
            Some(site) if site.constant => return None,
            Some(_) => {}
        }
        let name = Text::in_place(argument(fcinfo, 0)?)?;
        recent::find(name, asked, Who::now()).map(|grants| grants.as_ref())
    }
}

/// # Safety
/// `fcinfo` comes from fmgr.
unsafe fn call_site(fcinfo: FunctionCallInfo) -> *mut CallSite {
    // SAFETY: flinfo is NULL in a direct call, else fmgr's; fn_extra is ours to use, and fn_mcxt
    // lives as long.
    unsafe {
        let Some(flinfo) = (*fcinfo).flinfo.as_mut() else { return ptr::null_mut() };
        if flinfo.fn_extra.is_null() || ptr::eq(flinfo.fn_extra.cast(), &SEEN_ONCE.0) {
            let site: *mut CallSite =
                pg_sys::MemoryContextAlloc(flinfo.fn_mcxt, size_of::<CallSite>()).cast();
            let constant = first_is_constant(flinfo.fn_expr.cast());
            site.write(CallSite { constant, who: Who::now(), epoch: 0, grants: ptr::null() });
            flinfo.fn_extra = site.cast();
        }
        flinfo.fn_extra.cast()
    }
}

/// Whether the call's first argument is a Const node. Not get_fn_expr_arg_stable(), which says yes to
/// parameters too: plpgsql keeps the expression and changes the parameter.
///
/// # Safety
/// `call` is NULL or the node that is being evaluated.
unsafe fn first_is_constant(call: *mut pg_sys::Node) -> bool {
    // SAFETY: a List has as many elements as it says.
    unsafe {
        let Some(node) = call.as_ref() else { return false };
        if node.type_ != NodeTag::T_FuncExpr {
            return false;
        }
        let Some(arguments) = (*call.cast::<pg_sys::FuncExpr>()).args.as_ref() else {
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

/// What a call is about, for the one who acts now.
pub struct Resolved {
    /// Of which kind the scope's keys are. None: it has none, or there is no such scope that is live.
    pub keys: Option<KeyKind>,
    pub live: bool,
    /// What the copy has of the scope, see [`cache::grants`]; NULL: nothing.
    pub grants: *const ScopeGrants,
    copy: CopyRef,
    who: Who,
}

/// Finds it out, loading if need be. None denies.
///
/// # Safety
/// `fcinfo` comes from fmgr, and its first argument is a text.
pub unsafe fn resolve(fcinfo: FunctionCallInfo) -> Option<Resolved> {
    let who = Who::now();
    // SAFETY: the caller's promise.
    let name = unsafe { Text::new(argument(fcinfo, 0)?) };
    resolve_named(name.bytes(), who)
}

/// The same of a scope's name.
pub fn resolve_named(scope: &[u8], who: Who) -> Option<Resolved> {
    let copy = cache::ensure(who)?;
    let scope = scopes::named(scope).filter(|scope| scope.live);
    let grants = scope.map_or(ptr::null(), |scope| cache::grants(copy, scope.id));
    Some(Resolved { keys: scope.and_then(|scope| scope.keys), live: scope.is_some(), grants, copy, who })
}

/// Keeps it for the next row, where every call names the same scope.
///
/// # Safety
/// As [`resolve`], of the same call.
pub unsafe fn remember(fcinfo: FunctionCallInfo, resolved: &Resolved, asked: Option<Family>) {
    // SAFETY: the caller's promise.
    if let Some(name) = unsafe { argument(fcinfo, 0).and_then(|name| Text::in_place(name)) } {
        recent::put(name, asked, resolved.who, resolved.copy.epoch, resolved.grants);
    }
    // SAFETY: the site lives as long as the expression, and only this thread writes to it.
    unsafe {
        if let Some(site) = call_site(fcinfo).as_mut()
            && site.constant
        {
            site.who = resolved.who;
            site.epoch = resolved.copy.epoch;
            site.grants = resolved.grants;
        }
    }
}

/// Raises 42809 unless keys of `given` can be compared with the scope's.
///
/// # Safety
/// As [`resolve`].
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

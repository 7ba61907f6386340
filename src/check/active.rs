//! `jit_active`: may the session see this row, now? Called for each row.
//!
//! False in every case of doubt, never NULL. The one error is a key of a type that the
//! scope's keys cannot be compared with: a mistake in the policy, which would deny for ever.
//!
//! Each function has a fast way, for a call whose scope has been resolved before and still is what
//! it was, and a slow way, guarded as pgrx guards functions. The fast way is not: an error in
//! AcceptInvalidationMessages() jumps over it, and it holds nothing to drop.

use pgrx::pg_sys::panic::pgrx_extern_c_guard;
use pgrx::pg_sys::{Datum, FunctionCallInfo};

use super::arguments::{Text, argument, unguarded_sql_functions};
use super::call_site::{check_family, known, known_lately, remember, resolve};
use super::family::Family;
use super::grants::{Keys, ScopeGrants};
use super::invalidation;

/// How often to decide again when something has ended in the moment of the use. Who changes grants that fast gets
/// a no.
pub const TRIES: usize = 5;

/// What a row is asked about.
trait Asked: Sized {
    /// What the scope's keys must be comparable with; None: the call is about the whole scope.
    const FAMILY: Option<Family>;

    /// Looks the key up in what the scope's grants open. None: not without calling PostgreSQL, or something
    /// has ended in this moment.
    ///
    /// # Safety
    /// `fcinfo` comes from fmgr, for a function that takes such a key. Otherwise as
    /// [`uses::record`](super::uses::record).
    unsafe fn is_open(fcinfo: FunctionCallInfo, grants: &ScopeGrants) -> Option<bool>;

    /// The same, calling whatever is needed. Only inside a guard, and with nothing to drop around it.
    ///
    /// # Safety
    /// As `is_open`.
    unsafe fn is_open_at_all_costs(fcinfo: FunctionCallInfo, grants: &ScopeGrants) -> Option<bool> {
        // SAFETY: the caller's promise.
        unsafe { Self::is_open(fcinfo, grants) }
    }
}

/// # Safety
/// As [`Asked::is_open`].
#[inline(always)]
unsafe fn int_is_open(grants: &ScopeGrants, key: i64) -> Option<bool> {
    // SAFETY: the caller's promise.
    unsafe {
        match &grants.keys {
            Keys::Int(table) => grants.use_key(table, &key),
            _ => grants.use_all_rows(),
        }
    }
}

/// # Safety
/// As [`Asked::is_open`].
#[inline(always)]
unsafe fn text_is_open(grants: &ScopeGrants, key: &[u8]) -> Option<bool> {
    // SAFETY: the caller's promise.
    unsafe {
        match &grants.keys {
            Keys::Text(table) => grants.use_key(table, key),
            _ => grants.use_all_rows(),
        }
    }
}

struct WholeScope;
impl Asked for WholeScope {
    const FAMILY: Option<Family> = None;
    #[inline(always)]
    unsafe fn is_open(_fcinfo: FunctionCallInfo, grants: &ScopeGrants) -> Option<bool> {
        // SAFETY: the caller's promise.
        unsafe { grants.use_all_rows() }
    }
}

macro_rules! integer_keys {
    ($($name:ident: $type:ty;)*) => { $(
        struct $name;
        impl Asked for $name {
            const FAMILY: Option<Family> = Some(Family::Int);
            #[inline(always)]
            unsafe fn is_open(fcinfo: FunctionCallInfo, grants: &ScopeGrants) -> Option<bool> {
                // SAFETY: the caller's promise. NULL is no key.
                unsafe {
                    match argument(fcinfo, 1) {
                        Some(key) => int_is_open(grants, key.value() as $type as i64),
                        None => grants.use_all_rows(),
                    }
                }
            }
        }
    )* };
}
integer_keys! {
    Int2: i16;
    Int4: i32;
    Int8: i64;
}

struct Uuid;
impl Asked for Uuid {
    const FAMILY: Option<Family> = Some(Family::Uuid);
    #[inline(always)]
    unsafe fn is_open(fcinfo: FunctionCallInfo, grants: &ScopeGrants) -> Option<bool> {
        // SAFETY: the caller's promise: a uuid is a pointer to 16 bytes, which stay during the call.
        unsafe {
            let key = argument(fcinfo, 1).and_then(|key| key.cast_mut_ptr::<[u8; 16]>().as_ref());
            match (key, &grants.keys) {
                (Some(key), Keys::Uuid(table)) => grants.use_key(table, key),
                _ => grants.use_all_rows(),
            }
        }
    }
}

struct TextKey;
impl Asked for TextKey {
    const FAMILY: Option<Family> = Some(Family::Text);
    #[inline(always)]
    unsafe fn is_open(fcinfo: FunctionCallInfo, grants: &ScopeGrants) -> Option<bool> {
        // SAFETY: the caller's promise: a text, which stays during the call and says itself how it is
        // stored. One that must be copied first is left to the slow way.
        unsafe {
            let Some(key) = argument(fcinfo, 1) else { return grants.use_all_rows() };
            text_is_open(grants, Text::in_place(key)?)
        }
    }

    unsafe fn is_open_at_all_costs(fcinfo: FunctionCallInfo, grants: &ScopeGrants) -> Option<bool> {
        // SAFETY: the caller's promise.
        unsafe {
            match argument(fcinfo, 1) {
                Some(key) => text_is_open(grants, Text::new(key).bytes()),
                None => grants.use_all_rows(),
            }
        }
    }
}

/// # Safety
/// `fcinfo` comes from fmgr, for a function that takes such a key.
#[inline(always)]
unsafe fn active<A: Asked>(fcinfo: FunctionCallInfo) -> Datum {
    // SAFETY: the caller's promise; up to here there is nothing to drop.
    unsafe {
        // First of all: whatever has ended and committed by now must be known.
        invalidation::accept_unguarded();
        let answer = match known(fcinfo).or_else(|| known_lately(fcinfo, A::FAMILY)) {
            Some(Some(grants)) => A::is_open(fcinfo, grants),
            Some(None) => Some(false),
            None => None,
        };
        match answer {
            Some(open) => open.into(),
            None => pgrx_extern_c_guard(|| slowly::<A>(fcinfo)),
        }
    }
}

/// # Safety
/// As [`active`].
#[cold]
#[inline(never)]
unsafe fn slowly<A: Asked>(fcinfo: FunctionCallInfo) -> Datum {
    // SAFETY: the caller's promise. Nothing is loaded between `resolve` and the look.
    unsafe {
        for _ in 0..TRIES {
            let Some(resolved) = resolve(fcinfo).filter(|resolved| resolved.live) else { break };
            let has_key = argument(fcinfo, 1).is_some();
            let fits = A::FAMILY.is_none_or(|family| resolved.keys.is_some_and(|keys| keys.family == family));
            if let Some(given) = A::FAMILY.filter(|_| has_key) {
                check_family(fcinfo, "jit_active", resolved.keys, given);
            }
            if fits {
                remember(fcinfo, &resolved, A::FAMILY);
            }
            let Some(grants) = resolved.grants.as_ref() else { break };
            if let Some(open) = A::is_open_at_all_costs(fcinfo, grants) {
                return open.into();
            }
        }
        false.into()
    }
}

unguarded_sql_functions! {
    jit_active_scope_wrapper, pg_finfo_jit_active_scope_wrapper => active::<WholeScope>;
    jit_active_int2_wrapper, pg_finfo_jit_active_int2_wrapper => active::<Int2>;
    jit_active_int4_wrapper, pg_finfo_jit_active_int4_wrapper => active::<Int4>;
    jit_active_int8_wrapper, pg_finfo_jit_active_int8_wrapper => active::<Int8>;
    jit_active_uuid_wrapper, pg_finfo_jit_active_uuid_wrapper => active::<Uuid>;
    jit_active_text_wrapper, pg_finfo_jit_active_text_wrapper => active::<TextKey>;
}

//! `jit_active`: may the session see this row, now? Called for each row.
//!
//! False in every case of doubt, never NULL. The one error is a key of a type that the
//! scope's keys cannot be compared with: a mistake in the policy, which would deny for ever.

use pgrx::pg_sys::{Datum, FunctionCallInfo};

use super::arguments::{Text, argument, sql_functions};
use super::cache::{self, Who};
use super::call_site::{Target, check_family, resolve};
use super::family::Family;
use super::load::{Keys, ScopeGrants};
use super::{clock, invalidation};

enum Key<'call> {
    /// The call is about the whole scope, or the key is NULL: only a grant for all rows counts.
    None,
    Int(i64),
    Uuid(&'call [u8; 16]),
    Text(&'call [u8]),
}

impl Key<'_> {
    fn family(&self) -> Option<Family> {
        match self {
            Key::None => None,
            Key::Int(_) => Some(Family::Int),
            Key::Uuid(_) => Some(Family::Uuid),
            Key::Text(_) => Some(Family::Text),
        }
    }
}

/// The grant that opens the row now, if one does.
fn open(grants: &ScopeGrants, key: &Key, now: i64) -> Option<i64> {
    let keyed = match (key, &grants.keys) {
        (Key::Int(key), Keys::Int(table)) => table.open(key, now),
        (Key::Uuid(key), Keys::Uuid(table)) => table.open(*key, now),
        (Key::Text(key), Keys::Text(table)) => table.open(*key, now),
        _ => None,
    };
    keyed.or_else(|| grants.all_rows(now))
}

/// # Safety
/// `fcinfo` comes from fmgr, and its first argument is a text.
unsafe fn active(fcinfo: FunctionCallInfo, key: &Key) -> Datum {
    // First of all: whatever has ended and committed by now must be known.
    invalidation::accept();
    // SAFETY: the caller's promise.
    let Some((copy, Target::Scope { keys, position })) = (unsafe { resolve(fcinfo, Who::now()) }) else {
        return false.into();
    };
    if let Some(given) = key.family() {
        // SAFETY: the caller's promise.
        unsafe { check_family(fcinfo, "jit_active", keys, given) };
    }
    // The clock last: loading may have taken a while.
    let now = clock::now();
    let grant =
        position.and_then(|position| cache::with(copy, position, |grants| open(grants, key, now))).flatten();
    grant.is_some().into()
}

/// # Safety
/// `fcinfo` comes from fmgr, for the SQL function of that signature. So for the others.
unsafe fn whole_scope(fcinfo: FunctionCallInfo) -> Datum {
    // SAFETY: the caller's promise.
    unsafe { active(fcinfo, &Key::None) }
}

unsafe fn int2(fcinfo: FunctionCallInfo) -> Datum {
    // SAFETY: the caller's promise: the second argument is a smallint.
    unsafe {
        let key = argument(fcinfo, 1).map_or(Key::None, |key| Key::Int(i64::from(key.value() as i16)));
        active(fcinfo, &key)
    }
}

unsafe fn int4(fcinfo: FunctionCallInfo) -> Datum {
    // SAFETY: the caller's promise: the second argument is an integer.
    unsafe {
        let key = argument(fcinfo, 1).map_or(Key::None, |key| Key::Int(i64::from(key.value() as i32)));
        active(fcinfo, &key)
    }
}

unsafe fn int8(fcinfo: FunctionCallInfo) -> Datum {
    // SAFETY: the caller's promise: the second argument is a bigint.
    unsafe {
        let key = argument(fcinfo, 1).map_or(Key::None, |key| Key::Int(key.value() as i64));
        active(fcinfo, &key)
    }
}

unsafe fn uuid(fcinfo: FunctionCallInfo) -> Datum {
    // SAFETY: the caller's promise: the second argument is a uuid, a pointer to 16 bytes that stay.
    unsafe {
        let key = argument(fcinfo, 1).and_then(|key| key.cast_mut_ptr::<[u8; 16]>().as_ref());
        active(fcinfo, &key.map_or(Key::None, Key::Uuid))
    }
}

unsafe fn text(fcinfo: FunctionCallInfo) -> Datum {
    // SAFETY: the caller's promise: the second argument is a text, which stays during the call.
    unsafe {
        let key = argument(fcinfo, 1).map(|key| Text::new(key));
        active(fcinfo, &key.as_ref().map_or(Key::None, |key| Key::Text(key.bytes())))
    }
}

sql_functions! {
    jit_active_scope_wrapper, pg_finfo_jit_active_scope_wrapper => whole_scope;
    jit_active_int2_wrapper, pg_finfo_jit_active_int2_wrapper => int2;
    jit_active_int4_wrapper, pg_finfo_jit_active_int4_wrapper => int4;
    jit_active_int8_wrapper, pg_finfo_jit_active_int8_wrapper => int8;
    jit_active_uuid_wrapper, pg_finfo_jit_active_uuid_wrapper => uuid;
    jit_active_text_wrapper, pg_finfo_jit_active_text_wrapper => text;
}

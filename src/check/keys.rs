//! `jit_keys`: the keys that the session may see now, for `col = ANY (…)`.

use pgrx::pg_sys::{self, Datum, FunctionCallInfo, Oid};

use super::active::TRIES;
use super::arguments::sql_functions;
use super::call_site::{check_family, resolve};
use super::family::Family;
use super::grants::Keys;
use super::{clock, invalidation, replica};
use crate::planner::dependence;
use crate::planner::index_condition::DERIVED;
use crate::planner::nodes::{cast, members};

/// What `collect` takes out of the actor's grants in the call's scope; nothing where there are none.
///
/// # Safety
/// `fcinfo` comes from fmgr, and its first argument is a text.
unsafe fn open_keys<K>(
    fcinfo: FunctionCallInfo,
    given: Family,
    collect: impl FnOnce(&Keys, i64) -> Vec<K>,
) -> Vec<K> {
    invalidation::accept();
    // SAFETY: the caller's promise. Nothing is loaded between `resolve` and the look.
    unsafe {
        for _ in 0..TRIES {
            let Some(resolved) = resolve(fcinfo).filter(|resolved| resolved.live) else { return Vec::new() };
            // The second argument is there for its type, and usually NULL.
            check_family(fcinfo, "jit_keys", resolved.keys, given);
            let Some(grants) = resolved.grants.as_ref() else { return Vec::new() };
            let now = clock::now();
            if replica::is_stale(now) {
                return Vec::new();
            }
            if is_derived(fcinfo) {
                // The row check decides, and knows what is used. But it never sees the rows of other keys.
                if grants.has_all_rows() {
                    dependence::make_anew();
                }
            } else if grants.use_open_keys(now).is_none() {
                continue;
            }
            return collect(&grants.keys, now);
        }
        Vec::new()
    }
}

/// Whether the planner has made this call, for an index condition.
///
/// # Safety
/// `fcinfo` comes from fmgr.
unsafe fn is_derived(fcinfo: FunctionCallInfo) -> bool {
    // SAFETY: flinfo is NULL in a direct call; fn_expr is NULL or the call's node, with its two arguments.
    unsafe {
        (*fcinfo)
            .flinfo
            .as_ref()
            .and_then(|flinfo| cast::<pg_sys::FuncExpr>(flinfo.fn_expr, pg_sys::NodeTag::T_FuncExpr))
            .and_then(|call| members::<pg_sys::Node>(call.args).nth(1))
            .and_then(|key| cast::<pg_sys::Const>(key, pg_sys::NodeTag::T_Const))
            .is_some_and(|key| key.consttypmod == DERIVED)
    }
}

/// A type as construct_array() wants it described.
struct Element {
    oid: Oid,
    length: i32,
    by_value: bool,
    align: u8,
}

const INT2: Element =
    Element { oid: pg_sys::INT2OID, length: 2, by_value: true, align: pg_sys::TYPALIGN_SHORT };
const INT4: Element =
    Element { oid: pg_sys::INT4OID, length: 4, by_value: true, align: pg_sys::TYPALIGN_INT };
const INT8: Element =
    Element { oid: pg_sys::INT8OID, length: 8, by_value: true, align: pg_sys::TYPALIGN_DOUBLE };
const UUID: Element =
    Element { oid: pg_sys::UUIDOID, length: 16, by_value: false, align: pg_sys::TYPALIGN_CHAR };
const TEXT: Element =
    Element { oid: pg_sys::TEXTOID, length: -1, by_value: false, align: pg_sys::TYPALIGN_INT };

/// # Safety
/// `values` are of the element's type.
unsafe fn array(mut values: Vec<Datum>, element: &Element) -> Datum {
    // SAFETY: copies the values into a new array; more than fit raise.
    unsafe {
        Datum::from(pg_sys::construct_array(
            values.as_mut_ptr(),
            i32::try_from(values.len()).unwrap_or(i32::MAX),
            element.oid,
            element.length,
            element.by_value,
            element.align as std::ffi::c_char,
        ))
    }
}

/// Keys that do not fit the narrower type are in no column of it, and are left out.
///
/// # Safety
/// As [`open_keys`].
unsafe fn ints<N: TryFrom<i64> + Into<Datum>>(fcinfo: FunctionCallInfo, element: &Element) -> Datum {
    // SAFETY: the caller's promise.
    unsafe {
        let keys = open_keys(fcinfo, Family::Int, |keys, now| match keys {
            Keys::Int(table) => {
                table.open_keys(now).filter_map(|key| N::try_from(*key).ok()).map(Into::into).collect()
            }
            _ => Vec::new(),
        });
        array(keys, element)
    }
}

/// # Safety
/// `fcinfo` comes from fmgr, for the SQL function of that signature. So for the others.
unsafe fn int2(fcinfo: FunctionCallInfo) -> Datum {
    // SAFETY: the caller's promise.
    unsafe { ints::<i16>(fcinfo, &INT2) }
}

unsafe fn int4(fcinfo: FunctionCallInfo) -> Datum {
    // SAFETY: the caller's promise.
    unsafe { ints::<i32>(fcinfo, &INT4) }
}

unsafe fn int8(fcinfo: FunctionCallInfo) -> Datum {
    // SAFETY: the caller's promise.
    unsafe { ints::<i64>(fcinfo, &INT8) }
}

unsafe fn uuid(fcinfo: FunctionCallInfo) -> Datum {
    // SAFETY: the caller's promise; the array copies the 16 bytes that each datum points to.
    unsafe {
        let keys = open_keys(fcinfo, Family::Uuid, |keys, now| match keys {
            Keys::Uuid(table) => table.open_keys(now).copied().collect(),
            _ => Vec::new(),
        });
        array(keys.iter().map(|key| Datum::from(key.as_ptr())).collect(), &UUID)
    }
}

unsafe fn text(fcinfo: FunctionCallInfo) -> Datum {
    // SAFETY: the caller's promise; the texts are in the context of the call.
    unsafe {
        let keys: Vec<Box<[u8]>> = open_keys(fcinfo, Family::Text, |keys, now| match keys {
            Keys::Text(table) => table.open_keys(now).cloned().collect(),
            _ => Vec::new(),
        });
        let texts = keys
            .iter()
            .map(|key| {
                let length = i32::try_from(key.len()).unwrap_or(i32::MAX);
                Datum::from(pg_sys::cstring_to_text_with_len(key.as_ptr().cast(), length))
            })
            .collect();
        array(texts, &TEXT)
    }
}

sql_functions! {
    jit_keys_int2_wrapper, pg_finfo_jit_keys_int2_wrapper => int2;
    jit_keys_int4_wrapper, pg_finfo_jit_keys_int4_wrapper => int4;
    jit_keys_int8_wrapper, pg_finfo_jit_keys_int8_wrapper => int8;
    jit_keys_uuid_wrapper, pg_finfo_jit_keys_uuid_wrapper => uuid;
    jit_keys_text_wrapper, pg_finfo_jit_keys_text_wrapper => text;
}

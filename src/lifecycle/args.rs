//! Values for SPI, each with the type its statement expects.

use std::ffi::CStr;

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::{self, Oid};
use pgrx::prelude::*;

use crate::check::arguments::argument;
use crate::errors::{Outcome, Refusal};

/// An argument of the type that PostgreSQL has for `T`.
pub fn value<'a, T: IntoDatum>(value: T) -> DatumWithOid<'a> {
    // SAFETY: the OID is the one that T's own conversion names.
    unsafe { DatumWithOid::new(value, T::type_oid()) }
}

/// The same, NULL for None.
pub fn optional<'a, T: IntoDatum>(given: Option<T>) -> DatumWithOid<'a> {
    match given {
        Some(given) => value(given),
        None => DatumWithOid::null_oid(T::type_oid()),
    }
}

/// A point in time, in microseconds since 2000-01-01 UTC.
pub fn timestamp<'a>(micros: i64) -> DatumWithOid<'a> {
    // SAFETY: timestamptz is an int64 of these microseconds (datatype/timestamp.h).
    unsafe { DatumWithOid::new(micros, pg_sys::TIMESTAMPTZOID) }
}

/// A set of roles as oid[].
pub fn roles<'a>(roles: &[Oid]) -> DatumWithOid<'a> {
    value(roles.to_vec())
}

/// JSON as jsonb.
pub fn json<'a>(json: serde_json::Value) -> DatumWithOid<'a> {
    value(pgrx::JsonB(json))
}

/// A jsonb argument of the call, counted from 0; None for NULL. Not by pgrx's own type, which panics over what jsonb can hold
/// and serde_json does not read: numbers beyond those of float8, and very deep nesting.
pub fn json_argument(
    fcinfo: pg_sys::FunctionCallInfo,
    number: usize,
    what: &str,
) -> Outcome<Option<serde_json::Value>> {
    // SAFETY: fmgr calls the function with a jsonb or NULL there.
    let text: Option<&CStr> = unsafe {
        argument(fcinfo, number).and_then(|json| pgrx::direct_function_call(pg_sys::jsonb_out, &[Some(json)]))
    };
    let Some(text) = text else { return Ok(None) };
    serde_json::from_str(&text.to_string_lossy()).map(Some).map_err(|error| {
        Refusal::bad_value(format!("{what} cannot be read"))
            .detail(format!("The JSON is too deep, or has a number that is too large: {error}."))
            .hint("docs/approval.md lists the options; none of them needs that.")
    })
}

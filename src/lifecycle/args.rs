//! Values for SPI, each with the type its statement expects.

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::{self, Oid};
use pgrx::prelude::*;

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

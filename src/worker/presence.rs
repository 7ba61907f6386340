//! Whether schema `jit` is the extension's.
//!
//! The worker is superuser, and anybody may create a schema of that name, with triggers in
//! it, in a database of their own. So each step looks first, and holds on to what it has seen
//! until it has committed.

use pgrx::pg_sys::{self, Oid};

pub enum Presence {
    There,
    Gone,
    /// Somebody is dropping it; whether they go through with it is not known yet.
    InDoubt,
}

const EXTENSION: &std::ffi::CStr = c"jit_rls";
const SCHEMA: &std::ffi::CStr = c"jit_private";

/// To be called inside a transaction. While it lasts, the extension cannot be dropped; nobody
/// waits for that longer than one step takes.
pub fn hold_extension() -> Presence {
    // SAFETY: look-ups in the catalogs, inside a transaction. pg_extension is read with a new
    // catalog snapshot each time.
    unsafe {
        let extension = pg_sys::get_extension_oid(EXTENSION.as_ptr(), true);
        if extension == Oid::INVALID {
            return Presence::Gone;
        }
        if !lock_extension(extension) {
            return Presence::InDoubt;
        }
        pg_sys::AcceptInvalidationMessages();
        let schema = pg_sys::get_namespace_oid(SCHEMA.as_ptr(), true);
        if pg_sys::get_extension_oid(EXTENSION.as_ptr(), true) == extension
            && schema != Oid::INVALID
            && pg_sys::getExtensionOfObject(pg_sys::NamespaceRelationId, schema) == extension
        {
            Presence::There
        } else {
            Presence::Gone
        }
    }
}

/// LockDatabaseObject() that does not wait: DROP EXTENSION holds AccessExclusiveLock on the
/// extension until its transaction ends.
unsafe fn lock_extension(extension: Oid) -> bool {
    // SAFETY: the tag is what SET_LOCKTAG_OBJECT() makes. The lock goes with the transaction.
    unsafe {
        let tag = pg_sys::LOCKTAG {
            locktag_field1: pg_sys::MyDatabaseId.to_u32(),
            locktag_field2: pg_sys::ExtensionRelationId.to_u32(),
            locktag_field3: extension.to_u32(),
            locktag_field4: 0,
            locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
            locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
        };
        pg_sys::LockAcquire(&tag, pg_sys::AccessShareLock as i32, false, true)
            != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
    }
}

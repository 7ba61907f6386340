//! What grants are bound to. A dump restored elsewhere, or CREATE DATABASE … TEMPLATE, brings
//! the rows along, but not the right that they stand for.

use std::cell::RefCell;
use std::rc::Rc;

use pgrx::pg_sys::{self, Datum, FunctionCallInfo};

use crate::check::arguments::sql_functions;
use crate::check::scan::{Snapshot, Table};
use crate::check::{invalidation, layout};
use crate::errors::Refusal;

thread_local! {
    /// With the generation that it was read in.
    static CURRENT: RefCell<Option<(u64, Rc<str>)>> = const { RefCell::new(None) };
}

/// `<system identifier>/<database oid>/<installation id>`, or None when there is no installation.
pub fn find() -> Option<Rc<str>> {
    loop {
        let generation = invalidation::generation();
        let known = CURRENT.with_borrow(|current| match current {
            Some((then, origin)) if *then == generation => Some(Rc::clone(origin)),
            _ => None,
        });
        if known.is_some() {
            return known;
        }
        pgrx::check_for_interrupts!();
        let layout = layout::current()?;
        let id = {
            let Some(installation) = Table::open(layout.installation.table) else { continue };
            if !layout.is_current() {
                continue;
            }
            let snapshot = Snapshot::take(&installation);
            let mut scan = installation.all(&snapshot);
            scan.next().and_then(|row| row.get(&layout.installation.id))?
        };
        let origin: Rc<str> = describe(id).into();
        CURRENT.set(Some((generation, Rc::clone(&origin))));
        return Some(origin);
    }
}

fn describe(id: [u8; 16]) -> String {
    // SAFETY: both read what was set when the process started.
    let (system, database) = unsafe { (pg_sys::GetSystemIdentifier(), pg_sys::MyDatabaseId.to_u32()) };
    format!("{system}/{database}/{}", pgrx::Uuid::from_bytes(id))
}

/// As [`find`], for whoever cannot go on without it.
pub fn current() -> String {
    match find() {
        Some(origin) => origin.to_string(),
        None => Refusal::wrong_state("jit_rls is not installed in this database")
            .detail("Table jit_private.installation is missing or empty.")
            .hint("CREATE EXTENSION jit_rls, as a superuser.")
            .raise(),
    }
}

/// # Safety
/// Called by fmgr.
unsafe fn origin(_fcinfo: FunctionCallInfo) -> Datum {
    let origin = current();
    // SAFETY: copies the bytes, which are ASCII, into a text.
    unsafe {
        let length = i32::try_from(origin.len()).unwrap_or(0);
        Datum::from(pg_sys::cstring_to_text_with_len(origin.as_ptr().cast(), length))
    }
}

sql_functions! {
    jit_origin_wrapper, pg_finfo_jit_origin_wrapper => origin;
}

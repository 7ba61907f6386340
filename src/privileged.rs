//! Acting as the owner of the extension: the only way our functions touch the tables.
//!
//! Callers hold no privilege on schema `jit_private`. A lifecycle function decides who is asking and
//! then enters this guard, which switches to the owner and to settings under which no name
//! and no text depends on the session.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, Ordering};

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::{self, Oid};
use pgrx::prelude::*;

use crate::errors::{Outcome, Refusal};

/// While it lives, this backend is the owner of `jit_private.grants`.
pub struct Owner {
    _switched: Switched,
}

/// While it lives, this backend is somebody else: for functions that people have written, which run with their rights and
/// leave no setting behind.
pub struct Restricted {
    _switched: Switched,
}

impl Restricted {
    pub fn enter(user: Oid) -> Self {
        Restricted { _switched: Switched::to(user, pg_sys::SECURITY_RESTRICTED_OPERATION as i32) }
    }
}

/// Another user, and settings on which nothing of the session has an influence.
struct Switched {
    user: Oid,
    context: i32,
    guc_level: i32,
    /// Whether settings that have been made inside go as well.
    keeps_nothing: bool,
    /// Bound to the thread that runs PostgreSQL.
    _not_send: PhantomData<*const ()>,
}

impl Switched {
    /// SECURITY_LOCAL_USERID_CHANGE, as in ri_PerformCheck() (ri_triggers.c): SET ROLE is refused inside.
    fn to(user: Oid, flags: i32) -> Self {
        let mut before = Oid::INVALID;
        let mut context = 0;
        // SAFETY: both are restored by Drop, and by AbortTransaction or AbortSubTransaction
        // (xact.c) when an error takes another way out.
        unsafe {
            pg_sys::GetUserIdAndSecContext(&mut before, &mut context);
            let local = pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32;
            pg_sys::SetUserIdAndSecContext(user, context | local | flags);
        }
        // SAFETY: a level is closed by AtEOXact_GUC() in Drop, or by transaction abort.
        let guc_level = unsafe { pg_sys::NewGUCNestLevel() };
        let keeps_nothing = flags & pg_sys::SECURITY_RESTRICTED_OPERATION as i32 != 0;
        let switched = Switched { user: before, context, guc_level, keeps_nothing, _not_send: PhantomData };
        for (name, value) in PINNED {
            // SAFETY: constant C strings; GUC_ACTION_SAVE belongs to the level made above.
            unsafe {
                pg_sys::set_config_option(
                    name.as_ptr(),
                    value.as_ptr(),
                    pg_sys::GucContext::PGC_USERSET,
                    pg_sys::GucSource::PGC_S_SESSION,
                    pg_sys::GucAction::GUC_ACTION_SAVE,
                    true,
                    0,
                    false,
                );
            }
        }
        switched
    }
}

impl Drop for Switched {
    fn drop(&mut self) {
        // SAFETY: gives back what to() took. On an error the settings are rolled back by
        // the abort of the (sub)transaction, which knows about its own levels.
        unsafe {
            pg_sys::SetUserIdAndSecContext(self.user, self.context);
            if !std::thread::panicking() {
                // As index_build() (index.c) does for what it has run.
                pg_sys::AtEOXact_GUC(!self.keeps_nothing, self.guc_level);
            }
        }
    }
}

/// Settings that would change what our SQL means or how values become text.
const PINNED: [(&CStr, &CStr); 12] = [
    (c"search_path", c"pg_catalog, pg_temp"),
    (c"DateStyle", c"ISO, YMD"),
    (c"IntervalStyle", c"postgres"),
    (c"TimeZone", c"UTC"),
    (c"standard_conforming_strings", c"on"),
    (c"transform_null_equals", c"off"),
    (c"plan_cache_mode", c"auto"),
    // How the definition of a function is written, of which a hash is kept.
    (c"quote_all_identifiers", c"off"),
    (c"extra_float_digits", c"1"),
    (c"bytea_output", c"hex"),
    (c"xmlbinary", c"base64"),
    (c"lc_monetary", c"C"),
];

impl Owner {
    /// Becomes the owner.
    pub fn enter() -> Outcome<Owner> {
        let guard = Owner { _switched: Switched::to(table_owner()?, 0) };
        GUARDS.fetch_add(1, Ordering::Relaxed);
        Ok(guard)
    }

    /// Runs one statement under a fresh snapshot, whatever the isolation level, and maps each
    /// row of its result.
    ///
    /// Rules and roles must be seen as they are now: an old REPEATABLE READ snapshot must not
    /// keep a lost approver role. The statement is planned once for each backend, for whatever values.
    pub fn query<T>(
        &self,
        sql: &'static str,
        args: &[DatumWithOid<'_>],
        map: impl FnMut(&Row) -> T,
    ) -> Vec<T> {
        // SAFETY: takes a snapshot, which SPI copies (PushCopiedSnapshot()).
        self.query_under(sql, args, map, GENERIC, false, || unsafe { pg_sys::GetLatestSnapshot() })
    }

    /// The first row of a statement for which it depends on the values which way is the best.
    pub fn first_planned_each_time<T>(
        &self,
        sql: &'static str,
        args: &[DatumWithOid<'_>],
        map: impl FnMut(&Row) -> T,
    ) -> Option<T> {
        // SAFETY: as above.
        let snapshot = || unsafe { pg_sys::GetLatestSnapshot() };
        self.query_under(sql, args, map, CUSTOM, false, snapshot).into_iter().next()
    }

    /// The first row of a query on catalogs alone, under a catalog snapshot. That does not begin the
    /// transaction's own, where nobody has asked for one yet (LOCK TABLE under REPEATABLE READ).
    pub fn first_of_catalogs<T>(
        &self,
        sql: &'static str,
        args: &[DatumWithOid<'_>],
        map: impl FnMut(&Row) -> T,
    ) -> Option<T> {
        // SAFETY: registered, so that it stays; released at the end of the transaction at the latest.
        let snapshot =
            unsafe { pg_sys::RegisterSnapshot(pg_sys::GetCatalogSnapshot(pg_sys::RelationRelationId)) };
        let found = self.query_under(sql, args, map, GENERIC, true, || snapshot);
        // SAFETY: registered above.
        unsafe { pg_sys::UnregisterSnapshot(snapshot) };
        found.into_iter().next()
    }

    fn query_under<T>(
        &self,
        sql: &'static str,
        args: &[DatumWithOid<'_>],
        mut map: impl FnMut(&Row) -> T,
        planning: u32,
        read_only: bool,
        snapshot: impl FnOnce() -> pg_sys::Snapshot,
    ) -> Vec<T> {
        // SAFETY: SPI is connected for the span of the closure; result rows are read inside it.
        Spi::connect_mut(|_| unsafe {
            let plan = saved_plan(sql, args, planning);
            let mut values: Vec<pg_sys::Datum> = args
                .iter()
                .map(|arg| arg.datum().map_or(pg_sys::Datum::from(0), |d| d.sans_lifetime()))
                .collect();
            let nulls: Vec<std::ffi::c_char> = args
                .iter()
                .map(|arg| if arg.datum().is_some() { b' ' } else { b'n' } as std::ffi::c_char)
                .collect();
            if !read_only {
                pg_sys::CommandCounterIncrement();
            }
            let code = pg_sys::SPI_execute_snapshot(
                plan,
                values.as_mut_ptr(),
                nulls.as_ptr(),
                snapshot(),
                std::ptr::null_mut(),
                read_only,
                true,
                0,
            );
            if code < 0 {
                broken(sql, code).raise();
            }
            let table = pg_sys::SPI_tuptable;
            let mut mapped = Vec::new();
            if let Some(table) = table.as_ref() {
                for at in 0..pg_sys::SPI_processed as usize {
                    let row = Row { tuple: *table.vals.add(at), shape: table.tupdesc };
                    mapped.push(map(&row));
                }
            }
            mapped
        })
    }

    /// Runs a statement whose rows nobody needs.
    pub fn run(&self, sql: &'static str, args: &[DatumWithOid<'_>]) {
        self.query(sql, args, |_| ());
    }

    /// The first row, if there is one.
    pub fn first<T>(
        &self,
        sql: &'static str,
        args: &[DatumWithOid<'_>],
        map: impl FnMut(&Row) -> T,
    ) -> Option<T> {
        self.query(sql, args, map).into_iter().next()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        GUARDS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One row of a result, valid inside the closure that maps it.
pub struct Row {
    tuple: pg_sys::HeapTuple,
    shape: pg_sys::TupleDesc,
}

impl Row {
    /// The value of a column, counted from 1; None for NULL.
    pub fn get<T: FromDatum + IntoDatum>(&self, column: i32) -> Option<T> {
        let mut null = false;
        // SAFETY: tuple and descriptor live until SPI_finish(), which is after the closure.
        unsafe {
            let datum = pg_sys::SPI_getbinval(self.tuple, self.shape, column, &mut null);
            T::from_datum(datum, null)
        }
    }

    /// The value of a column that is declared NOT NULL. A NULL there is a broken installation.
    pub fn must<T: FromDatum + IntoDatum>(&self, column: i32) -> T {
        self.get(column).unwrap_or_else(|| {
            Refusal::new(
                pgrx::PgSqlErrorCode::ERRCODE_DATA_CORRUPTED,
                format!("jit_rls: column {column} of one of its tables is NULL and must not be"),
            )
            .raise()
        })
    }
}

/// How many guards there are now.
static GUARDS: AtomicU32 = AtomicU32::new(0);

/// Whether a function of ours is at work on the tables.
pub fn is_owner() -> bool {
    GUARDS.load(Ordering::Relaxed) > 0
}

thread_local! {
    static PLANS: RefCell<HashMap<&'static str, pg_sys::SPIPlanPtr>> = RefCell::new(HashMap::new());
}

/// Planned once: left alone, PostgreSQL plans each statement anew the first five times (choose_custom_plan(), plancache.c),
/// which takes ten times as long as to run it, and few sessions ask more often.
const GENERIC: u32 = pg_sys::CURSOR_OPT_GENERIC_PLAN;
const CUSTOM: u32 = pg_sys::CURSOR_OPT_CUSTOM_PLAN;

/// Plans are kept for the life of the backend; plancache.c plans them anew when what they
/// refer to changes, an extension dropped and made again included.
unsafe fn saved_plan(sql: &'static str, args: &[DatumWithOid<'_>], planning: u32) -> pg_sys::SPIPlanPtr {
    if let Some(plan) = PLANS.with_borrow(|plans| plans.get(sql).copied()) {
        return plan;
    }
    let Ok(text) = CString::new(sql) else { broken(sql, 0).raise() };
    let mut types: Vec<Oid> = args.iter().map(|arg| arg.oid()).collect();
    // SAFETY: SPI is connected; a kept plan lives in CacheMemoryContext.
    unsafe {
        let plan = pg_sys::SPI_prepare_cursor(
            text.as_ptr(),
            types.len() as i32,
            types.as_mut_ptr(),
            planning as i32,
        );
        if plan.is_null() || pg_sys::SPI_keepplan(plan) != 0 {
            broken(sql, pg_sys::SPI_result).raise();
        }
        PLANS.with_borrow_mut(|plans| plans.insert(sql, plan));
        plan
    }
}

fn broken(sql: &str, code: i32) -> Refusal {
    Refusal::new(pgrx::PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, format!("jit_rls: SPI said {code} to: {sql}"))
}

/// The owner of `jit_private.grants`, which is who ran CREATE EXTENSION.
fn table_owner() -> Outcome<Oid> {
    const CACHE: i32 = pg_sys::SysCacheIdentifier::RELOID as i32;
    // SAFETY: look-ups by name with missing_ok; the tuple is pinned between search and release.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"jit_private".as_ptr(), true);
        let table = pg_sys::get_relname_relid(c"grants".as_ptr(), schema);
        let tuple = pg_sys::SearchSysCache1(CACHE, pg_sys::Datum::from(table));
        if tuple.is_null() {
            return Err(
                Refusal::unknown("the tables of jit_rls are missing").hint("CREATE EXTENSION jit_rls;")
            );
        }
        let mut null = false;
        let owner = pg_sys::SysCacheGetAttr(CACHE, tuple, pg_sys::Anum_pg_class_relowner as i16, &mut null);
        pg_sys::ReleaseSysCache(tuple);
        Oid::from_datum(owner, null).ok_or_else(|| broken("relowner", 0))
    }
}

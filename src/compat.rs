//! The only home of what differs between PostgreSQL versions.

use std::ffi::{CStr, c_char, c_int, c_void};

use pgrx::pg_sys::{self, Oid, SysCacheIdentifier};
use pgrx::prelude::*;

/// One step up the graph of roles.
pub struct Membership {
    pub role: Oid,
    pub inherits: bool,
    pub may_set: bool,
}

// pg_auth_members got an oid, and INHERIT and SET for each membership, in 16.
#[cfg(feature = "pg15")]
const ANUM_ROLEID: i16 = 1;
#[cfg(not(feature = "pg15"))]
const ANUM_ROLEID: i16 = 2;
#[cfg(not(feature = "pg15"))]
const ANUM_INHERIT_OPTION: i16 = 6;
#[cfg(not(feature = "pg15"))]
const ANUM_SET_OPTION: i16 = 7;

/// What `member` is a direct member of.
pub fn memberships(member: Oid) -> Vec<Membership> {
    const CACHE: c_int = SysCacheIdentifier::AUTHMEMMEMROLE as c_int;
    let mut found = Vec::new();
    // SAFETY: a syscache list is pinned until it is released; its members are valid that
    // long. An error in between is cleaned up by the resource owner.
    unsafe {
        let list = pg_sys::SearchSysCacheList(CACHE, 1, pg_sys::Datum::from(member), 0.into(), 0.into());
        let count = usize::try_from((*list).n_members).unwrap_or(0);
        for entry in (*list).members.as_slice(count) {
            let tuple = &raw mut (**entry).tuple;
            let attribute = |number: i16| {
                let mut null = false;
                pg_sys::SysCacheGetAttr(CACHE, tuple, number, &mut null)
            };
            found.push(Membership {
                role: Oid::from_datum(attribute(ANUM_ROLEID), false).unwrap_or(Oid::INVALID),
                #[cfg(feature = "pg15")]
                inherits: role_inherits(member),
                #[cfg(feature = "pg15")]
                may_set: true,
                #[cfg(not(feature = "pg15"))]
                inherits: attribute(ANUM_INHERIT_OPTION).value() as u8 != 0,
                #[cfg(not(feature = "pg15"))]
                may_set: attribute(ANUM_SET_OPTION).value() as u8 != 0,
            });
        }
        pg_sys::ReleaseCatCacheList(list);
    }
    found
}

/// Before 16, INHERIT is a property of the member.
#[cfg(feature = "pg15")]
fn role_inherits(role: Oid) -> bool {
    const ANUM_ROLINHERIT: i16 = 4;
    role_attribute(role, ANUM_ROLINHERIT)
}

/// Whether the role is somebody's login.
pub fn may_log_in(role: Oid) -> bool {
    const ANUM_ROLCANLOGIN: i16 = 7;
    role_attribute(role, ANUM_ROLCANLOGIN)
}

/// A flag of pg_authid; false for a role that does not exist.
fn role_attribute(role: Oid, number: i16) -> bool {
    const CACHE: c_int = SysCacheIdentifier::AUTHOID as c_int;
    // SAFETY: the tuple is pinned between search and release.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(CACHE, pg_sys::Datum::from(role));
        if tuple.is_null() {
            return false;
        }
        let mut null = false;
        let flag = pg_sys::SysCacheGetAttr(CACHE, tuple, number, &mut null).value() as u8 != 0;
        pg_sys::ReleaseSysCache(tuple);
        flag
    }
}

/// Whether `role` owns the database, or is a superuser.
pub fn owns_database(database: Oid, role: Oid) -> bool {
    // SAFETY: both read the syscache and raise for an unknown database only.
    #[cfg(feature = "pg15")]
    unsafe {
        pg_sys::pg_database_ownercheck(database, role)
    }
    #[cfg(not(feature = "pg15"))]
    unsafe {
        pg_sys::object_ownercheck(pg_sys::DatabaseRelationId, database, role)
    }
}

/// Whether somebody has given the setting a value, be it an empty one, and it has not been taken back since.
/// Not by GetConfigOption(), which on 17 and 18 gives "" for a setting without a value as well.
pub fn setting_has_been_set(name: &CStr) -> bool {
    // SAFETY: the settings live as long as the process; the array has as many as are said.
    unsafe {
        #[cfg(feature = "pg15")]
        let setting = {
            let count = usize::try_from(pg_sys::GetNumConfigOptions()).unwrap_or(0);
            std::slice::from_raw_parts(pg_sys::get_guc_variables(), count)
                .iter()
                .find(|setting| CStr::from_ptr((***setting).name) == name)
                .and_then(|setting| setting.as_ref())
        };
        #[cfg(not(feature = "pg15"))]
        let setting = pg_sys::find_option(name.as_ptr(), false, true, 0).as_ref();
        setting.is_some_and(|setting| setting.source != pg_sys::GucSource::PGC_S_DEFAULT)
    }
}

/// Whether an index condition with an array can stand on a column that is not the index's first. Before
/// 17, build_index_paths() (indxpath.c) looks at the clause that the condition was made from, a function, not
/// at the condition, and takes the scan for sorted, which it is not.
pub const ARRAYS_ON_LATER_INDEX_COLUMNS: bool = cfg!(any(feature = "pg17", feature = "pg18"));

/// Whether the role may execute the function.
pub fn may_execute(function: Oid, role: Oid) -> bool {
    // SAFETY: both read the syscache.
    unsafe {
        #[cfg(feature = "pg15")]
        let result = pg_sys::pg_proc_aclcheck(function, role, pg_sys::ACL_EXECUTE as pg_sys::AclMode);
        #[cfg(not(feature = "pg15"))]
        let result = pg_sys::object_aclcheck(
            pg_sys::ProcedureRelationId,
            function,
            role,
            pg_sys::ACL_EXECUTE as pg_sys::AclMode,
        );
        result == pg_sys::AclResult::ACLCHECK_OK
    }
}

/// A callback for the walkers of nodeFuncs.c; true ends the walk.
pub type Walker = unsafe extern "C-unwind" fn(node: *mut pg_sys::Node, context: *mut c_void) -> bool;

// Raw, since `crate::hooks` uses them. Renamed when the walkers became type-checked macros in 16.
unsafe extern "C-unwind" {
    #[cfg_attr(not(feature = "pg15"), link_name = "query_tree_walker_impl")]
    pub fn query_tree_walker(
        query: *mut pg_sys::Query,
        walker: Walker,
        context: *mut c_void,
        flags: c_int,
    ) -> bool;

    #[cfg_attr(not(feature = "pg15"), link_name = "expression_tree_walker_impl")]
    pub fn expression_tree_walker(node: *mut pg_sys::Node, walker: Walker, context: *mut c_void) -> bool;

    #[cfg_attr(not(feature = "pg15"), link_name = "planstate_tree_walker_impl")]
    pub fn planstate_tree_walker(
        node: *mut pg_sys::PlanState,
        walker: unsafe extern "C-unwind" fn(node: *mut pg_sys::PlanState, context: *mut c_void) -> bool,
        context: *mut c_void,
    ) -> bool;
}

// Raw, so that an error passes through our hooks as it is: pgrx's bindings would catch it.
unsafe extern "C-unwind" {
    #[link_name = "standard_ExecutorFinish"]
    pub fn standard_executor_finish(query: *mut pg_sys::QueryDesc);

    #[link_name = "standard_ProcessUtility"]
    #[allow(clippy::too_many_arguments)] // its own
    pub fn standard_process_utility(
        statement: *mut pg_sys::PlannedStmt,
        text: *const c_char,
        read_only_tree: bool,
        context: pg_sys::ProcessUtilityContext::Type,
        params: pg_sys::ParamListInfo,
        environment: *mut pg_sys::QueryEnvironment,
        destination: *mut pg_sys::DestReceiver,
        completion: *mut pg_sys::QueryCompletion,
    );
}

/// The hook around ExecutorRun, whose arguments changed in 18. Not guarded: see `crate::hooks`.
pub mod executor_run {
    use super::*;
    use crate::hooks;

    static mut PREVIOUS: pg_sys::ExecutorRun_hook_type = None;

    /// Puts ours first and keeps the one that was there.
    pub fn install() {
        // SAFETY: called from _PG_init, on the process's only thread.
        unsafe {
            PREVIOUS = pg_sys::ExecutorRun_hook;
            pg_sys::ExecutorRun_hook = Some(run);
        }
    }

    #[cfg(not(feature = "pg18"))]
    unsafe extern "C-unwind" {
        #[link_name = "standard_ExecutorRun"]
        fn standard(
            query: *mut pg_sys::QueryDesc,
            direction: pg_sys::ScanDirection::Type,
            count: u64,
            execute_once: bool,
        );
    }

    #[cfg(not(feature = "pg18"))]
    unsafe extern "C-unwind" fn run(
        query: *mut pg_sys::QueryDesc,
        direction: pg_sys::ScanDirection::Type,
        count: u64,
        execute_once: bool,
    ) {
        // SAFETY: passes on what execMain.c passed.
        unsafe {
            hooks::inside_executor(query, || {
                PREVIOUS.unwrap_or(standard)(query, direction, count, execute_once);
            });
        }
    }

    #[cfg(feature = "pg18")]
    unsafe extern "C-unwind" {
        #[link_name = "standard_ExecutorRun"]
        fn standard(query: *mut pg_sys::QueryDesc, direction: pg_sys::ScanDirection::Type, count: u64);
    }

    #[cfg(feature = "pg18")]
    unsafe extern "C-unwind" fn run(
        query: *mut pg_sys::QueryDesc,
        direction: pg_sys::ScanDirection::Type,
        count: u64,
    ) {
        // SAFETY: passes on what execMain.c passed.
        unsafe {
            hooks::inside_executor(query, || {
                PREVIOUS.unwrap_or(standard)(query, direction, count);
            });
        }
    }
}

/// Sets a signal handler. pqsignal() became pqsignal_be() for the backend in 18.
///
/// # Safety
/// The handler is safe in a signal's context.
pub unsafe fn handle_signal(signal: c_int, handler: unsafe extern "C-unwind" fn(c_int)) {
    // SAFETY: passed on to the caller.
    #[cfg(not(feature = "pg18"))]
    unsafe {
        pg_sys::pqsignal(signal, Some(handler));
    }
    #[cfg(feature = "pg18")]
    unsafe {
        pg_sys::pqsignal_be(signal, Some(handler));
    }
}

//! Commands that concern the workers: those that need a database to themselves, and those
//! whose effect no transaction end of this session announces.

use std::ffi::{CStr, c_char};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pgrx::PgList;
use pgrx::pg_sys::{self, NodeTag, Oid};

use super::{nudge, preloaded, shared};
use crate::compat;

/// How long workers stay out. CountOtherDBBackends() waits 5 seconds for a database to be
/// empty; should the command fail, the worker is back soon after this.
const STAY_OUT: Duration = Duration::from_secs(10);
/// How long the command waits for the worker. It leaves within milliseconds, unless it is in
/// the middle of a step.
const PATIENCE: Duration = Duration::from_secs(3);

/// The database that the command under way has asked the workers to leave.
static KEPT_EMPTY: AtomicU32 = AtomicU32::new(0);

/// To be called before a utility command is carried out.
pub fn before_utility(statement: *mut pg_sys::Node) {
    if !preloaded() {
        return;
    }
    KEPT_EMPTY.store(0, Ordering::Relaxed);
    // SAFETY: utility.c passes a node, or NULL.
    let Some(name) = (unsafe { database_to_empty(statement) }) else { return };
    // SAFETY: the name is a C string of the statement; an unknown one gives InvalidOid.
    let database = unsafe { pg_sys::get_database_oid(name.as_ptr(), true) };
    // SAFETY: reads globals of this session.
    let (user, own) = unsafe { (pg_sys::GetUserId(), pg_sys::MyDatabaseId) };
    // Whoever may not carry out the command must not be able to send the worker away.
    if database == Oid::INVALID || database == own || !compat::owns_database(database, user) {
        return;
    }
    // SAFETY: reads the state of the transaction. DROP DATABASE, SET TABLESPACE and CREATE DATABASE are refused there.
    if unsafe { pg_sys::IsTransactionBlock() && (*statement).type_ != NodeTag::T_RenameStmt } {
        return;
    }
    // SAFETY: reads the clock.
    let until = unsafe { pg_sys::GetCurrentTimestamp() } + STAY_OUT.as_micros() as i64;
    KEPT_EMPTY.store(database.to_u32(), Ordering::Relaxed);
    if let Some(pid) = shared::stay_out(database, until) {
        wait_until_gone(database, pid);
    }
}

/// To be called when a utility command has been carried out without an error.
pub fn after_utility(statement: *mut pg_sys::Node) {
    if !preloaded() || statement.is_null() {
        return;
    }
    // SAFETY: a node's tag tells its type.
    unsafe {
        match (*statement).type_ {
            // The worker must notice that the extension is gone, and leave.
            NodeTag::T_DropStmt
                if (*statement.cast::<pg_sys::DropStmt>()).removeType
                    == pg_sys::ObjectType::OBJECT_EXTENSION =>
            {
                nudge::nudge_after_commit();
            }
            // Memberships decide about access.
            NodeTag::T_GrantRoleStmt | NodeTag::T_DropRoleStmt | NodeTag::T_DropOwnedStmt => {
                nudge::nudge_all_after_commit();
            }
            // Anybody may change their own password, as often as they like.
            NodeTag::T_AlterRoleStmt
                if [c"inherit", c"rolemembers"].iter().any(|name| {
                    option((*statement.cast::<pg_sys::AlterRoleStmt>()).options, name).is_some()
                }) =>
            {
                nudge::nudge_all_after_commit();
            }
            // The transaction that it commits was nobody's any more, and it is over by now
            // (FinishPreparedTransaction), whatever becomes of the one around the command.
            NodeTag::T_TransactionStmt
                if (*statement.cast::<pg_sys::TransactionStmt>()).kind
                    == pg_sys::TransactionStmtKind::TRANS_STMT_COMMIT_PREPARED =>
            {
                shared::nudge(pg_sys::MyDatabaseId);
                shared::nudge_all();
            }
            NodeTag::T_RenameStmt | NodeTag::T_AlterDatabaseStmt | NodeTag::T_CreatedbStmt => {
                after_failure();
            }
            _ => {}
        }
    }
}

/// To be called when a transaction has failed, and with it the command.
pub fn after_failure() {
    let database = KEPT_EMPTY.swap(0, Ordering::Relaxed);
    if database != 0 {
        shared::come_back(Oid::from(database));
    }
}

/// The database that the command needs to itself.
///
/// # Safety
/// `statement` is NULL or a node, and outlives the name.
unsafe fn database_to_empty<'a>(statement: *mut pg_sys::Node) -> Option<&'a CStr> {
    if statement.is_null() {
        return None;
    }
    // SAFETY: a node's tag tells its type; its strings live as long as the statement.
    unsafe {
        let name: *const c_char = match (*statement).type_ {
            NodeTag::T_DropdbStmt => (*statement.cast::<pg_sys::DropdbStmt>()).dbname,
            NodeTag::T_RenameStmt => {
                let rename = statement.cast::<pg_sys::RenameStmt>();
                if (*rename).renameType != pg_sys::ObjectType::OBJECT_DATABASE {
                    return None;
                }
                (*rename).subname
            }
            NodeTag::T_AlterDatabaseStmt => {
                let alter = statement.cast::<pg_sys::AlterDatabaseStmt>();
                option((*alter).options, c"tablespace")?;
                (*alter).dbname
            }
            NodeTag::T_CreatedbStmt => {
                let template = option((*statement.cast::<pg_sys::CreatedbStmt>()).options, c"template")?;
                if (*template).arg.is_null() {
                    return None; // TEMPLATE DEFAULT
                }
                pg_sys::defGetString(template)
            }
            _ => return None,
        };
        (!name.is_null()).then(|| CStr::from_ptr(name))
    }
}

/// # Safety
/// `options` is a list of DefElem.
unsafe fn option(options: *mut pg_sys::List, name: &CStr) -> Option<*mut pg_sys::DefElem> {
    // SAFETY: as promised; defname is a C string.
    unsafe {
        PgList::<pg_sys::DefElem>::from_pg(options).iter_ptr().find(|o| CStr::from_ptr((**o).defname) == name)
    }
}

fn wait_until_gone(database: Oid, pid: i32) {
    let start = Instant::now();
    // It gives up its slot just before it gives up its PGPROC, which is what counts as a
    // connection to the database.
    // SAFETY: BackendPidGetProc() searches under its own lock, and pg_usleep() sleeps.
    unsafe {
        while (shared::is_served(database) || !pg_sys::BackendPidGetProc(pid).is_null())
            && start.elapsed() < PATIENCE
        {
            pg_sys::check_for_interrupts!();
            pg_sys::pg_usleep(10_000);
        }
    }
}

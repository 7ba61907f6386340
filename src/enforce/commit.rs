//! What would outlive the transaction: its writes, a prepared transaction, a held cursor.

use std::ffi::c_void;

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::{deadline, notice, slots};
use crate::check::{ended, uses};
use crate::errors::Refusal;

pub fn init() {
    // SAFETY: the callback lives as long as the process.
    unsafe { pg_sys::RegisterXactCallback(Some(transaction_changes), std::ptr::null_mut()) };
}

/// To be called when a statement of the client's own is done that has written. Before the callbacks of others at its commit
/// there is a first look at its grants: postgres_fdw's commits elsewhere, which cannot be taken back, and those that are
/// registered last are called first (RegisterXactCallback(), xact.c). The last look comes after them all the same.
#[pg_guard]
pub extern "C-unwind" fn come_first() {
    // SAFETY: a client's statement is not carried out by a callback, so that nothing walks over the list.
    unsafe {
        pg_sys::UnregisterXactCallback(Some(first_look), std::ptr::null_mut());
        pg_sys::RegisterXactCallback(Some(first_look), std::ptr::null_mut());
    }
}

unsafe extern "C-unwind" fn first_look(event: pg_sys::XactEvent::Type, _arg: *mut c_void) {
    if event == pg_sys::XactEvent::XACT_EVENT_PRE_COMMIT
        && !slots::is_parallel_worker()
        && uses::any()
        && writes()
    {
        uses::refuse_if_ended();
    }
}

/// Whether the transaction has written something here.
pub fn writes() -> bool {
    unsafe extern "C-unwind" {
        // Raw, after each statement: only reads a static of xact.c.
        safe fn GetTopTransactionIdIfAny() -> pg_sys::TransactionId;
    }
    GetTopTransactionIdIfAny() != pg_sys::InvalidTransactionId
}

/// Does now what the commit would wait for after the last look: it truncates and drops temporary tables, on which another
/// session of the same person can hold a lock for as long as it likes. CommitTransaction() (xact.c) does it again, and
/// has the locks then.
pub fn wait_for_locks() {
    // SAFETY: at XACT_EVENT_PRE_COMMIT, which comes right before. What has been dropped is skipped, what is empty is
    // truncated once more.
    unsafe { pg_sys::PreCommit_on_commit_actions() };
}

/// Errors leave from the first two events only: there CommitTransaction() and PrepareTransaction() (xact.c) can
/// still turn back.
unsafe extern "C-unwind" fn transaction_changes(event: pg_sys::XactEvent::Type, _arg: *mut c_void) {
    use pg_sys::XactEvent::*;
    // A parallel worker writes into its leader's slot, and has transactions of its own before it gets to work
    // (ParallelWorkerMain(), parallel.c).
    if slots::is_parallel_worker() {
        return;
    }
    match event {
        XACT_EVENT_PRE_COMMIT if uses::any() => before_commit(),
        XACT_EVENT_PRE_PREPARE if uses::any() => before_prepare(),
        XACT_EVENT_COMMIT | XACT_EVENT_ABORT | XACT_EVENT_PREPARE => slots::clear(),
        _ => {}
    }
}

#[pg_guard]
extern "C-unwind" fn before_commit() {
    wait_for_locks();
    // What has only been read is with the client already, and nothing of it is kept.
    if writes() {
        uses::refuse_if_ended();
    }
    if !slots::begin_commit() {
        // A session that is to end does so here, and not while it waits for standbys (SyncRepWaitForLSN()). A cancel is
        // carried out by what follows: as an interrupt it could not be explained here, see `notice::explained`.
        slots::receive_signals();
        // SAFETY: volatiles of this process.
        unsafe {
            (&raw mut pg_sys::QueryCancelPending).write_volatile(0);
            if (&raw const pg_sys::ProcDiePending).read_volatile() != 0 {
                pgrx::check_for_interrupts!();
            }
        }
        if let Some((_, notice)) = slots::my_notice() {
            let [message, detail, hint] = notice::texts(notice);
            Refusal::new(PgSqlErrorCode::ERRCODE_QUERY_CANCELED, message).detail(detail).hint(hint).raise();
        } else if let Some(grant) = deadline::passed() {
            ended::time_is_up(grant).raise();
        }
    }
}

#[pg_guard]
extern "C-unwind" fn before_prepare() {
    Refusal::new(
        PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
        "cannot PREPARE a transaction that has used a grant",
    )
    .detail("It would commit whenever somebody says so, after the grant has ended as well.")
    .hint("COMMIT it, or do what needs the grant in a transaction of its own.")
    .raise()
}

/// Whether this run of the executor stores the rows of a cursor that outlives its transaction:
/// PersistHoldablePortal() (portalcmds.c), which runs before any callback at commit, and whose rows would be
/// there even if the commit failed.
///
/// # Safety
/// `query` is what ExecutorRun() was called with.
pub unsafe fn fills_held_cursor(query: *mut pg_sys::QueryDesc) -> bool {
    // SAFETY: ActivePortal is NULL or the portal that is being run.
    unsafe {
        pg_sys::ActivePortal
            .as_ref()
            .is_some_and(|portal| portal.queryDesc == query && !portal.holdStore.is_null())
    }
}

/// To be called after such a run: the rows go with the cursor.
#[pg_guard]
pub extern "C-unwind" fn refuse_held_rows() {
    Refusal::new(
        PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
        "a cursor cannot be held past a transaction that has used a grant",
    )
    .detail("Its rows would be kept, and could be read after the grant has ended.")
    .hint("Read it to its end and CLOSE it before COMMIT, or declare it WITHOUT HOLD. A loop over a query in PL/pgSQL must not COMMIT inside.")
    .raise()
}

//! Whoever ends a grant stops its users, as the first thing once that has committed. The worker comes by a moment later,
//! for those who idle, and for who has begun in between. Whoever makes a grant longer tells its users in the same way.

use std::cell::RefCell;
use std::ffi::c_void;

use pgrx::pg_sys::{self, SubTransactionId, TimestampTz};

use super::notice::Notice;
use super::slots::{self, Signal};
use crate::check;
use crate::lifecycle::options::OnEnd;

/// What the transaction at hand has done to a grant that was in use then.
struct Made {
    within: SubTransactionId,
    grant: i64,
    what: What,
}

enum What {
    Ended(Signal, Box<Notice>),
    Lengthened(TimestampTz),
}

thread_local! {
    static MADE: RefCell<Vec<Made>> = const { RefCell::new(Vec::new()) };
}

/// Called once, from `_PG_init`.
pub fn init() {
    // SAFETY: the callbacks live as long as the process.
    unsafe {
        pg_sys::RegisterXactCallback(Some(transaction_changes), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(subtransaction_changes), std::ptr::null_mut());
    }
}

/// The transaction at hand has ended these grants. Costs nothing for those that nobody uses.
pub fn ended(grants: &[i64], kind: &str, by: &str) {
    for grant in slots::grants_in_use().into_iter().filter(|grant| grants.contains(grant)) {
        let (refusal, on_end) = check::ended::foretell(grant, kind, by);
        let signal = match on_end {
            OnEnd::None => continue,
            OnEnd::Cancel => Signal::Cancel,
            OnEnd::Terminate => Signal::Terminate,
        };
        made(grant, What::Ended(signal, Box::new(Notice::of(refusal))));
    }
}

/// The transaction at hand has made the grant last until then.
pub fn lengthened(grant: i64, end: TimestampTz) {
    made(grant, What::Lengthened(end));
}

fn made(grant: i64, what: What) {
    // SAFETY: reads the state of the transaction.
    let within = unsafe { pg_sys::GetCurrentSubTransactionId() };
    MADE.with_borrow_mut(|made| made.push(Made { within, grant, what }));
}

/// At XACT_EVENT_COMMIT the transaction is over for everybody else (ProcArrayEndTransaction() comes before, in
/// CommitTransaction(), xact.c). A prepared one ends nothing yet.
unsafe extern "C-unwind" fn transaction_changes(event: pg_sys::XactEvent::Type, _arg: *mut c_void) {
    use pg_sys::XactEvent::*;
    if !matches!(event, XACT_EVENT_COMMIT | XACT_EVENT_ABORT | XACT_EVENT_PREPARE) {
        return;
    }
    let made = MADE.take();
    if event == XACT_EVENT_COMMIT {
        for made in made {
            match made.what {
                What::Ended(signal, notice) => slots::signal_users(made.grant, signal, &notice),
                What::Lengthened(end) => slots::prolong_for_users(made.grant, end),
            }
        }
    }
}

/// What a savepoint takes back has not ended. Subtransactions are numbered as they begin: those inside of it have
/// higher numbers.
unsafe extern "C-unwind" fn subtransaction_changes(
    event: pg_sys::SubXactEvent::Type,
    me: SubTransactionId,
    _parent: SubTransactionId,
    _arg: *mut c_void,
) {
    if event == pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB {
        MADE.with_borrow_mut(|made| made.retain(|made| made.within < me));
    }
}

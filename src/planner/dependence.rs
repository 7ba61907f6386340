//! What a plan was made on besides the tables, and how it gets known that it has to be made anew.
//!
//! An index condition is right for every holder of keys, and wrong for a holder of all rows, who sees
//! rows of other keys too. So whether somebody holds all rows is looked at while planning, and each
//! such plan is made to depend on an empty table, `jit_private.plan_marker`, whose relcache entry is
//! invalidated whenever a grant for all rows comes or goes (sql/triggers.sql).

use std::sync::atomic::{AtomicU32, Ordering};

use pgrx::pg_sys::{self, Oid};

use crate::check::held::Held;
use crate::check::layout;
use crate::identity;

/// The relation that this session's plans depend on; 0: none does.
static MARKER: AtomicU32 = AtomicU32::new(0);
/// For whom plans were made that differ from role to role; 0: there are none.
static MADE_FOR: AtomicU32 = AtomicU32::new(0);

/// Whether keys alone can decide, in a plan made now. Whatever the answer is, the plan is made anew
/// when it may be another.
///
/// # Safety
/// `root` is the planner's, or NULL.
pub unsafe fn on_keys_alone(root: *mut pg_sys::PlannerInfo, held: &Held) -> bool {
    // SAFETY: the caller's promise.
    unsafe { on_marker(root) && (!held.scope_has_all_rows() || on_role(root) && !held.all_rows()) }
}

/// The plan is made anew when grants for all rows change. False when that cannot be arranged.
///
/// # Safety
/// `root` is the planner's, or NULL.
pub unsafe fn on_marker(root: *mut pg_sys::PlannerInfo) -> bool {
    let Some(marker) = layout::plan_marker() else { return false };
    // SAFETY: glob lives as long as the planning; PlanCacheRelCallback() (plancache.c) looks at this
    // list in finished plans, and setrefs.c only appends to it.
    unsafe {
        let Some(root) = root.as_ref() else { return false };
        let Some(glob) = root.glob.as_mut() else { return false };
        if !pg_sys::list_member_oid(glob.relationOids, marker) {
            // The genetic optimiser tries joins out in a context of its own, which goes (geqo_eval(), geqo_eval.c).
            let context = pg_sys::MemoryContextSwitchTo(root.planner_cxt);
            glob.relationOids = pg_sys::lappend_oid(glob.relationOids, marker);
            pg_sys::MemoryContextSwitchTo(context);
        }
    }
    MARKER.store(marker.to_u32(), Ordering::Relaxed);
    true
}

/// Whether a plan depends on the marker. Asked before everybody's statements.
///
/// # Safety
/// `plan` is a finished plan.
#[inline]
pub unsafe fn has_marker(plan: *mut pg_sys::PlannedStmt) -> bool {
    let marker = MARKER.load(Ordering::Relaxed);
    // SAFETY: the caller's promise; a list of OIDs, as long as it says.
    marker != 0
        && unsafe {
            (*plan).relationOids.as_ref().is_some_and(|list| {
                std::slice::from_raw_parts(list.elements, usize::try_from(list.length).unwrap_or(0))
                    .iter()
                    .any(|cell| cell.oid_value.to_u32() == marker)
            })
        }
}

/// The plan is made anew for another role. PostgreSQL knows plans by GetUserId(), grants serve
/// GetOuterUserId(): false where they differ, or could when the plan is used again, which is inside
/// SECURITY DEFINER functions.
///
/// # Safety
/// `root` is the planner's, or NULL.
unsafe fn on_role(root: *mut pg_sys::PlannerInfo) -> bool {
    let actor = identity::actor();
    // SAFETY: reads statics of miscinit.c; `root` as above.
    unsafe {
        if pg_sys::GetUserId() != actor || pg_sys::InLocalUserIdChange() {
            return false;
        }
        let Some(glob) = root.as_ref().and_then(|root| root.glob.as_mut()) else { return false };
        glob.dependsOnRole = true;
    }
    on_actor();
    true
}

/// What is being planned on the marker is made anew when another role acts.
pub fn on_actor() {
    let actor = identity::actor().to_u32();
    let before = MADE_FOR.swap(actor, Ordering::Relaxed);
    if before != 0 && before != actor {
        make_anew();
    }
}

/// After what may have been a SET ROLE, or its end with a transaction: a plan made for alice, kept in a
/// function, would be found again (by GetUserId()) when bob calls it through one that alice owns.
#[inline]
pub fn actor_may_have_changed() {
    let made_for = MADE_FOR.load(Ordering::Relaxed);
    if made_for != 0 && made_for != identity::actor().to_u32() {
        MADE_FOR.store(0, Ordering::Relaxed);
        make_anew();
    }
}

/// Every plan of this session that depends on the marker is planned again before it is used again.
/// Only sets flags: allowed in callbacks, and while such a plan runs.
pub fn make_anew() {
    unsafe extern "C-unwind" {
        // Raw, because it runs in callbacks as well: inval.c, on a message of this process's own.
        fn LocalExecuteInvalidationMessage(message: *mut pg_sys::SharedInvalidationMessage);
    }
    let marker = MARKER.load(Ordering::Relaxed);
    if marker == 0 {
        return;
    }
    let mut message = pg_sys::SharedInvalidationMessage {
        rc: pg_sys::SharedInvalRelcacheMsg {
            id: pg_sys::SHAREDINVALRELCACHE_ID as i8,
            // SAFETY: a global of this process.
            dbId: unsafe { pg_sys::MyDatabaseId },
            relId: Oid::from_u32(marker),
        },
    };
    // SAFETY: a complete message. Nobody has the empty table open, so that its entry is just
    // forgotten; the relcache callbacks are plancache.c's and those of extensions.
    unsafe { LocalExecuteInvalidationMessage(&mut message) };
}

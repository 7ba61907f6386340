//! Which grants the transaction at hand has used: what its statements have been let through by.
//!
//! A statement that was begun under a grant may hold what the grant has shown it: a gated plan
//! decides once, a cursor has rows in hand. So a transaction that has used a grant which has ended
//! runs nothing more, see [`refuse_if_ended`].
//!
//! Marks last until the transaction ends, whatever becomes of its savepoints: an exception handler
//! must not wash them off.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};

use pgrx::pg_sys;
use pgrx::pg_sys::panic::pgrx_extern_c_guard;
use pgrx::prelude::*;

use super::cache::{self, Who};
use super::grants::Described;
use super::key_table::Window;
use super::load::{self, Serving};
use super::{clock, ended, invalidation, replica};
use crate::enforce::{deadline, slots};
use crate::lifecycle::options::OnEnd;
use crate::{privileged, worker};

// A backend has one thread: the atomics are there because statics must be Sync.
static TRANSACTION: AtomicU64 = AtomicU64::new(1);
static PLANNING: AtomicBool = AtomicBool::new(false);
static ANY: AtomicBool = AtomicBool::new(false);
/// When the first of the used grants ends by itself.
static NEXT_END: AtomicI64 = AtomicI64::new(i64::MAX);
/// The generation under which all of them were last seen alive; 0: they must be looked at.
static SEEN_ALIVE: AtomicU64 = AtomicU64::new(0);

/// How many of the uses in this backend's slot it has seen there; parallel workers add to them.
static SEEN_IN_SLOT: AtomicU32 = AtomicU32::new(0);

/// A grant and whom it served: a membership may be lost while the grant lives on.
type Use = (i64, Who);

/// Not a set, since most transactions use one grant and end at once. A use comes again when the copy
/// that has it marked is loaded again; such repetitions go when there get many.
struct Uses {
    /// Each with the end of the grant.
    list: Vec<(Use, i64)>,
    /// How long the list may become before it is looked through.
    limit: usize,
}

impl Uses {
    const SMALL: usize = 64;

    const fn new() -> Self {
        Uses { list: Vec::new(), limit: Self::SMALL }
    }

    fn add(&mut self, one: Use, end: i64) {
        if self.list.len() >= self.limit {
            self.list = self.once().into_iter().collect();
            self.limit = (self.list.len() * 2).max(Self::SMALL);
        }
        self.list.push((one, end));
    }

    /// Each use once, with the end that was known last.
    fn once(&self) -> HashMap<Use, i64> {
        self.list.iter().copied().collect()
    }

    /// Little memory is kept for the next transaction.
    fn clear(&mut self) {
        if self.list.capacity() > Self::SMALL {
            *self = Self::new();
        } else {
            self.list.clear();
        }
    }
}

thread_local! {
    static USED: RefCell<Uses> = const { RefCell::new(Uses::new()) };
    /// Of what ends soon, for a message: the copy that says so may be let go first.
    static DESCRIBED: RefCell<Vec<(i64, Described)>> = const { RefCell::new(Vec::new()) };
}

/// How long before its end a grant is described, in microseconds: longer than it takes to load a copy.
const SOON: i64 = 10_000_000;

/// To be called before copies are let go.
pub fn describe_what_ends_soon() {
    if !any() {
        return;
    }
    let soon = clock::now().saturating_add(SOON);
    let grants: Vec<i64> = USED.with_borrow(|used| {
        used.list.iter().filter(|(_, end)| *end <= soon).map(|((grant, _), _)| *grant).collect()
    });
    for grant in grants {
        if described(grant).is_none()
            && let Some(described) = cache::describe(grant)
        {
            DESCRIBED.with_borrow_mut(|all| all.push((grant, described)));
        }
    }
}

fn described(grant: i64) -> Option<Described> {
    DESCRIBED.with(|all| {
        let all = all.try_borrow().ok()?;
        all.iter().find(|(described, _)| *described == grant).map(|(_, described)| described.clone())
    })
}

/// What is known of a grant that the transaction uses. Calls nothing of PostgreSQL's.
pub fn describe(grant: i64) -> Option<Described> {
    described(grant).or_else(|| cache::describe(grant))
}

pub fn init() {
    // SAFETY: the callback lives as long as the process and does nothing that can raise. Not pgrx's
    // register_xact_callback(), which is for one transaction.
    unsafe { pg_sys::RegisterXactCallback(Some(transaction_changes), std::ptr::null_mut()) };
}

unsafe extern "C-unwind" fn transaction_changes(event: pg_sys::XactEvent::Type, _arg: *mut c_void) {
    use pg_sys::XactEvent::*;
    let ends = matches!(
        event,
        XACT_EVENT_COMMIT
            | XACT_EVENT_ABORT
            | XACT_EVENT_PREPARE
            | XACT_EVENT_PARALLEL_COMMIT
            | XACT_EVENT_PARALLEL_ABORT
    );
    // The slot may have been emptied before.
    if ends && (ANY.swap(false, Ordering::Relaxed) | (SEEN_IN_SLOT.swap(0, Ordering::Relaxed) > 0)) {
        TRANSACTION.fetch_add(1, Ordering::Relaxed);
        NEXT_END.store(i64::MAX, Ordering::Relaxed);
        SEEN_ALIVE.store(0, Ordering::Relaxed);
        let _ = USED.try_with(|used| used.try_borrow_mut().map(|mut used| used.clear()));
        let _ = DESCRIBED.try_with(|all| all.try_borrow_mut().map(|mut all| all.clear()));
    }
}

/// A number that changes with each transaction that uses a grant; never 0.
#[inline(always)]
pub fn transaction() -> u64 {
    TRANSACTION.load(Ordering::Relaxed)
}

/// Whether what runs now was called by the planner, which may try out stable functions
/// (estimate_expression_value()): no use of a grant. What a function runs that is called
/// while planning is one again: the nearest of planner and executor counts.
#[inline(always)]
pub fn planning() -> bool {
    PLANNING.load(Ordering::Relaxed)
}

/// Says which of the two begins; returns what to put back at its end.
pub fn set_planning(planning: bool) -> bool {
    PLANNING.swap(planning, Ordering::Relaxed)
}

/// The grant of this window is about to let somebody through, by what was loaded under `generation`. False: it
/// has ended meanwhile, before anybody could know of the use; then it must be decided again.
///
/// # Safety
/// As [`invalidation::accept_unguarded`].
#[cold]
pub unsafe fn record(who: Who, window: &Window, on_end: OnEnd, generation: u64) -> bool {
    let has_used = ANY.swap(true, Ordering::Relaxed);
    NEXT_END.fetch_min(window.end, Ordering::Relaxed);
    USED.with_borrow_mut(|used| used.add((window.grant, who), window.end));
    let before = slots::my_count();
    match slots::publish(slots::Use { grant: window.grant, who, end: window.end, on_end }) {
        slots::Published::Nowhere => return true,
        slots::Published::Again => {}
        // Unless a parallel worker has added to it as well.
        slots::Published::New if slots::my_count() == before + 1 => {
            SEEN_IN_SLOT.fetch_add(1, Ordering::Relaxed);
        }
        slots::Published::New => {}
    }
    if on_end == OnEnd::Cancel {
        deadline::set(window.end);
    }
    worker::use_on_a_standby();
    // The worker looks at the slots after an ending has been sent to everybody. So either it has seen this
    // use, or the ending is among what is read here, or was read while loading.
    // SAFETY: the caller's promise.
    unsafe { invalidation::accept_unguarded() };
    let now = invalidation::generation();
    if now != generation || clock::now() >= window.end {
        // By the tables, as they are after the use was written down. An error jumps over everything, see above.
        // SAFETY: nothing in here is held across it.
        let Some(Some(serving)) = (unsafe { pgrx_extern_c_guard(|| load::serves(window.grant, who)) }) else {
            return false;
        };
        let Serving { end, on_end } = serving;
        slots::publish(slots::Use { grant: window.grant, who, end, on_end });
        return true;
    }
    // It vouches for itself, and not for what parallel workers have used.
    if !has_used && before == 0 {
        SEEN_ALIVE.store(now, Ordering::Relaxed);
    }
    true
}

/// To be asked before anything is executed. Nearly free for who has used no grant.
#[inline(always)]
pub fn any() -> bool {
    ANY.load(Ordering::Relaxed) || slots::my_count() > 0 && !slots::is_parallel_worker()
}

/// Raises 57014 when the transaction has used a grant that has ended. Cheap as long as no grant
/// has changed since it was asked last.
#[pg_guard]
pub extern "C-unwind" fn refuse_if_ended() {
    // A function of ours that is under way is not stopped halfway.
    if !any() || privileged::is_owner() {
        return;
    }
    deadline::keep();
    invalidation::accept();
    let generation = invalidation::generation();
    let next_end = NEXT_END.load(Ordering::Relaxed).min(replica::trusted_until());
    let in_slot = slots::my_count();
    if SEEN_IN_SLOT.load(Ordering::Relaxed) == in_slot
        && SEEN_ALIVE.load(Ordering::Relaxed) == generation
        && clock::now_before(next_end) < next_end
    {
        return;
    }
    let look = look();
    if let Some(grant) = look.ended {
        ended::refuse(grant);
    }
    NEXT_END.store(look.next_end, Ordering::Relaxed);
    SEEN_IN_SLOT.store(in_slot, Ordering::Relaxed);
    // A change while looking makes the next statement look again.
    SEEN_ALIVE.store(if look.certain { generation } else { 0 }, Ordering::Relaxed);
}

struct Look {
    /// The first of the used grants that serves no more, by id.
    ended: Option<i64>,
    next_end: i64,
    /// Whether what was found holds until something changes.
    certain: bool,
}

fn look() -> Look {
    let mut missing = USED.with_borrow(Uses::once);
    // Those of parallel workers.
    for used in slots::my_uses() {
        missing.entry((used.grant, used.who)).or_insert(used.end);
    }
    let mut people: Vec<Who> = Vec::new();
    for (_, who) in missing.keys() {
        if !people.contains(who) {
            people.push(*who);
        }
    }
    let now = clock::now();
    if replica::is_stale(now) {
        return Look {
            ended: missing.into_keys().map(|(grant, _)| grant).min(),
            next_end: now,
            certain: false,
        };
    }
    let mut next_end = i64::MAX;
    for who in people {
        let Some(copy) = cache::ensure(who) else { continue };
        cache::each_window(copy, |window| {
            if now < window.end && missing.remove(&(window.grant, who)).is_some() {
                next_end = next_end.min(window.end);
            }
        });
    }
    // What this transaction has ended itself has not ended for anybody else yet, and may be taken
    // back: then it must be found alive again. Its time runs on.
    let certain = missing.is_empty();
    missing.retain(|(grant, who), end| *end <= now || !ended::by_this_transaction_only(*grant, who.actor));
    Look { ended: missing.into_keys().map(|(grant, _)| grant).min(), next_end, certain }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgrx::pg_sys::Oid;

    #[test]
    fn every_use_is_kept_and_repetitions_do_not_pile_up() {
        let who = Who { actor: Oid::from_u32(1), login: Oid::from_u32(2) };
        let mut uses = Uses::new();
        for round in 0..1_000 {
            for grant in 0..100 {
                uses.add((grant, who), round);
            }
            assert_eq!(uses.once().len(), 100, "{round}");
            assert!(uses.once().values().all(|end| *end == round));
        }
        assert!(uses.list.len() <= 400, "{}", uses.list.len());
        uses.clear();
        assert!(uses.once().is_empty() && uses.list.capacity() == 0);
    }
}

//! The session's private copies of grants, one for each role that it has acted as lately.
//!
//! A copy is found only under the generation in which its load began, and is put here only when
//! that has come to its end: an error in between leaves nothing. Before a copy goes, a new epoch
//! begins ([`invalidation::epoch`]): call sites keep pointers into copies for as long as the epoch lasts.
//! Nothing of PostgreSQL is called while the store is borrowed, so that no error and no
//! re-entry can find it borrowed; callers keep a [`CopyRef`], never a reference.

use std::cell::{Cell, RefCell};

use pgrx::pg_sys::Oid;

use super::grants::{Described, ScopeGrants};
use super::invalidation;
use super::key_table::Window;
use super::load::{Loaded, load};
use super::uses;
use crate::identity;

/// Whom a check is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Who {
    pub actor: Oid,
    pub login: Oid,
}

impl Who {
    /// Parallel workers have their leader's: ParallelWorkerMain() (parallel.c) restores all of it.
    #[inline(always)]
    pub fn now() -> Self {
        // Then it is for nobody, and nobody holds anything.
        let actor = if identity::is_lent_to_maintenance() { Oid::INVALID } else { identity::actor() };
        Who { actor, login: identity::login() }
    }
}

/// What has to be as it was for a copy to be true.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State {
    generation: u64,
    shared_logins: u64,
}

impl State {
    fn now() -> Self {
        State {
            generation: invalidation::generation(),
            shared_logins: crate::settings::shared_logins_generation(),
        }
    }
}

struct Copy {
    /// Never used again, so that it stands for role and generation as well.
    id: u64,
    who: Who,
    state: State,
    used: Cell<u64>,
    scopes: Vec<ScopeGrants>,
}

/// Names a copy. It outlives the copy, which is then not found.
#[derive(Clone, Copy)]
pub struct CopyRef {
    id: u64,
    place: usize,
    /// As long as this epoch lasts, the copy is there and true.
    pub epoch: u64,
}

/// How many roles a session can alternate between, by SET ROLE, without loading again.
const COPIES: usize = 8;

struct Store {
    copies: [Option<Copy>; COPIES],
    last_id: u64,
    uses: Cell<u64>,
}

thread_local! {
    static STORE: RefCell<Store> = const {
        RefCell::new(Store { copies: [const { None }; COPIES], last_id: 0, uses: Cell::new(0) })
    };
}

impl Store {
    fn find(&self, who: Who, state: State) -> Option<CopyRef> {
        self.copies.iter().enumerate().find_map(|(place, copy)| {
            let copy = copy.as_ref().filter(|copy| copy.who == who && copy.state == state)?;
            let use_number = self.uses.get() + 1;
            self.uses.set(use_number);
            copy.used.set(use_number);
            Some(CopyRef { id: copy.id, place, epoch: invalidation::epoch() })
        })
    }

    /// Clears a place for a copy: of what is stale, which is all let go, else of the copy unused
    /// longest. Before the load, so that there are never two copies of the same grants.
    fn make_room(&mut self, state: State) -> usize {
        invalidation::begin_epoch();
        for slot in &mut self.copies {
            slot.take_if(|copy| copy.state != state);
        }
        let oldest = |slot: &Option<Copy>| slot.as_ref().map(|copy| copy.used.get());
        let place = (0..COPIES).min_by_key(|place| self.copies.get(*place).and_then(oldest)).unwrap_or(0);
        if let Some(slot) = self.copies.get_mut(place) {
            *slot = None;
        }
        place
    }

    fn put(&mut self, place: usize, copy: Copy, epoch: u64) -> Option<CopyRef> {
        let id = copy.id;
        let slot = self.copies.get_mut(place)?;
        if slot.is_some() {
            invalidation::begin_epoch();
        }
        *slot = Some(copy);
        Some(CopyRef { id, place, epoch })
    }

    fn get(&self, copy: CopyRef) -> Option<&Copy> {
        self.copies.get(copy.place)?.as_ref().filter(|found| found.id == copy.id)
    }
}

/// A copy for this role that is true as of now, loaded if need be. None when there is nothing to
/// load from.
///
/// A message that comes while loading makes the copy stale for the next check, not for this one,
/// which began before: loading again and again would let whoever sends messages (any login can,
/// with DDL on temporary tables) keep a session from ever getting an answer.
pub fn ensure(who: Who) -> Option<CopyRef> {
    loop {
        let state = State::now();
        if let Some(copy) = STORE.with_borrow(|store| store.find(who, state)) {
            return Some(copy);
        }
        pgrx::check_for_interrupts!();
        uses::describe_what_ends_soon();
        let place = STORE.with_borrow_mut(|store| store.make_room(state));
        // From before the load, like `state`: what comes meanwhile makes the copy stale.
        let epoch = invalidation::epoch();
        match load(who) {
            Loaded::Nothing => return None,
            Loaded::Again => {}
            Loaded::Grants(scopes) => {
                return STORE.with_borrow_mut(|store| {
                    store.last_id += 1;
                    let copy =
                        Copy { id: store.last_id, who, state, used: Cell::new(store.uses.get()), scopes };
                    store.put(place, copy, epoch)
                });
            }
        }
    }
}

/// The grants of a scope, NULL if the copy has none of it. To be followed as long as the copy's epoch
/// lasts, and for an answer to a check that began in it.
pub fn grants(copy: CopyRef, scope: i32) -> *const ScopeGrants {
    STORE.with_borrow(|store| {
        store
            .get(copy)
            .and_then(|copy| {
                let at = copy.scopes.binary_search_by_key(&scope, |grants| grants.scope.id).ok()?;
                copy.scopes.get(at)
            })
            .map_or(std::ptr::null(), std::ptr::from_ref)
    })
}

/// What is known of a grant by the copies that are here, true or not. Calls nothing of PostgreSQL's.
pub fn describe(grant: i64) -> Option<Described> {
    STORE.with(|store| {
        let store = store.try_borrow().ok()?;
        let mut scopes = store.copies.iter().flatten().flat_map(|copy| &copy.scopes);
        scopes.find_map(|grants| grants.describe(grant))
    })
}

/// Every grant in the copy, open or not. `look` must call nothing that could raise or load.
pub fn each_window(copy: CopyRef, look: impl FnMut(&Window)) {
    STORE.with_borrow(|store| {
        let scopes = store.get(copy).map_or(&[][..], |copy| &copy.scopes);
        scopes.iter().flat_map(ScopeGrants::windows).for_each(look);
    });
}

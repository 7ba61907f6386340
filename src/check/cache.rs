//! The session's private copies of grants, one for each role that it has acted as lately.
//!
//! A copy is found only under the generation in which its load began, and is put here only when
//! that has come to its end: an error in between leaves nothing.
//! Nothing of PostgreSQL is called while the store is borrowed, so that no error and no
//! re-entry can find it borrowed; callers keep a [`CopyRef`], never a reference.

use std::cell::{Cell, RefCell};

use pgrx::pg_sys::Oid;

use super::invalidation;
use super::load::{Loaded, ScopeGrants, load};
use crate::identity;

/// Whom a check is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who {
    pub actor: Oid,
    pub login: Oid,
}

impl Who {
    /// Parallel workers have their leader's: ParallelWorkerMain() (parallel.c) restores both.
    pub fn now() -> Self {
        Who { actor: identity::actor(), login: identity::login() }
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
    pub id: u64,
    place: usize,
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
            Some(CopyRef { id: copy.id, place })
        })
    }

    /// In the place of the same role's old copy, else of none, else of the one unused longest.
    fn put(&mut self, who: Who, state: State, scopes: Vec<ScopeGrants>) -> Option<CopyRef> {
        self.last_id += 1;
        let id = self.last_id;
        let copy = Copy { id, who, state, used: Cell::new(self.uses.get()), scopes };
        let (place, slot) = self.copies.iter_mut().enumerate().min_by_key(|(_, slot)| match slot {
            Some(old) if old.who == who => (0, 0),
            None => (1, 0),
            Some(old) => (2, old.used.get()),
        })?;
        *slot = Some(copy);
        Some(CopyRef { id, place })
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
        match load(who) {
            Loaded::Nothing => return None,
            Loaded::Again => {}
            Loaded::Grants(scopes) => {
                return STORE.with_borrow_mut(|store| store.put(who, state, scopes));
            }
        }
    }
}

/// Where the grants of a scope stand in the copy, if it has any.
pub fn position(copy: CopyRef, scope: i32) -> Option<usize> {
    STORE
        .with_borrow(|store| store.get(copy)?.scopes.binary_search_by_key(&scope, |grants| grants.scope).ok())
}

/// Looks into the grants at [`position`]. `look` must call nothing that could raise or load.
pub fn with<R>(copy: CopyRef, position: usize, look: impl FnOnce(&ScopeGrants) -> R) -> Option<R> {
    STORE.with_borrow(|store| store.get(copy)?.scopes.get(position).map(look))
}

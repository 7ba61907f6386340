//! What calls were about lately, whatever expression they stood in.

use std::cell::Cell;
use std::ptr;

use pgrx::pg_sys::Oid;

use super::cache::Who;
use super::family::Family;
use super::grants::ScopeGrants;
use super::invalidation;

/// As long as the name of a scope can be.
const NAME: usize = 63;

struct Recent {
    /// In which the rest is true, and the pointer may be followed; 0: never.
    epoch: Cell<u64>,
    who: Cell<Who>,
    /// Of the key that the call had; None: it was about the whole scope.
    asked: Cell<Option<Family>>,
    length: Cell<usize>,
    name: Cell<[u8; NAME]>,
    grants: Cell<*const ScopeGrants>,
}

const NOBODY: Who = Who { actor: Oid::INVALID, login: Oid::INVALID };
const PLACES: usize = 8;

thread_local! {
    static RECENT: [Recent; PLACES] = const {
        [const {
            Recent {
                epoch: Cell::new(0),
                who: Cell::new(NOBODY),
                asked: Cell::new(None),
                length: Cell::new(0),
                name: Cell::new([0; NAME]),
                grants: Cell::new(ptr::null()),
            }
        }; PLACES]
    };
}

/// Each name has one place, which it shares with others.
#[inline]
fn place(name: &[u8], asked: Option<Family>) -> usize {
    let byte = |byte: Option<&u8>| byte.copied().map_or(0, usize::from);
    let asked = usize::from(asked.is_none());
    (name.len() + byte(name.first()) + 3 * byte(name.last()) + 5 * asked) % PLACES
}

/// What the scope opens for whoever it is; NULL: nothing. None: it is not known here.
#[inline]
pub fn find(name: &[u8], asked: Option<Family>, who: Who) -> Option<*const ScopeGrants> {
    RECENT.with(|recent| {
        let recent = recent.get(place(name, asked))?;
        let known = recent.epoch.get() == invalidation::epoch()
            && recent.who.get() == who
            && recent.asked.get() == asked
            && recent.name.get().get(..recent.length.get()) == Some(name);
        known.then(|| recent.grants.get())
    })
}

pub fn put(name: &[u8], asked: Option<Family>, who: Who, epoch: u64, grants: *const ScopeGrants) {
    RECENT.with(|recent| {
        let mut copy = [0; NAME];
        // Longer ones are no scope's.
        let (Some(recent), Some(start)) = (recent.get(place(name, asked)), copy.get_mut(..name.len())) else {
            return;
        };
        start.copy_from_slice(name);
        recent.name.set(copy);
        recent.length.set(name.len());
        recent.epoch.set(epoch);
        recent.who.set(who);
        recent.asked.set(asked);
        recent.grants.set(grants);
    });
}

//! The few things about scopes that a check needs, by name.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::family::KeyKind;
use super::invalidation;
use super::layout::{self, Layout};
use super::scan::{Row, Snapshot, Table};
use crate::lifecycle::options::OnEnd;

#[derive(Clone, Copy, Debug)]
pub struct Scope {
    pub id: i32,
    /// None: the scope has no keys.
    pub keys: Option<KeyKind>,
    /// Neither disabled nor dropped.
    pub live: bool,
    pub epoch: i64,
    pub anyone_may_ask: bool,
    pub on_end: OnEnd,
}

impl Scope {
    /// None for a row that is not what it should be.
    fn read(layout: &Layout, row: &Row) -> Option<Self> {
        let columns = &layout.scopes;
        let keys = match row.get(&columns.key_type) {
            None => None,
            Some(name) => Some(KeyKind::named(name.bytes())?),
        };
        Some(Scope {
            id: row.get(&columns.id)?,
            keys,
            live: row.get(&columns.enabled)? && row.get(&columns.dropped_at).is_none(),
            epoch: row.get(&columns.epoch)?,
            anyone_may_ask: row.get(&columns.anyone_may_ask)?,
            on_end: row.get(&columns.on_end).and_then(|name| OnEnd::named(&name.lossy())).unwrap_or_default(),
        })
    }

    /// The scope of a grant, and its name.
    pub fn with_id(layout: &Layout, scopes: &Table, snapshot: &Snapshot, id: i32) -> Option<(Self, Rc<str>)> {
        let mut scan = scopes.find_int4(snapshot, &layout.scopes.by_id, id);
        let row = scan.next()?;
        Some((Scope::read(layout, &row)?, row.get(&layout.scopes.name)?.lossy().into()))
    }
}

/// More names than any policy has. Beyond, all are forgotten: names may come from data.
const MOST_NAMES: usize = 1_024;

#[derive(Default)]
struct Known {
    generation: u64,
    /// Also the names that mean nothing.
    names: HashMap<Box<[u8]>, Option<Scope>>,
}

thread_local! {
    static KNOWN: RefCell<Known> = RefCell::default();
}

/// The scope that has this name now.
pub fn named(name: &[u8]) -> Option<Scope> {
    // What can be no scope's name (the CHECK of jit.scopes) is not looked for.
    let allowed = |c: &u8| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-');
    if name.is_empty() || name.len() > 63 || !name.iter().all(allowed) {
        return None;
    }
    loop {
        let generation = invalidation::generation();
        let known = KNOWN.with_borrow(|known| {
            if known.generation == generation { known.names.get(name).copied() } else { None }
        });
        if let Some(scope) = known {
            return scope;
        }
        pgrx::check_for_interrupts!();
        let layout = layout::current()?;
        let scope = {
            let Some(scopes) = Table::open(layout.scopes.table) else { continue };
            if !layout.is_current() {
                continue;
            }
            let snapshot = Snapshot::take(&scopes);
            scopes.first_named(&snapshot, &layout.scopes.by_name, name, |row| {
                // The index leaves dropped ones out, but see `Table::scan`.
                match row.get(&layout.scopes.dropped_at) {
                    None => Scope::read(&layout, row),
                    Some(_) => None,
                }
            })
        };
        // True for this check, which began before; worth keeping only if nothing has changed since.
        if generation == invalidation::generation() {
            KNOWN.with_borrow_mut(|known| {
                if known.generation != generation || known.names.len() >= MOST_NAMES {
                    *known = Known { generation, names: HashMap::new() };
                }
                known.names.insert(name.into(), scope);
            });
        }
        return scope;
    }
}

//! What the acting role holds of a scope, for the planner: estimates, and whether keys alone decide.

use super::cache::Who;
use super::call_site::resolve_named;
use super::family::Family;
use super::grants::{Keys, ScopeGrants};
use super::scan::{Snapshot, Table};
use super::{clock, invalidation, layout, scopes};

/// One key, as the check compares it.
pub enum HeldKey {
    Int(i64),
    Uuid([u8; 16]),
    Text(Box<[u8]>),
}

pub struct Held {
    live: bool,
    family: Option<Family>,
    scope: Option<i32>,
    all_rows: bool,
    keys: usize,
    sample: Vec<HeldKey>,
}

/// More are not asked for.
const SAMPLE: usize = 100;

impl Held {
    /// Scheduled grants count as held: what is planned now may run then. None when it is not known.
    pub fn now(scope: &[u8]) -> Option<Self> {
        invalidation::accept();
        let resolved = resolve_named(scope, Who::now())?;
        // SAFETY: nothing is loaded between `resolve_named` and here.
        let grants = unsafe { resolved.grants.as_ref() };
        let (keys, sample) = grants.map_or((0, Vec::new()), sample);
        let all_rows = grants.is_some_and(ScopeGrants::has_all_rows);
        Some(Held {
            live: resolved.live,
            family: resolved.keys.map(|keys| keys.family),
            // Also of a scope that is disabled: it may be enabled while the plan is kept.
            scope: scopes::named(scope).map(|scope| scope.id),
            all_rows,
            keys,
            sample,
        })
    }

    /// Whether such keys can be looked up, without an error, in the scope or in one that takes its name.
    pub fn takes(&self, family: Family) -> bool {
        !self.live || self.family == Some(family)
    }

    pub fn all_rows(&self) -> bool {
        self.all_rows
    }

    /// How many keys.
    pub fn keys(&self) -> usize {
        self.keys
    }

    /// Some of the keys, not too many, spread evenly.
    pub fn sample(&self) -> &[HeldKey] {
        &self.sample
    }

    /// Whether anybody holds all rows of the scope, or will; true in doubt.
    pub fn scope_has_all_rows(&self) -> bool {
        // A scope that does not exist yet: the marker is touched before anybody can hold it.
        let Some(scope) = self.scope else { return false };
        let Some(layout) = layout::current() else { return true };
        let Some(grants) = Table::open(layout.grants.table).filter(|_| layout.is_current()) else {
            return true;
        };
        let snapshot = Snapshot::take(&grants);
        let now = clock::now();
        let columns = &layout.grants;
        let mut scan = grants.find_int4(&snapshot, &columns.all_rows_live, scope);
        while let Some(row) = scan.next() {
            let over = row.get(&columns.tidied_at).is_some()
                || row.get(&columns.ends_at).is_some_and(|end| end <= now);
            if !over && row.get(&columns.all_rows) == Some(true) {
                return true;
            }
        }
        false
    }
}

/// How many keys, and some of them.
fn sample(grants: &ScopeGrants) -> (usize, Vec<HeldKey>) {
    match &grants.keys {
        Keys::None => (0, Vec::new()),
        Keys::Int(table) => (table.len(), table.sample(SAMPLE).map(|key| HeldKey::Int(*key)).collect()),
        Keys::Uuid(table) => (table.len(), table.sample(SAMPLE).map(|key| HeldKey::Uuid(*key)).collect()),
        Keys::Text(table) => {
            (table.len(), table.sample(SAMPLE).map(|key| HeldKey::Text(key.clone())).collect())
        }
    }
}

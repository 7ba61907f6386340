//! Loads what the grants of one actor open.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use pgrx::pg_sys::Oid;

use super::cache::Who;
use super::clock;
use super::eligibility::may_still_ask;
use super::family::{Family, parse_int, parse_uuid};
use super::grants::{Keys, OfScope, ScopeGrants};
use super::invalidation;
use super::key_table::{KeyTable, Window};
use super::layout::{self, Layout};
use super::scan::{Row, Snapshot, Table};
use super::scopes::Scope;
use crate::lifecycle::options::OnEnd;
use crate::{identity, origin};

pub enum Loaded {
    /// Sorted by scope.
    Grants(Vec<ScopeGrants>),
    /// The tables changed under it.
    Again,
    /// There are no tables.
    Nothing,
}

/// One try. The caller compares generations before and after.
pub fn load(who: Who) -> Loaded {
    let generation = invalidation::generation();
    let Some(layout) = layout::current() else { return Loaded::Nothing };
    let Some(reader) = Reader::open(&layout, who) else { return Loaded::Again };
    if !layout.is_current() {
        return Loaded::Again;
    }
    // The bindings stay for the length of the scan; all of it is one moment's state, so that
    // an extension of a grant is not missed between the old row and the new one.
    let Some(origin) = origin::find() else { return Loaded::Nothing };
    let snapshot = Snapshot::take(&reader.grants);
    let mut found: BTreeMap<i32, Opened> = BTreeMap::new();
    let mut scopes: HashMap<i32, Option<(Scope, Rc<str>)>> = HashMap::new();
    for role in serving(who) {
        let mut scan = reader.grants.find_role(&snapshot, &layout.grants.live, role);
        while let Some(row) = scan.next() {
            pgrx::check_for_interrupts!();
            let Some(grant) = reader.grant(&row, origin.as_bytes()) else { continue };
            let scope = scopes
                .entry(grant.scope)
                .or_insert_with(|| Scope::with_id(&layout, &reader.scopes, &snapshot, grant.scope));
            let Some((scope, name)) =
                scope.as_ref().filter(|(scope, _)| scope.live && scope.epoch == grant.epoch)
            else {
                continue;
            };
            if reader.has_ended(&snapshot, grant.window.grant)
                || !reader.may_start(&snapshot, &row, scope, origin.as_bytes())
            {
                continue;
            }
            let opened = found.entry(grant.scope).or_insert_with(|| Opened::of(scope, name));
            reader.add(opened, &row, grant.window);
        }
    }
    Loaded::Grants(found.into_values().map(|opened| opened.finish(who, generation, reader.now)).collect())
}

/// How a grant serves somebody.
#[derive(Clone, Copy, Debug)]
pub struct Serving {
    pub end: i64,
    pub on_end: OnEnd,
}

/// Whether a grant serves somebody, as [`load`] would find it, without loading all that they hold. Inner None: it does
/// not; outer: the tables changed under it.
pub fn serves(grant: i64, who: Who) -> Option<Option<Serving>> {
    let layout = layout::current()?;
    let reader = Reader::open(&layout, who)?;
    let origin = origin::find().filter(|_| layout.is_current())?;
    let snapshot = Snapshot::take(&reader.grants);
    let mut scan = reader.grants.find_int8(&snapshot, &layout.grants.by_id, grant);
    let Some(row) = scan.next() else { return Some(None) };
    let Some(found) = reader.grant(&row, origin.as_bytes()) else { return Some(None) };
    let grantee = row.get(&layout.grants.grantee_id);
    let scope = Scope::with_id(&layout, &reader.scopes, &snapshot, found.scope).filter(|(scope, _)| {
        scope.live
            && scope.epoch == found.epoch
            && reader.may_start(&snapshot, &row, scope, origin.as_bytes())
    });
    let Some((scope, _)) = scope else { return Some(None) };
    let serves =
        !reader.has_ended(&snapshot, grant) && grantee.is_some_and(|grantee| serving(who).contains(&grantee));
    Some(serves.then_some(Serving { end: found.window.end, on_end: scope.on_end }))
}

/// Makes changes known of the tables and of the roles that somebody acts by, as loading their grants does.
pub fn watch(who: Who) {
    layout::current();
    serving(who);
}

/// The roles whose grants serve. None for a shared login, which holds nothing, nor for roles
/// that have been dropped while their session goes on.
fn serving(who: Who) -> Vec<Oid> {
    invalidation::watch_roles(&[who.actor, who.login]);
    if identity::is_shared_login(who.actor) || identity::role_name(who.login).is_none() {
        return Vec::new();
    }
    let mut roles = identity::inherited_roles(who.actor);
    loop {
        invalidation::watch_roles(&roles);
        // What changed before anybody listened for it shows now.
        let again = identity::inherited_roles(who.actor);
        if again == roles {
            return roles;
        }
        roles = again;
    }
}

/// The parts of a row that decide whether it counts.
struct Grant {
    scope: i32,
    epoch: i64,
    window: Window,
}

struct Reader<'a> {
    layout: &'a Layout,
    grants: Table,
    endings: Table,
    scopes: Table,
    /// Who the grants would serve: login and actor, without a shared login.
    person: Vec<Oid>,
    now: i64,
}

impl<'a> Reader<'a> {
    fn open(layout: &'a Layout, who: Who) -> Option<Self> {
        Some(Reader {
            layout,
            grants: Table::open(layout.grants.table)?,
            endings: Table::open(layout.endings.table)?,
            scopes: Table::open(layout.scopes.table)?,
            person: [who.actor, who.login]
                .into_iter()
                .filter(|role| !identity::is_shared_login(*role))
                .collect(),
            now: clock::now(),
        })
    }

    /// None for a grant that may not serve, whatever its scope says. Scheduled ones may, later.
    fn grant(&self, row: &Row, origin: &[u8]) -> Option<Grant> {
        let columns = &self.layout.grants;
        // Nobody is served before the commit: BEGIN, break glass, read, ROLLBACK.
        if row.is_our_own() || row.get(&columns.tidied_at).is_some() {
            return None;
        }
        let end = row.get(&columns.ends_at)?;
        if end <= self.now || row.get(&columns.origin)?.bytes() != origin {
            return None;
        }
        // Outer None: NULL; inner: not an array of role ids. Both serve nobody.
        let approvers = row.get(&columns.approved_by)??;
        if self.person.iter().any(|role| approvers.contains(role)) {
            return None;
        }
        Some(Grant {
            scope: row.get(&columns.scope_id)?,
            epoch: row.get(&columns.epoch)?,
            window: Window { start: row.get(&columns.starts_at)?, end, grant: row.get(&columns.id)? },
        })
    }

    /// Endings of this transaction count, committed or not.
    fn has_ended(&self, snapshot: &Snapshot, grant: i64) -> bool {
        self.endings.find_int8(snapshot, &self.layout.endings.by_grant, grant).next().is_some()
    }

    /// Whether it is no scheduled grant of somebody who may not ask any more.
    fn may_start(&self, snapshot: &Snapshot, row: &Row, scope: &Scope, origin: &[u8]) -> bool {
        let columns = &self.layout.grants;
        // Outer None: NULL, it has started or was never scheduled; inner: not an array of role ids.
        match row.get(&columns.asked_by) {
            None => true,
            Some(asked_by) => {
                asked_by.zip(row.get(&columns.grantee_id)).is_some_and(|(asked_by, grantee)| {
                    may_still_ask(self.layout, snapshot, scope, &asked_by, grantee, origin)
                })
            }
        }
    }

    /// A key that does not fit its scope opens nothing.
    fn add(&self, opened: &mut Opened, row: &Row, window: Window) {
        let columns = &self.layout.grants;
        match (row.get(&columns.all_rows), row.get(&columns.key), opened.family) {
            (Some(true), None, _) => opened.all_rows.push(window),
            (Some(false), Some(key), Some(Family::Int)) => {
                opened.ints.extend(parse_int(key.bytes()).map(|key| (key, window)));
            }
            (Some(false), Some(key), Some(Family::Uuid)) => {
                opened.uuids.extend(parse_uuid(key.bytes()).map(|key| (key, window)));
            }
            (Some(false), Some(key), Some(Family::Text)) => {
                opened.texts.push((key.bytes().into(), window));
            }
            _ => {}
        }
    }
}

/// What has been found of one scope so far.
struct Opened {
    scope: OfScope,
    family: Option<Family>,
    all_rows: Vec<Window>,
    ints: Vec<(i64, Window)>,
    uuids: Vec<([u8; 16], Window)>,
    texts: Vec<(Box<[u8]>, Window)>,
}

impl Opened {
    fn of(scope: &Scope, name: &Rc<str>) -> Self {
        Opened {
            scope: OfScope { id: scope.id, name: name.clone(), on_end: scope.on_end },
            family: scope.keys.map(|keys| keys.family),
            all_rows: Vec::new(),
            ints: Vec::new(),
            uuids: Vec::new(),
            texts: Vec::new(),
        }
    }

    fn finish(self, who: Who, generation: u64, now: i64) -> ScopeGrants {
        let keys = match self.family {
            None => Keys::None,
            Some(Family::Int) => Keys::Int(KeyTable::new::<i64>(self.ints)),
            Some(Family::Uuid) => Keys::Uuid(KeyTable::new::<[u8; 16]>(self.uuids)),
            Some(Family::Text) => Keys::Text(KeyTable::new::<[u8]>(self.texts)),
        };
        ScopeGrants::new(self.scope, who, generation, keys, self.all_rows, now)
    }
}

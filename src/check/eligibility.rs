//! Scheduled grants: until the worker has confirmed one at its start, whoever asked for it must be allowed to ask.
//!
//! So nobody is served who has lost that right meanwhile, worker or not. `lifecycle::grant::start_due` decides by the
//! same rule, for good.

use pgrx::pg_sys::Oid;

use super::invalidation;
use super::layout::Layout;
use super::scan::{Snapshot, Table};
use super::scopes::Scope;
use crate::identity;

/// `asked_by`: login and actor, the actor last. False in doubt.
pub fn may_still_ask(
    layout: &Layout,
    snapshot: &Snapshot,
    scope: &Scope,
    asked_by: &[Oid],
    grantee: Oid,
    origin: &[u8],
) -> bool {
    invalidation::watch_roles(asked_by);
    let Some(actor) = asked_by.last() else { return false };
    if !identity::qualifies(*actor, grantee) {
        return false;
    }
    if scope.anyone_may_ask {
        return true;
    }
    let Some(named) = requesters(layout, snapshot, scope, origin) else { return false };
    invalidation::watch_roles(&named);
    asked_by
        .iter()
        .chain([&grantee])
        .all(|member| named.iter().any(|role| identity::qualifies(*member, *role)))
}

/// The roles that may ask. One from before a restore counts only while it has the name that the rule was written with.
fn requesters(layout: &Layout, snapshot: &Snapshot, scope: &Scope, origin: &[u8]) -> Option<Vec<Oid>> {
    let columns = &layout.requesters;
    let table = Table::open(columns.table).filter(|_| layout.is_current())?;
    let mut scan = table.find_int4(snapshot, &columns.by_scope, scope.id);
    let mut roles = Vec::new();
    while let Some(row) = scan.next() {
        let Some(role) = row.get(&columns.role_id) else { continue };
        let Some(name) = identity::role_name(role) else { continue };
        let is_ours = row.get(&columns.origin).is_some_and(|bound| bound.bytes() == origin);
        if is_ours || row.get(&columns.role).is_some_and(|bound| bound.bytes() == name.as_bytes()) {
            roles.push(role);
        }
    }
    Some(roles)
}

//! What this session is and may do: `jit_whoami()`, and what the views ask.

use pgrx::iter::TableIterator;
use pgrx::name;
use pgrx::pg_sys::Oid;
use pgrx::prelude::*;

use super::args::value;
use super::rules::Scope;
use super::{break_glass, review};
use crate::check::invalidation;
use crate::errors::{Outcome, settle};
use crate::identity::{self, Identity};
use crate::privileged::Owner;

/// Admins are who may execute the functions of schema `jit`; this one stands for all of them.
pub fn is_admin(owner: &Owner, who: &Identity) -> bool {
    owner
        .first(
            "SELECT has_function_privilege($1::oid, 'jit.alter_scope(text, jsonb)', 'EXECUTE')",
            &[value(who.actor.id)],
            |row| row.must(1),
        )
        .unwrap_or(false)
}

fn is_auditor(owner: &Owner, who: &Identity) -> bool {
    owner
        .first("SELECT has_table_privilege($1::oid, 'jit.events', 'SELECT')", &[value(who.actor.id)], |row| {
            row.must(1)
        })
        .unwrap_or(false)
}

fn oversees(scope: i32) -> Outcome<bool> {
    if identity::is_lent_to_maintenance() {
        return Ok(false);
    }
    let who = Identity::current();
    let owner = Owner::enter()?;
    let approves = Scope::by_id(&owner, scope).is_some_and(|scope| !scope.entitles(&who).is_none());
    Ok(approves && who.refuse_shared().is_ok() || is_admin(&owner, &who) || is_auditor(&owner, &who))
}

/// Why row-level security does not bind the role, if it does not.
pub fn bypass(owner: &Owner, role: Oid) -> Option<&'static str> {
    owner
        .first("SELECT r.rolsuper, r.rolbypassrls FROM pg_roles r WHERE r.oid = $1", &[value(role)], |row| {
            (row.must::<bool>(1), row.must::<bool>(2))
        })
        .and_then(|role| match role {
            (true, _) => Some("a superuser sees every row: row-level security does not bind it"),
            (_, true) => Some("the role has BYPASSRLS: row-level security does not bind it"),
            _ => None,
        })
}

type WhoAmI = (
    name!(login, String),
    name!(actor, String),
    name!(shared_login, bool),
    name!(person, Vec<String>),
    name!(inherited_roles, Vec<String>),
    name!(sees_without_grants, bool),
    name!(why, String),
);

fn whoami() -> Outcome<WhoAmI> {
    let who = Identity::current();
    let owner = Owner::enter()?;
    let names = |roles: Vec<Oid>| roles.into_iter().filter_map(identity::role_name).collect::<Vec<_>>();
    let shared = identity::is_shared_login(who.login.id);
    let bypass = bypass(&owner, who.actor.id);
    let mut why = Vec::new();
    if identity::is_shared_login(who.actor.id) {
        why.push("the acting role is named in jit_rls.shared_logins: it holds, asks and decides nothing until SET ROLE");
    } else if shared {
        why.push("the login is named in jit_rls.shared_logins: the acting role alone counts as the person");
    } else if who.login.id != who.actor.id {
        why.push("SET ROLE is in effect: login and acting role together count as the person");
    } else {
        why.push("the login acts as itself");
    }
    why.extend(bypass);
    let held = if identity::is_shared_login(who.actor.id) {
        Vec::new()
    } else {
        identity::inherited_roles(who.actor.id)
    };
    Ok((
        who.login.name.clone(),
        who.actor.name.clone(),
        shared,
        names(who.person()),
        names(held),
        bypass.is_some(),
        why.join("; "),
    ))
}

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)] // pgrx reads the columns from the signature
fn jit_whoami() -> TableIterator<
    'static,
    (
        name!(login, String),
        name!(actor, String),
        name!(shared_login, bool),
        name!(person, Vec<String>),
        name!(inherited_roles, Vec<String>),
        name!(sees_without_grants, bool),
        name!(why, String),
    ),
> {
    TableIterator::once(settle(whoami()))
}

#[pg_extern(sql = false)]
fn jit_person() -> Vec<Oid> {
    if identity::is_lent_to_maintenance() { Vec::new() } else { Identity::current().person() }
}

#[pg_extern(sql = false)]
fn jit_held_roles() -> Vec<Oid> {
    let actor = identity::actor();
    invalidation::accept();
    if identity::is_shared_login(actor) || identity::is_lent_to_maintenance() {
        Vec::new()
    } else {
        identity::inherited_roles(actor)
    }
}

#[pg_extern(sql = false)]
fn jit_may_decide(request: Option<i64>) -> bool {
    let Some(id) = request.filter(|_| !identity::is_lent_to_maintenance()) else { return false };
    let who = Identity::current();
    settle(Owner::enter().map(|owner| review::could_approve(&owner, &who, id)))
}

#[pg_extern(sql = false)]
fn jit_may_review(request: Option<i64>) -> bool {
    let Some(id) = request.filter(|_| !identity::is_lent_to_maintenance()) else { return false };
    let who = Identity::current();
    settle(Owner::enter().map(|owner| break_glass::could_review(&owner, &who, id)))
}

#[pg_extern(sql = false)]
fn jit_oversees(scope_id: Option<i32>) -> bool {
    scope_id.is_some_and(|scope| settle(oversees(scope)))
}

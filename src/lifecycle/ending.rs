//! Endings: why and when a grant stopped. They are inserted and never wait for anybody.

use pgrx::pg_sys::Oid;
use pgrx::prelude::*;
use serde_json::json;

use super::args::{optional, value};
use super::request::Request;
use super::rules::Scope;
use super::wish::checked_text;
use super::{begin, now, scope, session};
use crate::audit::events::{Event, committed_durably, record};
use crate::enforce::{prompt, slots};
use crate::errors::{Outcome, Refusal, null_argument, settle};
use crate::identity::{self, Identity};
use crate::origin;
use crate::privileged::Owner;
use crate::worker;

/// An error unless the request became a grant that has not ended.
pub fn check_live(owner: &Owner, request: &Request, scope: Option<&Scope>) -> Outcome<()> {
    let id = request.id;
    let again = "It needs no ending. To ask again, use jit_request().";
    let found = owner.first(
        "SELECT g.ends_at, g.epoch, g.origin, g.ends_at::text FROM jit_private.grants g WHERE g.id = $1",
        &[value(id)],
        |row| (row.must::<i64>(1), row.must::<i64>(2), row.must::<String>(3), row.must::<String>(4)),
    );
    let Some((ends_at, epoch, origin, ends_text)) = found else {
        let refusal = Refusal::wrong_state(format!("request {id} has no grant: it is {}", request.state));
        return Err(if let Some(extended) = request.extends.filter(|_| request.state == "approved") {
            refusal
                .detail(format!("It has lengthened the grant of request {extended}."))
                .hint(format!("Name request {extended}."))
        } else if request.state == "pending" {
            refusal.hint(format!("An approver can jit_deny({id}, ...) it, the requester jit_cancel({id})."))
        } else {
            refusal.hint(again)
        });
    };
    let ended = owner.first(
        "SELECT e.kind, e.at::text, e.actor FROM jit_private.endings e WHERE e.grant_id = $1 ORDER BY e.at, e.kind LIMIT 1",
        &[value(id)],
        |row| (row.must::<String>(1), row.must::<String>(2), row.get::<String>(3)),
    );
    if let Some((kind, at, by)) = ended {
        let by = by.map(|by| format!(" by {by}")).unwrap_or_default();
        return Err(Refusal::wrong_state(format!("the grant of request {id} has ended"))
            .detail(format!("{kind}{by}, {at}."))
            .hint(again));
    }
    if ends_at <= now() {
        return Err(Refusal::wrong_state(format!("the grant of request {id} has ended"))
            .detail(format!("expired, {ends_text}."))
            .hint(again));
    }
    if origin != *origin::current() {
        return Err(Refusal::wrong_state(format!(
            "the grant of request {id} was made in another database and is void"
        ))
        .hint(again));
    }
    if scope.is_none_or(|scope| scope.epoch != epoch || !scope.enabled) {
        return Err(Refusal::wrong_state(format!("the grant of request {id} has ended"))
            .detail(format!("Scope \"{}\" has been disabled or dropped.", request.scope))
            .hint(again));
    }
    Ok(())
}

pub fn end(owner: &Owner, who: &Identity, request: &Request, kind: &'static str, reason: Option<&str>) {
    owner.run(
        "INSERT INTO jit_private.endings (grant_id, at, kind, login, actor, reason)
         VALUES ($1, clock_timestamp(), $2, $3, $4, $5)",
        &[
            value(request.id),
            value(kind),
            value(who.login.name.as_str()),
            value(who.actor.name.as_str()),
            optional(reason),
        ],
    );
    let details = json!({ "reason": reason, "grantee": request.grantee.name });
    record(owner, who, Event { kind, request: Some(request.id), scope: &request.scope, details });
    prompt::ended(&[request.id], kind, &who.actor.name);
}

/// Which grants to end at once; everything where nothing is named.
#[derive(Default)]
pub struct Matching {
    pub scope: Option<i32>,
    pub grantee: Option<Oid>,
}

/// Ends whatever is live and matches, in one statement that locks no row which a holder, a requester or the worker
/// could hold. Says how many.
pub fn end_all(
    owner: &Owner,
    who: &Identity,
    matching: &Matching,
    kind: &'static str,
    reason: Option<&str>,
) -> i64 {
    let ended = owner.first_planned_each_time(
        "WITH ended AS (
             INSERT INTO jit_private.endings (grant_id, at, kind, login, actor, reason)
             SELECT g.id, clock_timestamp(), $3, $4, $5, $6
               FROM jit_private.grants g
              WHERE ($1 IS NULL OR g.scope_id = $1) AND ($2 IS NULL OR g.grantee_id = $2)
                AND g.tidied_at IS NULL AND g.ends_at > clock_timestamp()
                AND NOT EXISTS (SELECT FROM jit_private.endings e WHERE e.grant_id = g.id)
             RETURNING grant_id),
         events AS (
             INSERT INTO jit_private.events (at, kind, request_id, scope, login, actor, details)
             SELECT clock_timestamp(), $3, g.id, g.scope, $4, $5,
                    jsonb_build_object('grantee', g.grantee) || CASE WHEN $6 IS NULL THEN '{}' ELSE jsonb_build_object('reason', $6) END
               FROM ended d JOIN jit_private.grants g ON g.id = d.grant_id RETURNING id),
         announced AS (
             INSERT INTO jit_private.outbox (event_id) SELECT e.id FROM events e WHERE $7)
         SELECT count(*), coalesce(array_agg(d.grant_id) FILTER (WHERE d.grant_id = ANY ($8)), '{}') FROM ended d",
        &[
            optional(matching.scope),
            optional(matching.grantee),
            value(kind),
            value(who.login.name.as_str()),
            value(who.actor.name.as_str()),
            optional(reason),
            value(worker::preloaded()),
            value(slots::grants_in_use()),
        ],
        |row| (row.must::<i64>(1), row.must::<Vec<i64>>(2)),
    );
    committed_durably();
    let (count, in_use) = ended.unwrap_or_default();
    prompt::ended(&in_use, kind, &who.actor.name);
    count
}

fn revoke_all(scope: Option<&str>, grantee: Option<Oid>, reason: Option<&str>) -> Outcome<i64> {
    let who = begin(c"jit.revoke_all()")?;
    let reason = checked_text("a reason", reason)?;
    let owner = Owner::enter()?;
    let scope = scope.map(|name| scope::required_for_admin(&owner, name)).transpose()?.map(|scope| scope.id);
    if let Some(role) = grantee.filter(|role| identity::role_name(*role).is_none()) {
        return Err(Refusal::unknown(format!("there is no role {}", role.to_u32()))
            .hint("grantee takes the name of a role, as in grantee => 'alice'."));
    }
    Ok(end_all(&owner, &who, &Matching { scope, grantee }, "revoked", Some(&reason)))
}

fn release(id: Option<i64>) -> Outcome<()> {
    let who = begin(c"jit_release()")?;
    who.refuse_shared()?;
    let id = id.ok_or_else(|| null_argument("jit_release", "request"))?;
    let owner = Owner::enter()?;
    let request = Request::load(&owner, id)?;
    if !request.is_of(&who) {
        return Err(Refusal::not_allowed(format!("request {id} is not yours"))
            .hint("SELECT id FROM jit.my_grants lists what serves you; only who asked can give it back."));
    }
    check_live(&owner, &request, Scope::by_id(&owner, request.scope_id).as_ref())?;
    end(&owner, &who, &request, "released", None);
    Ok(())
}

fn revoke(id: Option<i64>, reason: Option<&str>) -> Outcome<()> {
    let who = begin(c"jit_revoke()")?;
    who.refuse_shared()?;
    let id = id.ok_or_else(|| null_argument("jit_revoke", "request"))?;
    let reason = checked_text("a reason", reason)?;
    let owner = Owner::enter()?;
    let request = Request::load(&owner, id)?;
    let scope = Scope::by_id(&owner, request.scope_id);
    // Also those whom the grant serves: else a holder could keep an approver from revoking, by letting
    // them into her group.
    let approver = scope.as_ref().is_some_and(|scope| !scope.entitles(&who).is_none());
    if !approver && !session::is_admin(&owner, &who) {
        return Err(Refusal::not_allowed(format!("you may not revoke the grant of request {id}"))
            .detail("That is for the scope's approvers and for admins.")
            .hint("If it is your own, give it back with jit_release()."));
    }
    check_live(&owner, &request, scope.as_ref())?;
    end(&owner, &who, &request, "revoked", Some(&reason));
    Ok(())
}

#[pg_extern(sql = false)]
fn jit_release(request: Option<i64>) {
    settle(release(request));
}

#[pg_extern(sql = false)]
fn jit_revoke(request: Option<i64>, reason: Option<&str>) {
    settle(revoke(request, reason));
}

#[pg_extern(sql = false)]
fn jit_revoke_all(scope: Option<&str>, grantee: Option<Oid>, reason: Option<&str>) -> i64 {
    settle(revoke_all(scope, grantee, reason))
}

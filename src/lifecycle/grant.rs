//! Grants: the access that an approved request became.

use pgrx::pg_sys::Oid;
use serde_json::json;

use super::args::{optional, roles, timestamp, value};
use super::now;
use super::request::Request;
use super::rules::Scope;
use crate::audit::events::{Event, record_by_nobody};
use crate::errors::settle;
use crate::identity;
use crate::privileged::Owner;

/// When a grant serves, in microseconds.
pub struct Window {
    pub starts_at: i64,
    pub ends_at: i64,
}

/// Makes the grant of a request that was approved at this moment. Its window starts now, or when the
/// request said if that lies ahead: time spent waiting for approval is not lost.
///
/// The grant takes the request's id, so that there can never be two. It belongs to the epoch in
/// which the request was made: should the scope be disabled meanwhile, it is dead when it commits. One that
/// starts later keeps who asked, for they must still be allowed to then.
pub fn make(owner: &Owner, request: &Request, duration: i64, approved_by: &[Oid]) -> Window {
    let now = now();
    let starts_at = request.starts_at.map_or(now, |wished| wished.max(now));
    let window = Window { starts_at, ends_at: starts_at.saturating_add(duration) };
    owner.run(
        "INSERT INTO jit_private.grants (id, scope_id, scope, key, all_rows, grantee, grantee_id, starts_at, ends_at,
                                 approved_by, epoch, origin, asked_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        &[
            value(request.id),
            value(request.scope_id),
            value(request.scope.as_str()),
            optional(request.key.clone()),
            value(request.all_rows),
            value(request.grantee.name.as_str()),
            value(request.grantee.id),
            timestamp(window.starts_at),
            timestamp(window.ends_at),
            roles(approved_by),
            value(request.epoch),
            value(request.origin.as_str()),
            optional((starts_at > now).then(|| request.person.clone())),
        ],
    );
    window
}

/// How many scheduled grants are started in one transaction.
const STARTS: i64 = 500;

/// The worker's: confirms the scheduled grants whose time has come, or ends those whose requester may not ask any more.
/// Until then, the check asks that itself (`check::eligibility`). Says how many there were.
pub fn start_due() -> i64 {
    let owner = settle(Owner::enter());
    let due = owner.query(
        "SELECT g.id FROM jit_private.grants g
          WHERE g.asked_by IS NOT NULL AND g.tidied_at IS NULL AND g.starts_at <= clock_timestamp() AND g.origin = jit.origin()
          ORDER BY g.starts_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED",
        &[value(STARTS)],
        |row| row.must::<i64>(1),
    );
    for id in &due {
        if !may_still_ask(&owner, *id) {
            let ended = owner.first(
                "INSERT INTO jit_private.endings (grant_id, at, kind)
                 SELECT $1, clock_timestamp(), 'ineligible'
                  WHERE NOT EXISTS (SELECT FROM jit_private.endings e WHERE e.grant_id = $1) RETURNING grant_id",
                &[value(*id)],
                |row| row.must::<i64>(1),
            );
            if let (Some(_), Ok(request)) = (ended, Request::load(&owner, *id)) {
                let details = json!({
                    "why": "who asked may not ask any more, or does not belong to the grantee",
                    "login": request.login.name, "actor": request.actor.name, "grantee": request.grantee.name,
                });
                record_by_nobody(
                    &owner,
                    Event { kind: "ineligible", request: Some(*id), scope: &request.scope, details },
                );
            }
        }
        owner.run("UPDATE jit_private.grants SET asked_by = NULL WHERE id = $1", &[value(*id)]);
    }
    i64::try_from(due.len()).unwrap_or(STARTS)
}

/// Whether who asked for it may still ask, and belongs to the grantee.
pub fn may_still_ask(owner: &Owner, id: i64) -> bool {
    let Ok(request) = Request::load(owner, id) else { return false };
    let Some(scope) = Scope::by_id(owner, request.scope_id) else { return false };
    scope.may_ask(&request.person)
        && scope.may_ask(&[request.grantee.id])
        && identity::qualifies(request.actor.id, request.grantee.id)
}

//! Requests: somebody's wish, pending until it is approved, denied, cancelled, lapsed or closed.

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::{self, Oid};
use pgrx::prelude::*;
use serde_json::json;

use super::args::{json as json_arg, optional, roles, timestamp, value};
use super::rules::{Frozen, Scope};
use super::{begin, now};
use crate::audit::events::{Event, committed_durably, record};
use crate::check::invalidation;
use crate::errors::{Outcome, Refusal, null_argument, settle, unknown_request};
use crate::identity::{self, Identity, Role};
use crate::origin;
use crate::privileged::{Owner, Row};
use crate::worker;

/// A request as it stands.
pub struct Request {
    pub id: i64,
    pub scope_id: i32,
    pub scope: String,
    pub key: Option<String>,
    pub all_rows: bool,
    pub grantee: Role,
    pub login: Role,
    pub actor: Role,
    /// Empty when a restore could not tell who asked.
    pub person: Vec<Oid>,
    /// Microseconds.
    pub duration: i64,
    pub starts_at: Option<i64>,
    pub state: String,
    pub lapses_at: i64,
    pub decided_at: Option<String>,
    pub decided_by: Option<String>,
    pub epoch: i64,
    pub frozen: Option<Frozen>,
    pub origin: String,
    /// The grant that this asks to lengthen.
    pub extends: Option<i64>,
    pub break_glass: bool,
    pub reviewed: bool,
}

impl Request {
    pub fn load(owner: &Owner, id: i64) -> Outcome<Request> {
        owner
            .first(
                "SELECT r.id, r.scope_id, r.scope, r.key, r.all_rows, r.grantee, r.grantee_id, r.login, r.login_id,
                        r.actor, r.actor_id, r.person, (extract(epoch FROM r.duration) * 1000000)::bigint,
                        r.starts_at, r.state, r.lapses_at, r.decided_at::text, r.decided_by, r.epoch, r.rules, r.origin,
                        r.extends, r.break_glass, r.reviewed_at IS NOT NULL
                   FROM jit_private.requests r WHERE r.id = $1",
                &[value(id)],
                from_row,
            )
            .ok_or_else(|| unknown_request(id))
    }

    /// Waits for a decision that is under way, then loads what it left.
    pub fn load_locked(owner: &Owner, id: i64) -> Outcome<Request> {
        owner.run("SELECT 1 FROM jit_private.requests r WHERE r.id = $1 FOR NO KEY UPDATE", &[value(id)]);
        // Memberships may have changed while it waited.
        invalidation::accept();
        Request::load(owner, id)
    }

    /// Whether this session is the one who asked.
    pub fn is_of(&self, who: &Identity) -> bool {
        who.person().iter().any(|role| self.person.contains(role))
    }

    /// An error unless the request still waits for a decision.
    pub fn check_pending(&self, scope: Option<&Scope>) -> Outcome<()> {
        let id = self.id;
        let again = "Ask again with jit_request().";
        if self.state != "pending" {
            let by = self.decided_by.as_deref().map(|by| format!(" by {by}")).unwrap_or_default();
            return Err(Refusal::wrong_state(format!("request {id} is {}{by}", self.state))
                .detail(format!("Since {}.", self.decided_at.as_deref().unwrap_or("an unknown time")))
                .hint("A request that has been decided stays so. Ask again with jit_request()."));
        }
        self.check_origin().map_err(|refusal| refusal.hint(again))?;
        match scope {
            None => Err(Refusal::wrong_state(format!("request {id} is closed"))
                .detail(format!("Scope \"{}\" has been dropped.", self.scope))
                .hint(again)),
            Some(scope) if !scope.enabled || scope.epoch != self.epoch => {
                Err(Refusal::wrong_state(format!("request {id} is closed"))
                    .detail(format!("Scope \"{}\" has been disabled since it was made.", self.scope))
                    .hint(again))
            }
            Some(_) if self.lapses_at <= now() => {
                Err(Refusal::wrong_state(format!("request {id} has lapsed"))
                    .detail("It was not decided in time.")
                    .hint(again))
            }
            Some(_) => Ok(()),
        }
    }

    /// What a dump has brought names nobody of this database: who asked, or took, could not be told from who decides.
    pub fn check_origin(&self) -> Outcome<()> {
        if self.origin == *origin::current() && !self.person.is_empty() {
            return Ok(());
        }
        Err(Refusal::wrong_state(format!("request {} was made in another database", self.id))
            .detail("Requests and grants that came with a restored dump are void."))
    }

    /// pending to `state`, once and for all. `by`: a role, or a function.
    pub fn decide(&self, owner: &Owner, by: &str, state: &str) -> Outcome<()> {
        let decided = owner.first(
            "UPDATE jit_private.requests r SET state = $2, decided_at = clock_timestamp(), decided_by = $3
              WHERE r.id = $1 AND r.state = 'pending' RETURNING 1",
            &[value(self.id), value(state), value(by)],
            |_| (),
        );
        decided.ok_or_else(|| {
            Refusal::wrong_state(format!("request {} is no longer pending", self.id))
                .hint("SELECT state FROM jit.my_requests tells what became of it.")
        })
    }
}

fn from_row(row: &Row) -> Request {
    // By the name that it has now; what is on record keeps the one it had.
    let role = |name: i32| {
        let id = row.must(name + 1);
        Role { id, name: identity::role_name(id).unwrap_or_else(|| row.must(name)) }
    };
    Request {
        id: row.must(1),
        scope_id: row.must(2),
        scope: row.must(3),
        key: row.get(4),
        all_rows: row.must(5),
        grantee: role(6),
        login: role(8),
        actor: role(10),
        person: row.must(12),
        duration: row.must(13),
        starts_at: row.get(14),
        state: row.must(15),
        lapses_at: row.must(16),
        decided_at: row.get(17),
        decided_by: row.get(18),
        epoch: row.must(19),
        frozen: row.get::<pgrx::JsonB>(20).and_then(|rules| serde_json::from_value(rules.0).ok()),
        origin: row.must(21),
        extends: row.get(22),
        break_glass: row.must(23),
        reviewed: row.must(24),
    }
}

/// A request that has passed all checks of what it asks for.
pub struct New {
    pub key: Option<String>,
    pub all_rows: bool,
    pub grantee: Role,
    pub reason: String,
    pub duration: i64,
    pub starts_at: Option<i64>,
    pub extends: Option<i64>,
}

/// Writes it down, pending, or as approved where it is one that needs a review by then. None: the same is pending.
pub fn insert(
    owner: &Owner,
    who: &Identity,
    scope: &Scope,
    new: &New,
    created_at: i64,
    review_due: Option<i64>,
) -> Option<i64> {
    let time = |at: Option<i64>| at.map_or_else(|| DatumWithOid::null_oid(pg_sys::TIMESTAMPTZOID), timestamp);
    let decided = review_due.is_some();
    owner.first(
        "INSERT INTO jit_private.requests (scope_id, scope, key, all_rows, grantee, grantee_id, login, login_id, actor, actor_id,
                                   person, reason, duration, starts_at, created_at, lapses_at, epoch, rules, origin, extends,
                                   break_glass, review_due, state, decided_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13 * interval '1 microsecond', $14, $15,
                 $15 + $16 * interval '1 microsecond', $17, $18, $19, $20, $21, $22,
                 CASE WHEN $21 THEN 'approved' ELSE 'pending' END, CASE WHEN $21 THEN $15 END)
         ON CONFLICT ((person[1]), grantee_id, scope_id, all_rows, coalesce(key, ''), coalesce(extends, 0))
            WHERE state = 'pending' AND person <> '{}' DO NOTHING RETURNING id",
        &[
            value(scope.id),
            value(scope.name.as_str()),
            optional(new.key.clone()),
            value(new.all_rows),
            value(new.grantee.name.as_str()),
            value(new.grantee.id),
            value(who.login.name.as_str()),
            value(who.login.id),
            value(who.actor.name.as_str()),
            value(who.actor.id),
            roles(&who.person()),
            value(new.reason.as_str()),
            value(new.duration as f64),
            time(new.starts_at),
            timestamp(created_at),
            value(scope.pending_ttl as f64),
            value(scope.epoch),
            json_arg(serde_json::to_value(scope.frozen()).unwrap_or_default()),
            value(origin::current()),
            optional(new.extends),
            value(decided),
            time(review_due),
        ],
        |row| row.must::<i64>(1),
    )
}

/// Closes what is pending in a scope that has been disabled or dropped. Rows that somebody holds
/// locked are left to the worker: they belong to the old epoch and cannot be approved any more.
pub fn close_scope(owner: &Owner, who: &Identity, scope: i32, why: &str) {
    owner.run(
        "WITH open AS (
             SELECT r.id FROM jit_private.requests r WHERE r.scope_id = $1 AND r.state = 'pending'
                FOR NO KEY UPDATE SKIP LOCKED),
         closed AS (
             UPDATE jit_private.requests r SET state = 'closed', decided_at = clock_timestamp(), decided_by = $3
              WHERE r.id = ANY (ARRAY (SELECT o.id FROM open o)) RETURNING r.id, r.scope),
         events AS (
             INSERT INTO jit_private.events (at, kind, request_id, scope, login, actor, details)
             SELECT clock_timestamp(), 'closed', c.id, c.scope, $2, $3, jsonb_build_object('why', $4)
               FROM closed c RETURNING id)
         INSERT INTO jit_private.outbox (event_id) SELECT e.id FROM events e WHERE $5",
        &[
            value(scope),
            value(who.login.name.as_str()),
            value(who.actor.name.as_str()),
            value(why),
            value(worker::preloaded()),
        ],
    );
    committed_durably();
}

fn cancel(id: Option<i64>) -> Outcome<()> {
    let who = begin(c"jit_cancel()")?;
    who.refuse_shared()?;
    let id = id.ok_or_else(|| null_argument("jit_cancel", "request"))?;
    let owner = Owner::enter()?;
    let request = Request::load_locked(&owner, id)?;
    if !request.is_of(&who) {
        return Err(Refusal::not_allowed(format!("request {id} is not yours"))
            .hint("SELECT id FROM jit.my_requests lists yours."));
    }
    request.check_pending(Scope::by_id(&owner, request.scope_id).as_ref())?;
    request.decide(&owner, &who.actor.name, "cancelled")?;
    record(
        &owner,
        &who,
        Event { kind: "cancelled", request: Some(id), scope: &request.scope, details: json!({}) },
    );
    Ok(())
}

#[pg_extern(sql = false)]
fn jit_cancel(request: Option<i64>) {
    settle(cancel(request));
}

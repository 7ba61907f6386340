//! Asking: `jit_request()`, and what every request goes through before it is one.

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys::{self, Oid};
use pgrx::prelude::*;
use serde_json::json;

use super::args::{optional, value};
use super::deliberate::{self, Call};
use super::request::{New, insert};
use super::rules::{self, Scope};
use super::wish::{check_start, checked_grantee, checked_reason, checked_rows};
use super::{automatic, begin, limits, now, rule_change, span};
use crate::audit::events::{Event, record};
use crate::check::clock::timestamp_text;
use crate::errors::{Outcome, Refusal, null_argument, settle};
use crate::identity::Identity;
use crate::origin;
use crate::privileged::Owner;
use crate::worker;

/// What a request asks for, as it was given.
struct Wish<'a> {
    scope: Option<&'a str>,
    reason: Option<&'a str>,
    key: Option<&'a str>,
    duration: Option<Interval>,
    grantee: Option<Oid>,
    starts_at: Option<i64>,
    all_rows: Option<bool>,
}

fn ask(fcinfo: pg_sys::FunctionCallInfo, wish: Wish<'_>) -> Outcome<i64> {
    let who = begin(c"jit_request()")?;
    let call = deliberate::how_called(fcinfo, c"jit_request");
    who.refuse_shared()?;
    let name = wish.scope.ok_or_else(|| null_argument("jit_request", "scope"))?;
    let owner = Owner::enter()?;
    let scope = enabled(&owner, name, &who)?;
    let person = who.person();
    rule_change::check(&rule_change::lately(&owner, &scope.name), &person, &scope.name, "does not ask")?;
    let reason = checked_reason(&owner, &scope, wish.reason)?;
    let grantee = checked_grantee(&scope, &who, wish.grantee)?;
    let all_rows = wish.all_rows.ok_or_else(|| null_argument("jit_request", "all_rows"))?;
    let (key, all_rows) = checked_rows(&scope, wish.key, all_rows)?;
    let duration = match &wish.duration {
        Some(duration) => span::checked("the duration", duration, scope.max_duration)?,
        None => scope.default_duration,
    };
    if let Some(starts_at) = wish.starts_at {
        check_start(starts_at, now(), scope.max_ahead)?;
    }
    submit(
        owner,
        &who,
        &scope,
        New { key, all_rows, grantee, reason, duration, starts_at: wish.starts_at, extends: None },
        call,
    )
}

/// The scope of that name, if it can be asked for.
pub fn enabled(owner: &Owner, name: &str, who: &Identity) -> Outcome<Scope> {
    let scope = rules::required(owner, name, who)?;
    if scope.enabled {
        return Ok(scope);
    }
    Err(Refusal::wrong_state(format!("scope \"{}\" is disabled", scope.name))
        .hint("An admin can enable it with jit.alter_scope()."))
}

/// Puts it before the approvers, if limits and the scope's own function allow it; or has it approved at once by the
/// scope's other function, if the client's own statement asks. Returns its id.
pub fn submit(owner: Owner, who: &Identity, scope: &Scope, new: New, call: Call) -> Outcome<i64> {
    let person = who.person();
    lapse_own(&owner, scope, &person, new.grantee.id);
    let wish = limits::Wish { person: &person, key: new.key.as_deref(), all_rows: new.all_rows };
    limits::check_asking(&owner, scope, &wish)?;
    if new.extends.is_none() {
        limits::check_holding(&owner, scope, new.grantee.id)?;
    }
    let Some(id) = insert(&owner, who, scope, &new, now(), None) else {
        return Err(already_asked(&owner, scope, &person, &new));
    };
    let mut details = json!({
        "key": new.key, "all_rows": new.all_rows, "grantee": new.grantee.name, "reason": new.reason,
        "duration": span::text(new.duration), "starts_at": new.starts_at.map(timestamp_text),
    });
    if let Some(extends) = new.extends {
        details["extends"] = json!(extends);
    }
    let stages = scope.slots.iter().map(|slot| slot.stage).max().unwrap_or(0);
    if stages > 1 {
        details["stage"] = json!(1);
        details["stages"] = json!(stages);
    }
    record(&owner, who, Event { kind: "requested", request: Some(id), scope: &scope.name, details });
    let owner = automatic::validate(owner, scope, id)?;
    let (_owner, approved) = automatic::approve(owner, who, scope, id, call)?;
    if scope.slots.is_empty() && !approved {
        Refusal::bad_value(format!("nobody can approve request {id}"))
            .detail(format!("Scope \"{}\" names no approvers.", scope.name))
            .hint("An admin can name them with jit.alter_scope().")
            .warn();
    }
    Ok(id)
}

/// Own requests that only wait for the worker to be marked as lapsed must not stand in the way of a
/// new one. What is locked, another session of the same person is marking: two of them would else wait for each other.
fn lapse_own(owner: &Owner, scope: &Scope, person: &[Oid], grantee: Oid) {
    let person = person.first().copied().unwrap_or(Oid::INVALID);
    // Mostly there is none, and looking costs a third of what writing to nothing does.
    let any = owner.first(
        "SELECT true FROM jit_private.requests r
          WHERE r.person[1] = $1 AND r.grantee_id = $2 AND r.scope_id = $3 AND r.state = 'pending' AND r.person <> '{}'
            AND (r.epoch <> $4 OR r.origin <> $5 OR r.lapses_at <= clock_timestamp())
          LIMIT 1",
        &[
            value(person),
            value(grantee),
            value(scope.id),
            value(scope.epoch),
            value(origin::current().to_string()),
        ],
        |row| row.must::<bool>(1),
    );
    if any.is_none() {
        return;
    }
    owner.run(
        "WITH due AS MATERIALIZED (
             SELECT r.id FROM jit_private.requests r
              WHERE r.person[1] = $1 AND r.grantee_id = $2 AND r.scope_id = $3 AND r.state = 'pending'
                AND r.person <> '{}'
                AND (r.epoch <> $4 OR r.origin <> $5 OR r.lapses_at <= clock_timestamp())
                FOR NO KEY UPDATE SKIP LOCKED),
         lapsed AS (
             UPDATE jit_private.requests r
                SET state = CASE WHEN r.epoch = $4 AND r.origin = $5 THEN 'lapsed' ELSE 'closed' END,
                    decided_at = clock_timestamp()
              WHERE r.id = ANY (ARRAY (SELECT d.id FROM due d))
             RETURNING r.id, r.scope, r.state),
         events AS (
             INSERT INTO jit_private.events (at, kind, request_id, scope, details)
             SELECT clock_timestamp(), l.state, l.id, l.scope, '{}' FROM lapsed l RETURNING id)
         INSERT INTO jit_private.outbox (event_id) SELECT e.id FROM events e WHERE $6",
        &[
            value(person),
            value(grantee),
            value(scope.id),
            value(scope.epoch),
            value(origin::current().to_string()),
            value(worker::preloaded()),
        ],
    );
}

fn already_asked(owner: &Owner, scope: &Scope, person: &[Oid], new: &New) -> Refusal {
    let same = owner.first(
        "SELECT r.id FROM jit_private.requests r
          WHERE r.person[1] = $1 AND r.grantee_id = $2 AND r.scope_id = $3 AND r.all_rows = $4
            AND r.key IS NOT DISTINCT FROM $5 AND r.extends IS NOT DISTINCT FROM $6 AND r.state = 'pending'",
        &[
            value(person.first().copied().unwrap_or(Oid::INVALID)),
            value(new.grantee.id),
            value(scope.id),
            value(new.all_rows),
            optional(new.key.clone()),
            optional(new.extends),
        ],
        |row| row.must::<i64>(1),
    );
    match same {
        Some(id) => Refusal::wrong_state(format!("request {id} asks for the same and is pending"))
            .hint(format!("Wait for it, or take it back with jit_cancel({id}).")),
        None => Refusal::wrong_state("the same has been asked for at this moment").hint("Try again."),
    }
}

#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments)] // the SQL interface
fn jit_request(
    scope: Option<&str>,
    reason: Option<&str>,
    key: Option<&str>,
    duration: Option<Interval>,
    grantee: Option<Oid>,
    starts_at: Option<TimestampWithTimeZone>,
    all_rows: Option<bool>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> i64 {
    let starts_at = starts_at.map(pg_sys::TimestampTz::from);
    settle(ask(fcinfo, Wish { scope, reason, key, duration, grantee, starts_at, all_rows }))
}

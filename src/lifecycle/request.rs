//! Requests: somebody's wish, pending until it is approved, denied, cancelled, lapsed or closed.

use pgrx::datum::{DatumWithOid, Interval, TimestampWithTimeZone};
use pgrx::pg_sys::{self, Oid};
use pgrx::prelude::*;
use serde_json::json;

use super::args::{json as json_arg, optional, roles, timestamp, value};
use super::rules::{self, Frozen, Scope};
use super::{automatic, begin, limits, now, rule_change, span};
use crate::audit::events::{Event, committed_durably, record};
use crate::check::clock::timestamp_text;
use crate::errors::{Outcome, Refusal, null_argument, settle, unknown_request};
use crate::identity::{self, Identity, Role};
use crate::origin;
use crate::privileged::{Owner, Row};
use crate::worker;

/// Longest reason or comment, in bytes.
const LONGEST_REASON: usize = 4_096;

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

/// A reason or comment that can be put on record: some text, in one line.
pub fn checked_text(what: &str, text: Option<&str>) -> Outcome<String> {
    let text = text.map(str::trim).filter(|text| !text.is_empty());
    let Some(text) = text else {
        return Err(Refusal::bad_value(format!("{what} is needed"))
            .hint("Say in a few words why, for those who decide and for the record."));
    };
    if text.len() > LONGEST_REASON {
        return Err(Refusal::bad_value(format!("{what} has {} bytes", text.len()))
            .hint(format!("At most {LONGEST_REASON} bytes are kept; refer to a ticket for the rest.")));
    }
    if text.chars().any(char::is_control) {
        return Err(Refusal::bad_value(format!("{what} has control characters"))
            .hint("Write it in one line, without line breaks and tabs."));
    }
    Ok(text.to_string())
}

/// Whether a reason matches a scope's pattern.
pub fn matches_pattern(owner: &Owner, reason: &str, pattern: &str) -> bool {
    owner.first("SELECT $1 ~ $2", &[value(reason), value(pattern)], |row| row.must(1)).unwrap_or(false)
}

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

fn ask(wish: Wish<'_>) -> Outcome<i64> {
    let who = begin(c"jit_request()")?;
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

/// Puts it before the approvers, if limits and the scope's own function allow it; or has it approved at once by the
/// scope's other function. Returns its id.
pub fn submit(owner: Owner, who: &Identity, scope: &Scope, new: New) -> Outcome<i64> {
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
    let (_owner, approved) = automatic::approve(owner, who, scope, id)?;
    if scope.slots.is_empty() && !approved {
        Refusal::bad_value(format!("nobody can approve request {id}"))
            .detail(format!("Scope \"{}\" names no approvers.", scope.name))
            .hint("An admin can name them with jit.alter_scope().")
            .warn();
    }
    Ok(id)
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

pub fn checked_reason(owner: &Owner, scope: &Scope, reason: Option<&str>) -> Outcome<String> {
    let reason = checked_text("a reason", reason)?;
    if let Some(pattern) = &scope.reason_pattern
        && !matches_pattern(owner, &reason, pattern)
    {
        return Err(Refusal::bad_value("the reason is not of the form that the scope asks for")
            .detail(format!("It must match the regular expression {pattern}."))
            .hint("Write it again in that form."));
    }
    Ok(reason)
}

/// Oneself, or a group that one belongs to; either must be allowed to ask.
fn checked_grantee(scope: &Scope, who: &Identity, grantee: Option<Oid>) -> Outcome<Role> {
    let id = grantee.unwrap_or(who.actor.id);
    // regrole takes any number: '999999'::regrole is no role.
    let Some(name) = identity::role_name(id) else {
        return Err(Refusal::unknown(format!("there is no role {}", id.to_u32()))
            .hint("grantee takes the name of a role, as in grantee => 'oncall'."));
    };
    if identity::is_shared_login(id) {
        return Err(Refusal::not_allowed(format!(
            "\"{name}\" is a login that many people share, it can hold no grant"
        ))
        .hint("Ask for the role of the person, or for a group."));
    }
    let grantee = Role { id, name };
    check_may_ask(scope, who, &grantee)?;
    Ok(grantee)
}

/// Whether this session may ask for a grant to that role now.
pub fn check_may_ask(scope: &Scope, who: &Identity, grantee: &Role) -> Outcome<()> {
    let (id, name) = (grantee.id, &grantee.name);
    if !identity::qualifies(who.actor.id, id) {
        return Err(Refusal::not_allowed(format!("\"{}\" does not belong to \"{name}\"", who.actor.name))
            .detail("One asks for oneself or for a group one belongs to.")
            .hint("Leave grantee out of jit_request() to ask for yourself."));
    }
    if !scope.may_ask(&who.person()) || !scope.may_ask(&[id]) {
        let asking: Vec<&str> = scope.requesters.iter().flatten().map(|(name, _)| name.as_str()).collect();
        return Err(Refusal::not_allowed(format!("\"{name}\" may not ask for scope \"{}\"", scope.name))
            .detail(format!("Its requesters are: {}.", asking.join(", ")))
            .hint("Login, acting role and grantee must each belong to one of them; RESET ROLE if you have changed your role."));
    }
    Ok(())
}

/// The key in its canonical form, or all rows said in so many words.
pub fn checked_rows(scope: &Scope, key: Option<&str>, all_rows: bool) -> Outcome<(Option<String>, bool)> {
    let name = &scope.name;
    match (scope.key_type, key, all_rows) {
        (None, Some(_), _) => Err(Refusal::bad_value(format!("scope \"{name}\" has no keys"))
            .hint("Leave key out: a grant of this scope is for all of it.")),
        // A scope without keys has nothing narrower than all of it.
        (None, None, _) => Ok((None, true)),
        (Some(_), Some(_), true) => {
            Err(Refusal::bad_value("key and all_rows exclude each other").hint("Leave one of them out."))
        }
        (Some(key_type), Some(key), false) => Ok((Some(key_type.canonical(key)?), false)),
        (Some(_), None, true) if scope.allow_all_rows => Ok((None, true)),
        (Some(key_type), None, true) => {
            Err(Refusal::bad_value(format!("scope \"{name}\" gives no access to all rows"))
                .hint(format!("Name the key of the rows, as in key => {}.", key_type.example())))
        }
        (Some(key_type), None, false) => {
            let refusal = Refusal::bad_value(format!("scope \"{name}\" needs a key"));
            let example = key_type.example();
            Err(if scope.allow_all_rows {
                refusal.hint(format!("Write key => {example}, or all_rows => true if every row is meant."))
            } else {
                refusal.hint(format!("Write, for example, key => {example}."))
            })
        }
    }
}

fn check_start(starts_at: i64, now: i64, max_ahead: i64) -> Outcome<()> {
    // Also refuses infinity, which is the greatest and the least number.
    if starts_at < now {
        return Err(Refusal::bad_value("starts_at lies in the past")
            .hint("Leave it out to start when the request is approved."));
    }
    if starts_at > now.saturating_add(max_ahead) {
        return Err(Refusal::bad_value(format!("starts_at lies more than {} ahead", span::text(max_ahead)))
            .hint("Ask nearer to the time."));
    }
    Ok(())
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
#[allow(clippy::too_many_arguments)] // the SQL interface
fn jit_request(
    scope: Option<&str>,
    reason: Option<&str>,
    key: Option<&str>,
    duration: Option<Interval>,
    grantee: Option<Oid>,
    starts_at: Option<TimestampWithTimeZone>,
    all_rows: Option<bool>,
) -> i64 {
    let starts_at = starts_at.map(pg_sys::TimestampTz::from);
    settle(ask(Wish { scope, reason, key, duration, grantee, starts_at, all_rows }))
}

#[pg_extern(sql = false)]
fn jit_cancel(request: Option<i64>) {
    settle(cancel(request));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_one_line_of_text() {
        assert_eq!(checked_text("a reason", Some("  refund #981 ")).unwrap(), "refund #981");
        for bad in [None, Some(""), Some(" \n"), Some("a\nb"), Some("a\u{7}"), Some("a\u{85}b")] {
            assert!(checked_text("a reason", bad).is_err(), "{bad:?}");
        }
        assert!(checked_text("a reason", Some(&"é".repeat(2_048))).is_ok());
        assert!(checked_text("a reason", Some(&"é".repeat(2_049))).is_err());
    }

    #[test]
    fn starts_lie_ahead_but_not_far() {
        assert!(check_start(10, 10, 100).is_ok());
        assert!(check_start(110, 10, 100).is_ok());
        for bad in [9, 111, i64::MAX, i64::MIN] {
            assert!(check_start(bad, 10, 100).is_err(), "{bad}");
        }
    }
}

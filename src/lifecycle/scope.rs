//! Scopes: what access is asked for, with its rules.

use std::collections::BTreeSet;

use pgrx::pg_sys::Oid;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::args::{optional, value};
use super::key::KeyType;
use super::options::{OnEnd, Options};
use super::stages::{self, Approvers, Slot};
use super::{begin, deliberate, ending, request, span};
use crate::audit::events::{Event, record};
use crate::errors::{Outcome, Refusal, null_argument, settle, shown};
use crate::identity::{self, Identity};
use crate::origin;
use crate::privileged::{Owner, Row};

/// A scope with its rules as they are now.
pub struct Scope {
    pub id: i32,
    pub name: String,
    pub key_type: Option<KeyType>,
    pub allow_all_rows: bool,
    pub default_duration: i64,
    pub max_duration: i64,
    pub pending_ttl: i64,
    pub reason_pattern: Option<String>,
    pub enabled: bool,
    pub epoch: i64,
    pub slots: Vec<Slot>,
    /// None: anyone may ask.
    pub requesters: Option<Vec<(String, Oid)>>,
    description: Option<String>,
    on_end: String,
}

/// The part of the rules that a request keeps from the time it was made: they can become
/// stricter for it, never laxer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Frozen {
    pub approvers: Vec<Slot>,
    /// Microseconds.
    pub max_duration: i64,
}

/// What `from_row` reads.
macro_rules! columns {
    () => {
        "SELECT s.id, s.name, s.key_type, s.allow_all_rows, s.anyone_may_ask,
                (extract(epoch FROM s.default_duration) * 1000000)::bigint,
                (extract(epoch FROM s.max_duration) * 1000000)::bigint,
                (extract(epoch FROM s.pending_ttl) * 1000000)::bigint,
                s.reason_pattern, s.on_end, s.enabled, s.epoch, s.description
           FROM jit_private.scopes s "
    };
}

/// By what somebody may decide.
#[derive(Debug, Default)]
pub struct Entitlement {
    /// Names of approver roles.
    pub roles: Vec<String>,
    /// For each of them, how login and actor come to belong to it: `bob > team_a > support_lead`.
    pub paths: Vec<String>,
}

impl Entitlement {
    /// Of those slots. Login and actor must both qualify: borrowing a role with SET ROLE buys nothing. A shared
    /// login is nobody, there the actor alone is looked at.
    pub fn of<'a>(who: &Identity, slots: impl IntoIterator<Item = &'a Slot>) -> Self {
        let mut found = Entitlement::default();
        for slot in slots.into_iter().filter(|slot| slot.role_id != 0) {
            let person = who.person();
            let paths: Option<Vec<Vec<Oid>>> =
                person.iter().map(|member| identity::path(*member, Oid::from_u32(slot.role_id))).collect();
            let Some(paths) = paths.filter(|paths| !paths.is_empty() && !found.roles.contains(&slot.role))
            else {
                continue;
            };
            found.roles.push(slot.role.clone());
            found.paths.extend(paths.into_iter().map(|path| {
                let names: Vec<String> = path.into_iter().filter_map(identity::role_name).collect();
                names.join(" > ")
            }));
        }
        found
    }

    pub fn is_none(&self) -> bool {
        self.roles.is_empty()
    }
}

impl Scope {
    /// The live scope of that name.
    pub fn named(owner: &Owner, name: &str) -> Option<Scope> {
        let scope = owner.first(
            concat!(columns!(), "WHERE s.name = $1 AND s.dropped_at IS NULL"),
            &[value(name)],
            from_row,
        );
        scope.map(|scope| scope.with_roles(owner))
    }

    /// The scope of that id, unless it has been dropped.
    pub fn by_id(owner: &Owner, id: i32) -> Option<Scope> {
        let scope = owner.first(
            concat!(columns!(), "WHERE s.id = $1 AND s.dropped_at IS NULL"),
            &[value(id)],
            from_row,
        );
        scope.map(|scope| scope.with_roles(owner))
    }

    /// A rule names a role by OID. One from before a restore or pg_upgrade counts only while the
    /// OID still has the name that the rule was written with.
    fn with_roles(mut self, owner: &Owner) -> Scope {
        let origin = origin::current();
        let bound = |row: &Row| {
            let (role, id): (String, Oid) = (row.must(1), row.must(2));
            let name = identity::role_name(id);
            let same = row.get::<String>(3).as_deref() == Some(&*origin) || name.as_deref() == Some(&*role);
            match name {
                Some(name) if same => (name, id),
                _ => (role, Oid::INVALID),
            }
        };
        self.slots = owner.query(
            "SELECT a.role, a.role_id, a.origin, a.people, a.stage FROM jit_private.approvers a
              WHERE a.scope_id = $1 ORDER BY a.stage, a.role",
            &[value(self.id)],
            |row| {
                let (role, id) = bound(row);
                let number = |column: i32| u32::try_from(row.must::<i32>(column)).unwrap_or(u32::MAX);
                Slot { stage: number(5), role, role_id: id.to_u32(), people: number(4) }
            },
        );
        if self.requesters.is_some() {
            self.requesters = Some(owner.query(
                "SELECT r.role, r.role_id, r.origin FROM jit_private.requesters r WHERE r.scope_id = $1 ORDER BY r.role",
                &[value(self.id)],
                bound,
            ));
        }
        self
    }

    /// Whether somebody with these roles may ask: each of them must qualify.
    pub fn may_ask(&self, roles: &[Oid]) -> bool {
        match &self.requesters {
            None => true,
            Some(named) => {
                !roles.is_empty()
                    && roles.iter().all(|member| {
                        named
                            .iter()
                            .any(|(_, role)| *role != Oid::INVALID && identity::qualifies(*member, *role))
                    })
            }
        }
    }

    /// The approver roles, of whichever stage, that this session qualifies for today.
    pub fn entitles(&self, who: &Identity) -> Entitlement {
        Entitlement::of(who, &self.slots)
    }

    pub fn frozen(&self) -> Frozen {
        Frozen { approvers: self.slots.clone(), max_duration: self.max_duration }
    }

    /// What a request must still meet, of the rules then and now.
    pub fn stricter_slots(&self, frozen: &Frozen) -> Vec<Slot> {
        stages::stricter(&self.slots, &frozen.approvers)
    }

    fn options(&self) -> Options {
        Options {
            description: self.description.clone(),
            key_type: self.key_type,
            allow_all_rows: self.allow_all_rows,
            approvers: Approvers::of(&self.slots),
            requesters: self
                .requesters
                .as_ref()
                .map(|named| named.iter().map(|(name, _)| name.clone()).collect()),
            default_duration: Some(span::text(self.default_duration)),
            max_duration: span::text(self.max_duration),
            pending_ttl: span::text(self.pending_ttl),
            reason_pattern: self.reason_pattern.clone(),
            on_end: match self.on_end.as_str() {
                "terminate" => OnEnd::Terminate,
                "none" => OnEnd::None,
                _ => OnEnd::Cancel,
            },
            enabled: self.enabled,
        }
    }
}

fn from_row(row: &Row) -> Scope {
    Scope {
        id: row.must(1),
        name: row.must(2),
        key_type: row.get::<String>(3).and_then(|name| KeyType::named(&name)),
        allow_all_rows: row.must(4),
        requesters: (!row.must::<bool>(5)).then(Vec::new),
        default_duration: row.must(6),
        max_duration: row.must(7),
        pending_ttl: row.must(8),
        reason_pattern: row.get(9),
        on_end: row.must(10),
        enabled: row.must(11),
        epoch: row.must(12),
        description: row.get(13),
        slots: Vec::new(),
    }
}

/// The scope, or an error whose HINT lists the ones that this session may ask for.
pub fn required(owner: &Owner, name: &str, who: &Identity) -> Outcome<Scope> {
    if let Some(scope) = Scope::named(owner, name) {
        return Ok(scope);
    }
    let person = who.person();
    let names: Vec<String> = owner
        .query(
            "SELECT s.name FROM jit_private.scopes s WHERE s.dropped_at IS NULL AND s.enabled ORDER BY s.name",
            &[],
            |row| row.must::<String>(1),
        )
        .into_iter()
        .filter(|name| Scope::named(owner, name).is_some_and(|scope| scope.may_ask(&person)))
        .collect();
    Err(Refusal::unknown(format!("there is no scope \"{}\"", shown(name))).hint(if names.is_empty() {
        "There is no scope that you may ask for; an admin makes one with jit.create_scope().".to_string()
    } else {
        format!("You may ask for: {}.", names.join(", "))
    }))
}

/// An existing scope for an admin, who need not be allowed to ask for it.
fn required_for_admin(owner: &Owner, name: &str) -> Outcome<Scope> {
    Scope::named(owner, name).ok_or_else(|| {
        Refusal::unknown(format!("there is no scope \"{}\"", shown(name)))
            .hint("SELECT name FROM jit.scopes WHERE dropped_at IS NULL lists them.")
    })
}

/// An hour.
const DEFAULT_DURATION: i64 = 3_600_000_000;

/// Durations that PostgreSQL has read, in microseconds.
struct Durations {
    default: i64,
    max: i64,
    pending_ttl: i64,
}

fn durations(options: &Options) -> Outcome<Durations> {
    let read = |option: &str, written: &str, most: i64| {
        let interval = span::parse(written).ok_or_else(|| {
            Refusal::bad_value(format!("wrong option \"{option}\""))
                .detail(format!("\"{}\" is not an interval.", shown(written)))
                .hint("Write, for example, \"4 hours\".")
        })?;
        span::checked(&format!("option \"{option}\""), &interval, most)
    };
    let max = read("max_duration", &options.max_duration, span::LONGEST)?;
    Ok(Durations {
        default: match &options.default_duration {
            Some(written) => read("default_duration", written, max)?,
            None => DEFAULT_DURATION.min(max),
        },
        max,
        pending_ttl: read("pending_ttl", &options.pending_ttl, span::LONGEST)?,
    })
}

impl Durations {
    /// So that events tell of what differs, not of how it was written.
    fn spell(&self, options: &mut Options) {
        options.default_duration = Some(span::text(self.default));
        options.max_duration = span::text(self.max);
        options.pending_ttl = span::text(self.pending_ttl);
    }
}

fn role_of_option(option: &str, name: &str) -> Outcome<Oid> {
    identity::role_named(name).ok_or_else(|| {
        Refusal::unknown(format!("wrong option \"{}\"", shown(option)))
            .detail(format!("There is no role \"{}\".", shown(name)))
            .hint("Name a role that exists, written as in pg_roles.")
    })
}

/// A pattern that PostgreSQL cannot compile would make every request fail later.
fn check_pattern(owner: &Owner, pattern: Option<&str>) -> Outcome<()> {
    let Some(pattern) = pattern else { return Ok(()) };
    let wrong = PgTryBuilder::new(std::panic::AssertUnwindSafe(|| {
        request::matches_pattern(owner, "", pattern);
        None
    }))
    .catch_when(PgSqlErrorCode::ERRCODE_INVALID_REGULAR_EXPRESSION, |error| match error {
        CaughtError::PostgresError(report) => Some(report.message().to_string()),
        _ => Some(String::new()),
    })
    .execute();
    match wrong {
        None => Ok(()),
        // Raised here, since SPI was left in the middle: nobody may go on.
        Some(message) => Refusal::bad_value("wrong option \"reason_pattern\"")
            .detail(message)
            .hint("Write a PostgreSQL regular expression, such as \"^[A-Z]+-[0-9]+\".")
            .raise(),
    }
}

fn write_approvers(owner: &Owner, scope: i32, options: &Options) -> Outcome<()> {
    owner.run("DELETE FROM jit_private.approvers a WHERE a.scope_id = $1", &[value(scope)]);
    for (stage, name, people, path) in options.approvers.slots() {
        let role = role_of_option(&path, name)?;
        owner.run(
            "INSERT INTO jit_private.approvers (scope_id, stage, role, role_id, people, origin) VALUES ($1, $2, $3, $4, $5, $6)",
            &[
                value(scope),
                value(i32::try_from(stage).unwrap_or(i32::MAX)),
                value(name),
                value(role),
                value(i32::try_from(people).unwrap_or(i32::MAX)),
                value(origin::current().to_string()),
            ],
        );
    }
    Ok(())
}

fn write_requesters(owner: &Owner, scope: i32, options: &Options) -> Outcome<()> {
    owner.run("DELETE FROM jit_private.requesters r WHERE r.scope_id = $1", &[value(scope)]);
    let mut written = BTreeSet::new();
    for (at, name) in options.requesters.iter().flatten().enumerate() {
        let role = role_of_option(&format!("requesters[{at}]"), name)?;
        if written.insert(role.to_u32()) {
            owner.run(
                "INSERT INTO jit_private.requesters (scope_id, role, role_id, origin) VALUES ($1, $2, $3, $4)",
                &[value(scope), value(name.as_str()), value(role), value(origin::current().to_string())],
            );
        }
    }
    Ok(())
}

fn valid_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.' | b'-'))
}

fn create(fcinfo: pg_sys::FunctionCallInfo, name: Option<&str>, options: Option<Value>) -> Outcome<()> {
    let who = begin(c"jit.create_scope()")?;
    deliberate::check(fcinfo, c"jit.create_scope")?;
    let name = name.ok_or_else(|| null_argument("jit.create_scope", "name"))?;
    let mut options = Options::parse(options.ok_or_else(|| null_argument("jit.create_scope", "options"))?)?;
    if !valid_name(name) {
        return Err(Refusal::bad_value("this is no name for a scope")
            .hint("A scope's name has 1 to 63 of the characters a-z, 0-9, underscore, point and hyphen."));
    }
    let owner = Owner::enter()?;
    let durations = durations(&options)?;
    durations.spell(&mut options);
    check_pattern(&owner, options.reason_pattern.as_deref())?;
    let made = owner.first(
        "INSERT INTO jit_private.scopes (name, description, key_type, allow_all_rows, anyone_may_ask, default_duration,
                                 max_duration, pending_ttl, reason_pattern, on_end, enabled, created_at)
         VALUES ($1, $2, $3, $4, $5, $6 * interval '1 microsecond', $7 * interval '1 microsecond',
                 $8 * interval '1 microsecond', $9, $10, $11, clock_timestamp())
         ON CONFLICT DO NOTHING RETURNING id",
        &[
            value(name),
            optional(options.description.clone()),
            optional(options.key_type.map(|key_type| key_type.name())),
            value(options.allow_all_rows),
            value(options.requesters.is_none()),
            value(durations.default as f64),
            value(durations.max as f64),
            value(durations.pending_ttl as f64),
            optional(options.reason_pattern.clone()),
            value(options.on_end.name()),
            value(options.enabled),
        ],
        |row| row.must::<i32>(1),
    );
    let Some(id) = made else {
        return Err(Refusal::new(
            PgSqlErrorCode::ERRCODE_DUPLICATE_OBJECT,
            format!("there is a scope \"{name}\" already"),
        )
        .hint(format!("Change it with jit.alter_scope('{name}', ...) or take another name.")));
    };
    write_approvers(&owner, id, &options)?;
    write_requesters(&owner, id, &options)?;
    let details = json!({ "options": options.to_map() });
    record(&owner, &who, Event { kind: "scope created", request: None, scope: name, details });
    Ok(())
}

fn alter(fcinfo: pg_sys::FunctionCallInfo, name: Option<&str>, changes: Option<Value>) -> Outcome<()> {
    let who = begin(c"jit.alter_scope()")?;
    deliberate::check(fcinfo, c"jit.alter_scope")?;
    let name = name.ok_or_else(|| null_argument("jit.alter_scope", "name"))?;
    let changes = changes.ok_or_else(|| null_argument("jit.alter_scope", "changes"))?;
    let owner = Owner::enter()?;
    lock(&owner, name);
    let scope = required_for_admin(&owner, name)?;
    let old = scope.options();
    // Roles are bound again only where they are named again: a change of something else must
    // neither fail over a role that is gone nor take its namesake for it.
    let named_again = |option: &str| changes.get(option).is_some();
    let (approvers, requesters) = (named_again("approvers"), named_again("requesters"));
    let mut new = old.changed(changes)?;
    let durations = durations(&new)?;
    check_pattern(&owner, new.reason_pattern.as_deref())?;
    durations.spell(&mut new);
    let asked = owner.first(
        "SELECT 1 FROM jit_private.requests r WHERE r.scope_id = $1 LIMIT 1",
        &[value(scope.id)],
        |_| (),
    );
    if new.key_type != old.key_type && asked.is_some() {
        return Err(Refusal::wrong_state(format!("the key_type of scope \"{name}\" cannot change any more"))
            .detail("Access to it has been asked for; keys on record would come to mean other rows.")
            .hint("Make a new scope with the other key_type."));
    }
    let difference = old.difference(&new);
    if difference.is_empty() && !approvers && !requesters {
        return Ok(());
    }
    let stopped = old.enabled && !new.enabled;
    owner.run(
        "UPDATE jit_private.scopes SET description = $2, key_type = $3, allow_all_rows = $4, anyone_may_ask = $5,
                default_duration = $6 * interval '1 microsecond', max_duration = $7 * interval '1 microsecond',
                pending_ttl = $8 * interval '1 microsecond', reason_pattern = $9, on_end = $10, enabled = $11,
                epoch = epoch + $12
          WHERE id = $1",
        &[
            value(scope.id),
            optional(new.description.clone()),
            optional(new.key_type.map(|key_type| key_type.name())),
            value(new.allow_all_rows),
            value(new.requesters.is_none()),
            value(durations.default as f64),
            value(durations.max as f64),
            value(durations.pending_ttl as f64),
            optional(new.reason_pattern.clone()),
            value(new.on_end.name()),
            value(new.enabled),
            value(i64::from(stopped)),
        ],
    );
    if approvers {
        write_approvers(&owner, scope.id, &new)?;
    }
    if requesters {
        write_requesters(&owner, scope.id, &new)?;
    }
    let details =
        json!({ "changes": difference, "bound_again": { "approvers": approvers, "requesters": requesters } });
    record(&owner, &who, Event { kind: "scope altered", request: None, scope: name, details });
    if stopped {
        stop(&owner, &who, &scope, "scope disabled");
    }
    Ok(())
}

fn drop(fcinfo: pg_sys::FunctionCallInfo, name: Option<&str>) -> Outcome<()> {
    let who = begin(c"jit.drop_scope()")?;
    deliberate::check(fcinfo, c"jit.drop_scope")?;
    let name = name.ok_or_else(|| null_argument("jit.drop_scope", "name"))?;
    let owner = Owner::enter()?;
    lock(&owner, name);
    let scope = required_for_admin(&owner, name)?;
    owner.run(
        "UPDATE jit_private.scopes SET enabled = false, dropped_at = clock_timestamp(), epoch = epoch + 1 WHERE id = $1",
        &[value(scope.id)],
    );
    let details = json!({ "options": scope.options().to_map() });
    record(&owner, &who, Event { kind: "scope dropped", request: None, scope: name, details });
    stop(&owner, &who, &scope, "scope dropped");
    Ok(())
}

/// Changes of one scope by several admins follow one another. Requesters and approvers never
/// take this lock, so that none of them can hold up a kill switch.
fn lock(owner: &Owner, name: &str) {
    owner.run(
        "SELECT 1 FROM jit_private.scopes s WHERE s.name = $1 AND s.dropped_at IS NULL FOR NO KEY UPDATE",
        &[value(name)],
    );
}

/// Ends every grant of the scope and closes its requests, waiting for nobody. What is under way in
/// other transactions belongs to the old epoch and is dead when it commits.
fn stop(owner: &Owner, who: &Identity, scope: &Scope, kind: &'static str) {
    ending::end_scope(owner, who, scope.id, kind);
    request::close_scope(owner, who, scope.id, kind);
}

#[pg_extern(sql = false)]
fn jit_create_scope(name: Option<&str>, options: Option<pgrx::JsonB>, fcinfo: pg_sys::FunctionCallInfo) {
    settle(create(fcinfo, name, options.map(|options| options.0)));
}

#[pg_extern(sql = false)]
fn jit_alter_scope(name: Option<&str>, changes: Option<pgrx::JsonB>, fcinfo: pg_sys::FunctionCallInfo) {
    settle(alter(fcinfo, name, changes.map(|changes| changes.0)));
}

#[pg_extern(sql = false)]
fn jit_drop_scope(name: Option<&str>, fcinfo: pg_sys::FunctionCallInfo) {
    settle(drop(fcinfo, name));
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn names_of_scopes() {
        assert!(valid_name("a") && valid_name("support.eu-1_x") && valid_name(&"a".repeat(63)));
        assert!(!valid_name("") && !valid_name("A") && !valid_name("a b") && !valid_name("é"));
        assert!(!valid_name(&"a".repeat(64)));
    }
}

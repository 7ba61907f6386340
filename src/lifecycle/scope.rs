//! What admins do: make, alter and drop scopes.

use std::collections::BTreeSet;

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::Oid;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;
use serde_json::{Value, json};

use super::args::{json as json_arg, json_argument, optional, value};
use super::options::Options;
use super::pinned::{self, Pinned};
use super::rules::Scope;
use super::{begin, deliberate, ending, request, rule_change, span, wish};
use crate::audit::events::{Event, record};
use crate::errors::{Outcome, Refusal, null_argument, settle, shown};
use crate::identity::{self, Identity};
use crate::origin;
use crate::privileged::Owner;

/// An existing scope for an admin, who need not be allowed to ask for it.
pub fn required_for_admin(owner: &Owner, name: &str) -> Outcome<Scope> {
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
    max_total: Option<i64>,
    max_ahead: i64,
    pending_ttl: i64,
    denial_pause: i64,
    break_glass_max: i64,
    review_within: i64,
}

fn interval(option: &str, written: &str) -> Outcome<pgrx::datum::Interval> {
    span::parse(written).ok_or_else(|| {
        Refusal::bad_value(format!("wrong option \"{option}\""))
            .detail(format!("\"{}\" is not an interval.", shown(written)))
            .hint("Write, for example, \"4 hours\".")
    })
}

fn duration(option: &str, written: &str, most: i64) -> Outcome<i64> {
    span::checked(&format!("option \"{option}\""), &interval(option, written)?, most)
}

fn durations(options: &Options) -> Outcome<Durations> {
    let max = duration("max_duration", &options.max_duration, span::LONGEST)?;
    let max_total = options
        .max_total
        .as_deref()
        .map(|written| duration("max_total", written, span::LONGEST))
        .transpose()?;
    if max_total.is_some_and(|total| total < max) {
        return Err(Refusal::bad_value("wrong option \"max_total\"")
            .detail("It is less than max_duration, which a grant may last without an extension.")
            .hint(format!("Write at least \"{}\".", span::text(max))));
    }
    Ok(Durations {
        default: match &options.default_duration {
            Some(written) => duration("default_duration", written, max)?,
            None => DEFAULT_DURATION.min(max),
        },
        max,
        max_total,
        max_ahead: duration("max_ahead", &options.max_ahead, span::LONGEST)?,
        pending_ttl: duration("pending_ttl", &options.pending_ttl, span::LONGEST)?,
        denial_pause: match span::micros(&interval("denial_pause", &options.denial_pause)?) {
            Some(0) => 0,
            _ => duration("denial_pause", &options.denial_pause, span::LONGEST)?,
        },
        break_glass_max: duration("break_glass_max", &options.break_glass_max, span::LONGEST)?,
        review_within: duration("review_within", &options.review_within, span::LONGEST)?,
    })
}

impl Durations {
    /// So that events tell of what differs, not of how it was written.
    fn spell(&self, options: &mut Options) {
        options.default_duration = Some(span::text(self.default));
        options.max_duration = span::text(self.max);
        options.max_total = self.max_total.map(span::text);
        options.max_ahead = span::text(self.max_ahead);
        options.pending_ttl = span::text(self.pending_ttl);
        options.denial_pause = span::text(self.denial_pause);
        options.break_glass_max = span::text(self.break_glass_max);
        options.review_within = span::text(self.review_within);
    }
}

/// The functions of the rules. One that is not named again stays pinned as it was.
struct Functions {
    auto_approve: Option<Pinned>,
    validate: Option<Pinned>,
}

/// What the columns of a scope are set to, $2 to $21 of the statements below.
fn columns<'a>(options: &Options, durations: &Durations, functions: &Functions) -> Vec<DatumWithOid<'a>> {
    let micros = |duration: i64| value(duration as f64);
    let limit = |number: u32| value(i32::try_from(number).unwrap_or(i32::MAX));
    let pinned = |function: &Option<Pinned>| match function {
        Some(function) => json_arg(serde_json::to_value(function).unwrap_or_default()),
        None => DatumWithOid::null_oid(pg_sys::JSONBOID),
    };
    vec![
        optional(options.description.clone()),
        optional(options.key_type.map(|key_type| key_type.name())),
        value(options.allow_all_rows),
        value(options.requesters.is_none()),
        micros(durations.default),
        micros(durations.max),
        optional(durations.max_total.map(|total| total as f64)),
        micros(durations.max_ahead),
        micros(durations.pending_ttl),
        optional(options.reason_pattern.clone()),
        limit(options.max_pending),
        limit(options.max_grants),
        micros(durations.denial_pause),
        pinned(&functions.auto_approve),
        pinned(&functions.validate),
        micros(durations.break_glass_max),
        micros(durations.review_within),
        value(options.break_glass_block_overdue),
        value(options.on_end.name()),
        value(options.enabled),
    ]
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
        wish::matches_pattern(owner, "", pattern);
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

/// A list of roles, of which each goes into the table once.
fn write_roles(
    owner: &Owner,
    scope: i32,
    option: &str,
    names: Option<&[String]>,
    [delete, insert]: [&'static str; 2],
) -> Outcome<()> {
    owner.run(delete, &[value(scope)]);
    let mut written = BTreeSet::new();
    for (at, name) in names.into_iter().flatten().enumerate() {
        let role = role_of_option(&format!("{option}[{at}]"), name)?;
        if written.insert(role.to_u32()) {
            let origin = origin::current();
            owner.run(insert, &[value(scope), value(name.as_str()), value(role), value(origin)]);
        }
    }
    Ok(())
}

fn write_requesters(owner: &Owner, scope: i32, options: &Options) -> Outcome<()> {
    let statements = [
        "DELETE FROM jit_private.requesters r WHERE r.scope_id = $1",
        "INSERT INTO jit_private.requesters (scope_id, role, role_id, origin) VALUES ($1, $2, $3, $4)",
    ];
    write_roles(owner, scope, "requesters", options.requesters.as_deref(), statements)
}

fn write_break_glass(owner: &Owner, scope: i32, options: &Options) -> Outcome<()> {
    let statements = [
        "DELETE FROM jit_private.break_glass b WHERE b.scope_id = $1",
        "INSERT INTO jit_private.break_glass (scope_id, role, role_id, origin) VALUES ($1, $2, $3, $4)",
    ];
    write_roles(owner, scope, "break_glass", options.break_glass.as_deref(), statements)
}

/// Pins the functions that are named; `old` has those that are not named again.
fn functions(
    owner: &Owner,
    who: &Identity,
    options: &Options,
    old: Option<(&Scope, &Value)>,
) -> Outcome<Functions> {
    let pin = |option: &str, name: &Option<String>, before: fn(&Scope) -> &Option<Pinned>, result: Oid| {
        if let Some((scope, changes)) = old
            && changes.get(option).is_none()
        {
            return Ok(before(scope).clone());
        }
        name.as_ref().map(|name| pinned::pin(owner, who, option, name, result)).transpose()
    };
    Ok(Functions {
        auto_approve: pin(
            "auto_approve",
            &options.auto_approve,
            |scope| &scope.auto_approve,
            pg_sys::BOOLOID,
        )?,
        validate: pin("validate", &options.validate, |scope| &scope.validate, pg_sys::TEXTOID)?,
    })
}

fn valid_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.' | b'-'))
}

fn create(fcinfo: pg_sys::FunctionCallInfo, name: Option<&str>) -> Outcome<()> {
    let who = begin(c"jit.create_scope()")?;
    deliberate::check(fcinfo, c"jit.create_scope")?;
    who.refuse_shared()?;
    let name = name.ok_or_else(|| null_argument("jit.create_scope", "name"))?;
    let options = json_argument(fcinfo, 1, "the options")?;
    let mut options = Options::parse(options.ok_or_else(|| null_argument("jit.create_scope", "options"))?)?;
    if !valid_name(name) {
        return Err(Refusal::bad_value("this is no name for a scope")
            .hint("A scope's name has 1 to 63 of the characters a-z, 0-9, underscore, point and hyphen."));
    }
    let owner = Owner::enter()?;
    let durations = durations(&options)?;
    durations.spell(&mut options);
    check_pattern(&owner, options.reason_pattern.as_deref())?;
    let functions = functions(&owner, &who, &options, None)?;
    let made_anew = rule_change::has_existed(&owner, name);
    let mut values = vec![value(name)];
    values.extend(columns(&options, &durations, &functions));
    let made = owner.first(
        "INSERT INTO jit_private.scopes (
             name, description, key_type, allow_all_rows, anyone_may_ask, default_duration, max_duration, max_total, max_ahead,
             pending_ttl, reason_pattern, max_pending, max_grants, denial_pause, auto_approve, validate, break_glass_max,
             review_within, break_glass_block_overdue, on_end, enabled, created_at)
         VALUES ($1, $2, $3, $4, $5, $6 * interval '1 microsecond', $7 * interval '1 microsecond',
                 $8 * interval '1 microsecond', $9 * interval '1 microsecond', $10 * interval '1 microsecond', $11, $12, $13,
                 $14 * interval '1 microsecond', $15, $16, $17 * interval '1 microsecond', $18 * interval '1 microsecond',
                 $19, $20, $21, clock_timestamp())
         ON CONFLICT DO NOTHING RETURNING id",
        &values,
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
    write_break_glass(&owner, id, &options)?;
    if made_anew {
        rule_change::note(&owner, &who, name, durations.pending_ttl);
    }
    let mut details = json!({ "options": options.to_map() });
    if functions.auto_approve.is_some() || functions.validate.is_some() {
        details["functions"] =
            json!({ "auto_approve": functions.auto_approve, "validate": functions.validate });
    }
    record(&owner, &who, Event { kind: "scope created", request: None, scope: name, details });
    Ok(())
}

fn alter(fcinfo: pg_sys::FunctionCallInfo, name: Option<&str>) -> Outcome<()> {
    let who = begin(c"jit.alter_scope()")?;
    deliberate::check(fcinfo, c"jit.alter_scope")?;
    who.refuse_shared()?;
    let name = name.ok_or_else(|| null_argument("jit.alter_scope", "name"))?;
    let changes = json_argument(fcinfo, 1, "the changes")?
        .ok_or_else(|| null_argument("jit.alter_scope", "changes"))?;
    let owner = Owner::enter()?;
    lock(&owner, name);
    let scope = required_for_admin(&owner, name)?;
    let old = scope.options(&owner);
    // Roles are bound again only where they are named again: a change of something else must
    // neither fail over a role that is gone nor take its namesake for it.
    let named_again = |option: &str| changes.get(option).is_some();
    let (approvers, requesters) = (named_again("approvers"), named_again("requesters"));
    let break_glass = named_again("break_glass");
    let pinned_again = named_again("auto_approve") || named_again("validate");
    let mut new = old.changed(changes.clone())?;
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
    if new.on_end < old.on_end {
        check_not_served(&owner, &who, &scope)?;
    }
    let functions = functions(&owner, &who, &new, Some((&scope, &changes)))?;
    let difference = old.difference(&new);
    if difference.is_empty() && !approvers && !requesters && !break_glass && !pinned_again {
        return Ok(());
    }
    let stopped = old.enabled && !new.enabled;
    let mut values = vec![value(scope.id)];
    values.extend(columns(&new, &durations, &functions));
    values.push(value(i64::from(stopped)));
    owner.run(
        "UPDATE jit_private.scopes
            SET description = $2, key_type = $3, allow_all_rows = $4, anyone_may_ask = $5,
                default_duration = $6 * interval '1 microsecond', max_duration = $7 * interval '1 microsecond',
                max_total = $8 * interval '1 microsecond', max_ahead = $9 * interval '1 microsecond',
                pending_ttl = $10 * interval '1 microsecond', reason_pattern = $11, max_pending = $12, max_grants = $13,
                denial_pause = $14 * interval '1 microsecond', auto_approve = $15, validate = $16,
                break_glass_max = $17 * interval '1 microsecond', review_within = $18 * interval '1 microsecond',
                break_glass_block_overdue = $19, on_end = $20, enabled = $21, epoch = epoch + $22
          WHERE id = $1",
        &values,
    );
    if approvers {
        write_approvers(&owner, scope.id, &new)?;
    }
    if requesters {
        write_requesters(&owner, scope.id, &new)?;
    }
    if break_glass {
        write_break_glass(&owner, scope.id, &new)?;
    }
    // To describe a scope and to stop it are no changes of what it takes to get access.
    let matters =
        difference.keys().any(|option| option != "description" && !(option == "enabled" && stopped));
    if matters || approvers || requesters || break_glass || pinned_again {
        rule_change::note(&owner, &who, name, scope.pending_ttl.max(durations.pending_ttl));
        rule_change::exclude_from_scheduled(&owner, &who, scope.id);
    }
    let mut details = json!({
        "changes": difference,
        "bound_again": {
            "approvers": approvers, "requesters": requesters, "break_glass": break_glass, "functions": pinned_again
        },
    });
    if pinned_again {
        details["functions"] =
            json!({ "auto_approve": functions.auto_approve, "validate": functions.validate });
    }
    record(&owner, &who, Event { kind: "scope altered", request: None, scope: name, details });
    if stopped {
        stop(&owner, &who, &scope, "scope disabled");
    }
    Ok(())
}

fn drop(fcinfo: pg_sys::FunctionCallInfo, name: Option<&str>) -> Outcome<()> {
    let who = begin(c"jit.drop_scope()")?;
    deliberate::check(fcinfo, c"jit.drop_scope")?;
    who.refuse_shared()?;
    let name = name.ok_or_else(|| null_argument("jit.drop_scope", "name"))?;
    let owner = Owner::enter()?;
    lock(&owner, name);
    let scope = required_for_admin(&owner, name)?;
    owner.run(
        "UPDATE jit_private.scopes SET enabled = false, dropped_at = clock_timestamp(), epoch = epoch + 1 WHERE id = $1",
        &[value(scope.id)],
    );
    rule_change::note(&owner, &who, name, scope.pending_ttl);
    let details = json!({ "options": scope.options(&owner).to_map() });
    record(&owner, &who, Event { kind: "scope dropped", request: None, scope: name, details });
    stop(&owner, &who, &scope, "scope dropped");
    Ok(())
}

/// A weaker `on_end` is at once for what is live: it is not weakened by those whom it would spare.
fn check_not_served(owner: &Owner, who: &Identity, scope: &Scope) -> Outcome<()> {
    let holders = owner.query(
        "SELECT min(g.id), g.grantee_id FROM jit_private.grants g
          WHERE g.scope_id = $1 AND g.tidied_at IS NULL AND g.ends_at > clock_timestamp()
            AND NOT EXISTS (SELECT FROM jit_private.endings e WHERE e.grant_id = g.id)
          GROUP BY g.grantee_id",
        &[value(scope.id)],
        |row| (row.must::<i64>(1), row.must::<Oid>(2)),
    );
    let person = who.person();
    let serves = |grantee: Oid| person.iter().any(|role| identity::would_serve(*role, grantee));
    match holders.into_iter().find(|(_, grantee)| serves(*grantee)) {
        None => Ok(()),
        Some((id, _)) => Err(Refusal::not_allowed(format!("the grant of request {id} could serve yourself"))
            .detail(format!(
                "A weaker on_end of scope \"{}\" would spare your own statements when it ends.",
                scope.name
            ))
            .hint(format!("Give it back with jit_release({id}) first, or let another admin do it."))),
    }
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
    let all = ending::Matching { scope: Some(scope.id), grantee: None };
    ending::end_all(owner, who, &all, kind, None);
    request::close_scope(owner, who, scope.id, kind);
}

#[pg_extern(sql = false)]
fn jit_create_scope(name: Option<&str>, fcinfo: pg_sys::FunctionCallInfo) {
    settle(create(fcinfo, name));
}

#[pg_extern(sql = false)]
fn jit_alter_scope(name: Option<&str>, fcinfo: pg_sys::FunctionCallInfo) {
    settle(alter(fcinfo, name));
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

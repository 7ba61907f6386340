//! What an approved request becomes, whoever has approved it.

use pgrx::pg_sys::Oid;
use serde_json::{Value, json};

use super::commit_in_time::{COMMIT_WITHIN, must_commit_before};
use super::request::Request;
use super::rule_change::{self, Changer};
use super::rules::Scope;
use super::{extend, grant, limits, now};
use crate::audit::events::{Event, record};
use crate::check::clock::timestamp_text;
use crate::errors::Outcome;
use crate::identity::Identity;
use crate::privileged::Owner;

/// A yes is committed soon, and before the request lapses: as long as its transaction is open, nobody can say no, and who
/// changes the rules is not kept from what is being approved.
pub fn must_commit_soon(request: &Request) {
    must_commit_before(now().saturating_add(COMMIT_WITHIN).min(request.lapses_at));
}

/// A yes that suffices.
pub struct Approval<'a> {
    /// A role, or a function.
    pub by: &'a str,
    /// What was asked for, or less. Microseconds.
    pub duration: i64,
    /// Whom the grant must not serve; beside those who have changed the rules.
    pub approved_by: Vec<Oid>,
    pub changers: Vec<Changer>,
    /// For the event.
    pub details: Value,
}

/// Makes the grant, or lengthens the one that the request is about, with the event.
pub fn approved(
    owner: &Owner,
    who: &Identity,
    request: &Request,
    scope: &Scope,
    approval: Approval<'_>,
) -> Outcome<()> {
    must_commit_soon(request);
    let Approval { by, duration, mut approved_by, changers, mut details } = approval;
    for served in [&request.person[..], &[request.grantee.id]] {
        rule_change::check(&changers, served, &scope.name, "is served by nothing that is approved")?;
    }
    approved_by.extend(changers.into_iter().flat_map(|changer| changer.person));
    approved_by.sort_unstable_by_key(|role| role.to_u32());
    approved_by.dedup();

    let frozen = request.frozen.as_ref();
    let most = frozen.map_or(0, |frozen| frozen.max_duration).min(scope.max_duration);
    let duration = duration.min(most);
    let kind = match request.extends {
        None => {
            limits::check_holding(owner, scope, request.grantee.id)?;
            request.decide(owner, by, "approved")?;
            let window = grant::make(owner, request, duration, &approved_by);
            details["starts_at"] = json!(timestamp_text(window.starts_at));
            details["ends_at"] = json!(timestamp_text(window.ends_at));
            "approved"
        }
        Some(extended) => {
            let most = frozen.map_or(0, |frozen| frozen.max_total).min(scope.max_total());
            request.decide(owner, by, "approved")?;
            let ends = extend::lengthen(owner, extended, scope, duration, most, &approved_by)?;
            details["extends"] = json!(extended);
            details["ended_at"] = json!(timestamp_text(ends.before));
            details["ends_at"] = json!(timestamp_text(ends.after));
            "extended"
        }
    };
    details["grantee"] = json!(request.grantee.name);
    details["key"] = json!(request.key);
    details["all_rows"] = json!(request.all_rows);
    record(owner, who, Event { kind, request: Some(request.id), scope: &scope.name, details });
    Ok(())
}

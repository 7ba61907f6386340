//! Access at once, for those whom the rules name, to be reviewed afterwards.

use pgrx::datum::Interval;
use pgrx::pg_sys::{self, Oid};
use pgrx::prelude::*;
use serde_json::json;

use super::args::{roles, timestamp, value};
use super::ask::enabled;
use super::commit_in_time::{COMMIT_WITHIN, must_commit_before};
use super::request::{New, Request, insert};
use super::review::{self, Review};
use super::rule_change::Changer;
use super::rules::{Scope, all_belong};
use super::wish::{checked_rows, checked_text};
use super::{begin, deliberate, ending, grant, now, rule_change, span};
use crate::audit::events::{Event, record};
use crate::check::clock::timestamp_text;
use crate::errors::{Outcome, Refusal, null_argument, settle};
use crate::identity::{self, Identity};
use crate::privileged::Owner;

/// An error unless login and actor both belong to the roles that may. What a scope's own checks say of a request is not
/// asked: nobody is to be locked out over a ticket.
fn check_may(owner: &Owner, scope: &Scope, who: &Identity) -> Outcome<()> {
    let named = scope.break_glass_roles(owner);
    if !all_belong(&who.person(), &named) {
        let names: Vec<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
        return Err(Refusal::not_allowed(format!(
            "\"{}\" may not break the glass of scope \"{}\"",
            who.actor.name, scope.name
        ))
        .detail(format!(
            "Login and acting role must both belong to one of: {}.",
            if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
        ))
        .hint("Ask in the ordinary way with jit_request()."));
    }
    Ok(())
}

/// Whether somebody's breaking of this scope's glass has not been reviewed in time.
fn overdue(owner: &Owner, scope: &Scope, who: &Identity) -> Option<i64> {
    owner.first(
        "SELECT r.id FROM jit_private.requests r
          WHERE r.review_due <= $3 AND r.reviewed_at IS NULL AND r.scope_id = $1 AND r.person && $2
            AND r.origin = jit.origin() ORDER BY r.id LIMIT 1",
        &[value(scope.id), roles(&who.person()), timestamp(now())],
        |row| row.must(1),
    )
}

fn check_who(owner: &Owner, scope: &Scope, who: &Identity, changers: &[Changer]) -> Outcome<()> {
    check_may(owner, scope, who)?;
    rule_change::check(changers, &who.person(), &scope.name, "takes no access")?;
    // A role that several people can set would be served as a whole.
    if who.login.id != who.actor.id && !identity::is_shared_login(who.login.id) {
        return Err(Refusal::not_allowed("the glass is broken for oneself")
            .detail(format!("The acting role is \"{}\", the login \"{}\".", who.actor.name, who.login.name))
            .hint("RESET ROLE first."));
    }
    Ok(())
}

fn break_glass(
    fcinfo: pg_sys::FunctionCallInfo,
    scope: Option<&str>,
    reason: Option<&str>,
    key: Option<&str>,
    duration: Option<Interval>,
) -> Outcome<i64> {
    let who = begin(c"jit_break_glass()")?;
    deliberate::check(fcinfo, c"jit_break_glass")?;
    who.refuse_shared()?;
    let name = scope.ok_or_else(|| null_argument("jit_break_glass", "scope"))?;
    let owner = Owner::enter()?;
    let scope = enabled(&owner, name, &who)?;
    let changers = rule_change::lately(&owner, &scope.name);
    check_who(&owner, &scope, &who, &changers).inspect_err(|_| {
        crate::errors::log(format!(
            "jit_rls: refused login \"{}\" acting as \"{}\" who tried to break the glass of scope \"{}\"",
            who.login.name, who.actor.name, scope.name
        ));
    })?;
    let reason = checked_text("a reason", reason)?;
    // All rows are not to be had, whatever the scope allows.
    if let Some(key_type) = scope.key_type.as_ref().filter(|_| key.is_none()) {
        return Err(Refusal::bad_value(format!("scope \"{}\" needs a key", scope.name))
            .hint(format!("Write, for example, key => {}.", key_type.example())));
    }
    let (key, all_rows) = checked_rows(&scope, key, false)?;
    let duration = match &duration {
        Some(duration) => span::checked("the duration", duration, scope.break_glass_max)?,
        None => scope.default_duration.min(scope.break_glass_max),
    };
    if let Some(overdue) = overdue(&owner, &scope, &who).filter(|_| scope.break_glass_block_overdue) {
        return Err(Refusal::wrong_state(format!(
            "request {overdue}, which you broke the glass for, has not been reviewed"
        ))
        .detail("Scope rules say that nobody breaks it again before that.")
        .hint(format!("Have an approver call jit_review({overdue}, ...), or ask with jit_request().")));
    }
    let taken_at = now();
    let review_due = taken_at.saturating_add(scope.review_within);
    // Nobody else sees it before, who changes the rules least of all.
    must_commit_before(taken_at.saturating_add(COMMIT_WITHIN));
    let grantee = who.actor.clone();
    let new = New { key, all_rows, grantee, reason, duration, starts_at: None, extends: None };
    let id = insert(&owner, &who, &scope, &new, taken_at, Some(review_due)).ok_or_else(|| {
        Refusal::wrong_state("the same is being asked for at this moment").hint("Try again.")
    })?;
    let changers: Vec<Oid> = changers.into_iter().flat_map(|changer| changer.person).collect();
    let window = grant::make(&owner, &Request::load(&owner, id)?, duration, &changers);
    let details = json!({
        "key": new.key, "all_rows": new.all_rows, "grantee": new.grantee.name, "reason": new.reason,
        "ends_at": timestamp_text(window.ends_at), "review_due": timestamp_text(review_due),
    });
    record(&owner, &who, Event { kind: "break-glass", request: Some(id), scope: &scope.name, details });
    Refusal::new(
        PgSqlErrorCode::ERRCODE_WARNING,
        format!(
            "jit_rls: \"{}\" has broken the glass of scope \"{}\", request {id}",
            who.actor.name, scope.name
        ),
    )
    .detail(format!(
        "Access until {}; to be reviewed until {}.",
        timestamp_text(window.ends_at),
        timestamp_text(review_due)
    ))
    .hint(format!("Give it back with jit_release({id}) when you are done."))
    .warn();
    Ok(id)
}

fn judge(
    fcinfo: pg_sys::FunctionCallInfo,
    id: Option<i64>,
    justified: Option<bool>,
    comment: Option<&str>,
) -> Outcome<()> {
    let who = begin(c"jit_review()")?;
    deliberate::check(fcinfo, c"jit_review")?;
    who.refuse_shared()?;
    let id = id.ok_or_else(|| null_argument("jit_review", "request"))?;
    let justified = justified.ok_or_else(|| null_argument("jit_review", "justified"))?;
    let comment = checked_text("a comment", comment)?;
    let owner = Owner::enter()?;
    let request = Request::load_locked(&owner, id)?;
    let (scope, dropped) = review::scope_of_record(&owner, &request)?;
    // To find it unjustified, they are as good as anybody whom it serves: see `review::may_approve`.
    let may = if justified { review::may_approve } else { review::may_deny };
    let by = review::logged(may(&request, &scope, &who), &request, &who, "review")?;
    if dropped {
        return Err(Refusal::wrong_state(format!("scope \"{}\" has been dropped", request.scope))
            .hint("Its rules, and its approvers, are no more: what is on record stays as it is."));
    }
    if justified {
        let changers = rule_change::lately(&owner, &scope.name);
        let allowed = rule_change::check(&changers, &who.person(), &scope.name, "justifies nothing");
        review::logged(allowed, &request, &who, "review")?;
    }
    if !request.break_glass {
        return Err(Refusal::wrong_state(format!("request {id} was not made by breaking the glass"))
            .hint("A request that is pending is decided with jit_approve() or jit_deny()."));
    }
    request.check_origin().map_err(|refusal| refusal.hint("It waits for no review here."))?;
    if request.reviewed {
        return Err(Refusal::wrong_state(format!("request {id} has been reviewed"))
            .hint("SELECT * FROM jit.pending_reviews shows what waits for one."));
    }
    owner.run("UPDATE jit_private.requests SET reviewed_at = clock_timestamp() WHERE id = $1", &[value(id)]);
    let decision = if justified { "justified" } else { "unjustified" };
    let review = Review { decision, stage: None, by: &by, comment: Some(&comment), duration: None };
    review::write_review(&owner, &who, id, &review);
    let details = json!({ "justified": justified, "comment": comment, "as": by.roles, "through": by.paths });
    record(&owner, &who, Event { kind: "reviewed", request: Some(id), scope: &scope.name, details });
    if !justified && ending::check_live(&owner, &request, Some(&scope)).is_ok() {
        ending::end(&owner, &who, &request, "revoked", Some(&comment));
    }
    Ok(())
}

/// Whether this session could review it. What `jit.pending_reviews` shows.
pub fn could_review(owner: &Owner, who: &Identity, id: i64) -> bool {
    let Ok(request) = Request::load(owner, id) else { return false };
    let Some(scope) = Scope::by_id(owner, request.scope_id) else { return false };
    request.break_glass
        && !request.reviewed
        && request.check_origin().is_ok()
        && who.refuse_shared().is_ok()
        && review::may_deny(&request, &scope, who).is_ok()
}

#[pg_extern(sql = false)]
fn jit_break_glass(
    scope: Option<&str>,
    reason: Option<&str>,
    key: Option<&str>,
    duration: Option<Interval>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> i64 {
    settle(break_glass(fcinfo, scope, reason, key, duration))
}

#[pg_extern(sql = false)]
fn jit_review(
    request: Option<i64>,
    justified: Option<bool>,
    comment: Option<&str>,
    fcinfo: pg_sys::FunctionCallInfo,
) {
    settle(judge(fcinfo, request, justified, comment));
}

//! Reviews: an approver's yes or no, and when enough people have said yes.

use pgrx::datum::Interval;
use pgrx::pg_sys::{self, Oid};
use pgrx::prelude::*;
use serde_json::json;

use super::args::{optional, roles, value};
use super::request::Request;
use super::rule_change::{self, Changer};
use super::rules::{Entitlement, Scope};
use super::stages::{Progress, Slot, Vote, progress_today};
use super::wish::checked_text;
use super::{begin, decision, deliberate, ending, span};
use crate::audit::events::{Event, record};
use crate::errors::{Outcome, Refusal, log, null_argument, settle};
use crate::identity::{self, Identity};
use crate::privileged::Owner;

/// A yes on record.
struct Yes {
    actor: String,
    person: Vec<Oid>,
    stage: u32,
    duration: Option<i64>,
}

fn yeses(owner: &Owner, request: i64) -> Vec<Yes> {
    owner.query(
        "SELECT v.actor, v.person, (extract(epoch FROM v.duration) * 1000000)::bigint, v.stage
           FROM jit_private.reviews v WHERE v.request_id = $1 AND v.decision = 'approve' ORDER BY v.at",
        &[value(request)],
        |row| Yes {
            actor: row.must(1),
            person: row.must(2),
            duration: row.get(3),
            stage: row.get::<i32>(4).and_then(|stage| u32::try_from(stage).ok()).unwrap_or(0),
        },
    )
}

/// Whether this session may say no to the request; by which of the approver roles.
pub fn may_deny(request: &Request, scope: &Scope, who: &Identity) -> Outcome<Entitlement> {
    let id = request.id;
    if let Some(shared) = who.person().iter().find(|role| request.person.contains(role)) {
        return Err(Refusal::not_allowed(format!("request {id} is your own"))
            .detail(format!(
                "You and the one who asked share the role \"{}\": nobody decides on their own request.",
                identity::role_name(*shared).unwrap_or_default()
            ))
            .hint("Ask somebody else who may approve it."));
    }
    let by = scope.entitles(who);
    if by.is_none() {
        let mut approvers: Vec<&str> = scope.slots.iter().map(|slot| slot.role.as_str()).collect();
        approvers.sort_unstable();
        approvers.dedup();
        let approvers = if approvers.is_empty() { "nobody".to_string() } else { approvers.join(", ") };
        // What a request is about is nothing for those who could not ask for it.
        let named = if scope.may_ask(&who.person()) {
            format!("Approvers of scope \"{}\" are: {approvers}.", scope.name)
        } else {
            "You are none of its approvers.".to_string()
        };
        return Err(Refusal::not_allowed(format!("you may not decide on request {id}"))
            .detail(format!(
                "{named} Login and acting role must both belong to one of them; being a superuser or an admin does not count."
            ))
            .hint("jit.pending and jit.pending_reviews show what you may decide; RESET ROLE if you have changed your role."));
    }
    Ok(by)
}

/// Whether this session may say yes to the request; by which of the approver roles. Whoever the grant
/// could serve may not, but they may say no: else a requester could choose her approvers, by
/// letting the others into the group that she asks for.
pub fn may_approve(request: &Request, scope: &Scope, who: &Identity) -> Outcome<Entitlement> {
    let by = may_deny(request, scope, who)?;
    if let Some(served) = who.person().iter().find(|role| identity::would_serve(**role, request.grantee.id)) {
        return Err(Refusal::not_allowed(format!("request {} could serve yourself", request.id))
            .detail(format!(
                "\"{}\" is a member of \"{}\", which the grant would serve; any kind of membership counts.",
                identity::role_name(*served).unwrap_or_default(),
                request.grantee.name
            ))
            .hint(format!(
                "Ask an approver who does not belong to that group; you can {}.",
                if request.break_glass { "review it as not justified" } else { "jit_deny() it" }
            )));
    }
    Ok(by)
}

/// Leaves a line in the server log about a try that was refused.
pub fn logged<T>(outcome: Outcome<T>, request: &Request, who: &Identity, what: &str) -> Outcome<T> {
    outcome.inspect_err(|_| {
        log(format!(
            "jit_rls: refused login \"{}\" acting as \"{}\" who tried to {what} request {} of \"{}\" for \"{}\"",
            who.login.name, who.actor.name, request.id, request.login.name, request.grantee.name
        ));
    })
}

/// Whether this session could say yes now. What `jit.pending` shows.
pub fn could_approve(owner: &Owner, who: &Identity, id: i64) -> bool {
    let Ok(request) = Request::load(owner, id) else { return false };
    let scope = Scope::by_id(owner, request.scope_id);
    if who.refuse_shared().is_err() || request.check_pending(scope.as_ref()).is_err() {
        return false;
    }
    let Some(scope) = scope else { return false };
    let yeses = yeses(owner, id);
    let slots = slots(&request, &scope);
    let changers = rule_change::lately(owner, &scope.name);
    let at = progress(&slots, &yeses, &request, &changers);
    may_approve(&request, &scope, who).is_ok()
        && check_still_grantable(owner, &request, &scope).is_ok()
        && (at.is_complete() || already(&yeses, who).is_none())
        && check_changers(&changers, &request, &scope, who).is_ok()
        && check_stage(&request, &slots, &at, who).is_ok()
}

/// What a pending request waits for, and until when.
pub fn waits_for(owner: &Owner, id: i64) -> Option<(i64, String)> {
    let request = Request::load(owner, id).ok()?;
    let scope = Scope::by_id(owner, request.scope_id)?;
    let slots = slots(&request, &scope);
    let changers = rule_change::lately(owner, &scope.name);
    let at = progress(&slots, &yeses(owner, id), &request, &changers);
    if at.is_complete() && at.stages > 0 {
        return Some((
            request.lapses_at,
            "pending: all have said yes; jit_approve() by any of them concludes it".to_owned(),
        ));
    }
    let names: Vec<String> = slots
        .iter()
        .filter(|slot| slot.stage == at.stage)
        .map(|slot| {
            let gone = if slot.role_id == 0 { ", which is no approver any more" } else { "" };
            format!("{} of {}{gone}", slot.people, slot.role)
        })
        .collect();
    let names = if names.is_empty() {
        "approvers, of whom the scope has none".to_owned()
    } else {
        names.join(" and ")
    };
    // Which slots the yeses fill can still change.
    let waits = match at.filled {
        0 => format!("it waits for {names}"),
        filled => format!("it waits for {} more; the rules ask for {names}", at.needed - filled),
    };
    Some((request.lapses_at, format!("{}; {waits}", at.text())))
}

fn already<'a>(yeses: &'a [Yes], who: &Identity) -> Option<&'a Yes> {
    let person = who.person();
    yeses.iter().find(|yes| yes.person.iter().any(|role| person.contains(role)))
}

/// What the request must meet: the stricter of the rules then and now.
fn slots(request: &Request, scope: &Scope) -> Vec<Slot> {
    match &request.frozen {
        Some(frozen) => scope.stricter_slots(frozen),
        // Rules that cannot be read are a slot that nobody fills.
        None => vec![Slot { stage: 1, role: String::new(), role_id: 0, people: 1 }],
    }
}

/// By the yeses that still stand: the giver still qualifies, would not be served, and has not changed the rules.
fn progress(slots: &[Slot], yeses: &[Yes], request: &Request, changers: &[Changer]) -> Progress {
    let has_changed_rules = |yes: &Yes| {
        changers.iter().any(|changer| yes.person.iter().any(|role| changer.person.contains(role)))
    };
    let votes: Vec<Vote> = yeses
        .iter()
        .filter(|yes| !yes.person.iter().any(|role| identity::would_serve(*role, request.grantee.id)))
        .filter(|yes| !has_changed_rules(yes))
        .map(|yes| Vote { stage: yes.stage, person: &yes.person })
        .collect();
    progress_today(slots, &votes)
}

/// Who has changed the rules lately neither approves nor is served.
fn check_changers(changers: &[Changer], request: &Request, scope: &Scope, who: &Identity) -> Outcome<()> {
    rule_change::check(changers, &who.person(), &scope.name, "does not approve")?;
    for served in [&request.person[..], &[request.grantee.id]] {
        rule_change::check(changers, served, &scope.name, "is served by nothing that is approved")?;
    }
    Ok(())
}

/// By which roles of the stage that the request has come to somebody may say yes.
fn check_stage(request: &Request, slots: &[Slot], at: &Progress, who: &Identity) -> Outcome<Entitlement> {
    let asked = || slots.iter().filter(|slot| slot.stage == at.stage);
    let by = Entitlement::of(who, asked());
    // With one stage there is no other to wait for; what keeps it from being met is told apart. All may be met: by somebody
    // who has come back to the role that they said yes in. Then it is anybody's turn.
    if by.is_none() && at.stages > 1 && !at.is_complete() {
        let names: Vec<&str> = asked().map(|slot| slot.role.as_str()).collect();
        return Err(Refusal::wrong_state(format!(
            "request {} waits for stage {} of {}",
            request.id, at.stage, at.stages
        ))
        .detail(format!("It is the turn of: {}. Yours is another stage.", names.join(", ")))
        .hint("jit.pending shows it once it is your turn; you can jit_deny() it now."));
    }
    Ok(by)
}

/// The rules have changed so that this request cannot be approved as it is.
fn check_still_grantable(owner: &Owner, request: &Request, scope: &Scope) -> Outcome<()> {
    let again = "Deny it; the requester can ask again.";
    let id = request.id;
    if let Some(extended) = request.extends {
        ending::check_live(owner, &Request::load(owner, extended)?, Some(scope))?;
    }
    if identity::role_name(request.grantee.id).is_none() {
        return Err(Refusal::wrong_state(format!("request {id} is for a role that does not exist any more"))
            .hint(again));
    }
    if request.all_rows && scope.key_type.is_some() && !scope.allow_all_rows {
        return Err(Refusal::wrong_state(format!(
            "request {id} asks for all rows, which scope \"{}\" does not give any more",
            scope.name
        ))
        .hint(again));
    }
    if !scope.may_ask(&request.person) || !scope.may_ask(&[request.grantee.id]) {
        return Err(Refusal::wrong_state(format!(
            "\"{}\" may not ask for scope \"{}\" any more",
            request.actor.name, scope.name
        ))
        .detail("The requesters of the scope, or memberships, have changed since.")
        .hint(again));
    }
    if !identity::qualifies(request.actor.id, request.grantee.id) {
        return Err(Refusal::wrong_state(format!(
            "\"{}\" does not belong to \"{}\" any more",
            request.actor.name, request.grantee.name
        ))
        .hint(again));
    }
    Ok(())
}

/// The scope of the request, and whether it has been dropped: then as it was, for who decided there to be told so, and others
/// not.
pub fn scope_of_record(owner: &Owner, request: &Request) -> Outcome<(Scope, bool)> {
    let live = Scope::by_id(owner, request.scope_id);
    let dropped = live.is_none();
    let scope = live.or_else(|| Scope::of_record(owner, request.scope_id));
    Ok((scope.ok_or_else(|| crate::errors::unknown_request(request.id))?, dropped))
}

/// The request, locked and pending, its scope, and the roles that entitle this session. Whoever is not
/// entitled learns nothing about the state.
fn decidable(
    owner: &Owner,
    who: &Identity,
    id: i64,
    what: &str,
    may: fn(&Request, &Scope, &Identity) -> Outcome<Entitlement>,
) -> Outcome<(Request, Scope, Entitlement)> {
    let request = Request::load_locked(owner, id)?;
    let (scope, dropped) = scope_of_record(owner, &request)?;
    let by = logged(may(&request, &scope, who), &request, who, what)?;
    request.check_pending(Some(&scope).filter(|_| !dropped))?;
    Ok((request, scope, by))
}

/// What goes on record.
pub struct Review<'a> {
    pub decision: &'static str,
    pub stage: Option<u32>,
    pub by: &'a Entitlement,
    pub comment: Option<&'a str>,
    pub duration: Option<i64>,
}

pub fn write_review(owner: &Owner, who: &Identity, request: i64, review: &Review<'_>) {
    let Review { decision, stage, by, comment, duration } = review;
    owner.run(
        "INSERT INTO jit_private.reviews (request_id, at, decision, login, login_id, actor, actor_id, person, stage, roles, paths,
                                          comment, duration)
         VALUES ($1, clock_timestamp(), $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12 * interval '1 microsecond')",
        &[
            value(request),
            value(*decision),
            value(who.login.name.as_str()),
            value(who.login.id),
            value(who.actor.name.as_str()),
            value(who.actor.id),
            roles(&who.person()),
            optional(stage.and_then(|stage| i32::try_from(stage).ok())),
            value(by.roles.clone()),
            value(by.paths.clone()),
            optional(*comment),
            optional(duration.map(|micros| micros as f64)),
        ],
    );
}

fn approve(
    fcinfo: pg_sys::FunctionCallInfo,
    id: Option<i64>,
    comment: Option<&str>,
    duration: Option<Interval>,
) -> Outcome<String> {
    let who = begin(c"jit_approve()")?;
    deliberate::check(fcinfo, c"jit_approve")?;
    who.refuse_shared()?;
    let id = id.ok_or_else(|| null_argument("jit_approve", "request"))?;
    let comment = comment.map(|comment| checked_text("a comment", Some(comment))).transpose()?;
    let owner = Owner::enter()?;
    let (request, scope, mut by) = decidable(&owner, &who, id, "approve", may_approve)?;
    let mut yeses = yeses(&owner, id);
    let changers = rule_change::lately(&owner, &scope.name);
    let slots = slots(&request, &scope);
    let stage = progress(&slots, &yeses, &request, &changers);
    // All slots can be filled without anybody's yes: by somebody who has come back to the role that they said yes in. Then
    // those who have said yes can have it concluded.
    let concludes = already(&yeses, &who).is_some();
    if concludes && !stage.is_complete() {
        return Err(Refusal::wrong_state(format!("you have approved request {id} already"))
            .hint("Another person has to say yes; nobody counts twice."));
    }
    let shortened = match &duration {
        None => None,
        Some(duration) => Some(span::checked("the approver's duration", duration, request.duration)?),
    };
    check_still_grantable(&owner, &request, &scope)?;
    logged(check_changers(&changers, &request, &scope, &who), &request, &who, "approve")?;
    let of_stage = check_stage(&request, &slots, &stage, &who)?;
    if !of_stage.is_none() {
        by = of_stage;
    }
    let review = Review {
        decision: "approve",
        stage: Some(stage.stage),
        by: &by,
        comment: comment.as_deref(),
        duration: shortened,
    };
    // Nobody counts twice.
    if !concludes {
        write_review(&owner, &who, id, &review);
        yeses.push(Yes {
            actor: who.actor.name.clone(),
            person: who.person(),
            stage: stage.stage,
            duration: shortened,
        });
    }

    let progress = progress(&slots, &yeses, &request, &changers);
    if !progress.is_complete() {
        decision::must_commit_soon(&request);
        let mut details = json!({
            "comment": comment, "as": by.roles, "through": by.paths, "filled": progress.filled, "needed": progress.needed,
            "duration": shortened.map(span::text),
        });
        if progress.stages > 1 {
            details["stage"] = json!(progress.stage);
            details["stages"] = json!(progress.stages);
        }
        record(&owner, &who, Event { kind: "approval", request: Some(id), scope: &scope.name, details });
        if let Some(gone) = slots.iter().find(|slot| slot.role_id == 0) {
            Refusal::wrong_state(format!("request {id} cannot be approved as it is"))
                .detail(format!(
                    "It was made under rules that ask for \"{}\", which is no approver any more.",
                    gone.role
                ))
                .hint("The requester can jit_cancel() it and ask again.")
                .warn();
        }
        return Ok(progress.text());
    }
    let duration =
        yeses.iter().filter_map(|yes| yes.duration).chain(shortened).fold(request.duration, i64::min);
    let approved_by: Vec<Oid> = yeses.iter().flat_map(|yes| yes.person.iter().copied()).collect();
    let names: Vec<&str> = yeses.iter().map(|yes| yes.actor.as_str()).collect();
    let details = json!({ "comment": comment, "as": by.roles, "through": by.paths, "approved_by": names });
    let approval = decision::Approval { by: &who.actor.name, duration, approved_by, changers, details };
    decision::approved(&owner, &who, &request, &scope, approval)?;
    Ok("approved".to_string())
}

fn deny(fcinfo: pg_sys::FunctionCallInfo, id: Option<i64>, reason: Option<&str>) -> Outcome<()> {
    let who = begin(c"jit_deny()")?;
    deliberate::check(fcinfo, c"jit_deny")?;
    who.refuse_shared()?;
    let id = id.ok_or_else(|| null_argument("jit_deny", "request"))?;
    let reason = checked_text("a reason", reason)?;
    let owner = Owner::enter()?;
    let (request, scope, by) = decidable(&owner, &who, id, "deny", may_deny)?;
    let review = Review { decision: "deny", stage: None, by: &by, comment: Some(&reason), duration: None };
    write_review(&owner, &who, id, &review);
    request.decide(&owner, &who.actor.name, "denied")?;
    let details = json!({ "reason": reason, "as": by.roles, "through": by.paths });
    record(&owner, &who, Event { kind: "denied", request: Some(id), scope: &scope.name, details });
    Ok(())
}

#[pg_extern(sql = false)]
fn jit_approve(
    request: Option<i64>,
    comment: Option<&str>,
    duration: Option<Interval>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> String {
    settle(approve(fcinfo, request, comment, duration))
}

#[pg_extern(sql = false)]
fn jit_deny(request: Option<i64>, reason: Option<&str>, fcinfo: pg_sys::FunctionCallInfo) {
    settle(deny(fcinfo, request, reason));
}

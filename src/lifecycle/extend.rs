//! Asking for more time: a request of its own, by whose approval the same grant gets longer.

use pgrx::datum::Interval;
use pgrx::pg_sys::{self, Oid};
use pgrx::prelude::*;

use super::args::{roles, timestamp, value};
use super::ask::submit;
use super::commit_in_time::must_commit_before;
use super::ending::check_live;
use super::request::{New, Request};
use super::rules::Scope;
use super::wish::{check_may_ask, checked_reason};
use super::{begin, deliberate, now, rule_change, span};
use crate::enforce::prompt;
use crate::errors::{Outcome, Refusal, null_argument, settle};
use crate::privileged::Owner;

pub struct Ends {
    pub before: i64,
    pub after: i64,
}

/// Moves the end of a live grant, by `duration`, though not beyond `most` after its start. Whoever has approved it is
/// not served by it any more.
pub fn lengthen(
    owner: &Owner,
    grant: i64,
    scope: &Scope,
    duration: i64,
    most: i64,
    approved_by: &[Oid],
) -> Outcome<Ends> {
    check_live(owner, &Request::load(owner, grant)?, Some(scope))?;
    let ends = owner.first(
        "WITH before AS (SELECT g.id, g.ends_at FROM jit_private.grants g WHERE g.id = $1 FOR NO KEY UPDATE)
         UPDATE jit_private.grants g
            SET ends_at = greatest(b.ends_at, least(b.ends_at + $2 * interval '1 microsecond',
                                                    g.starts_at + $3 * interval '1 microsecond')),
                approved_by = ARRAY (SELECT DISTINCT a FROM unnest(g.approved_by || $4) a ORDER BY a)
           FROM before b
          WHERE g.id = b.id AND b.ends_at > $5
         RETURNING b.ends_at, g.ends_at",
        &[value(grant), value(duration as f64), value(most as f64), roles(approved_by), timestamp(now())],
        |row| Ends { before: row.must(1), after: row.must(2) },
    );
    let ends = ends.ok_or_else(|| {
        Refusal::wrong_state(format!("the grant of request {grant} has ended"))
            .hint("Ask for a new one with jit_request().")
    })?;
    if ends.after <= ends.before {
        return Err(Refusal::wrong_state(format!("the grant of request {grant} cannot get any longer"))
            .detail(format!("It may last {} altogether.", span::text(most)))
            .hint("Ask for a new one with jit_request(), once it has ended."));
    }
    must_commit_before(ends.before);
    prompt::lengthened(grant, ends.after);
    Ok(ends)
}

fn extend(
    fcinfo: pg_sys::FunctionCallInfo,
    id: Option<i64>,
    duration: Option<Interval>,
    reason: Option<&str>,
) -> Outcome<i64> {
    let who = begin(c"jit_extend()")?;
    let call = deliberate::how_called(fcinfo, c"jit_extend");
    who.refuse_shared()?;
    let id = id.ok_or_else(|| null_argument("jit_extend", "request"))?;
    let duration = duration.ok_or_else(|| null_argument("jit_extend", "duration"))?;
    let owner = Owner::enter()?;
    let request = Request::load(&owner, id)?;
    if !request.is_of(&who) {
        return Err(Refusal::not_allowed(format!("request {id} is not yours")).hint(
            "SELECT id FROM jit.my_grants lists what serves you; only who asked can ask for more time.",
        ));
    }
    if let Some(extended) = request.extends {
        return Err(Refusal::wrong_state(format!(
            "request {id} has lengthened the grant of request {extended}"
        ))
        .hint(format!("Write jit_extend({extended}, ...).")));
    }
    if request.break_glass {
        return Err(Refusal::wrong_state(format!("request {id} was made by breaking the glass"))
            .detail("Such access does not get longer.")
            .hint("Ask in the ordinary way with jit_request()."));
    }
    let scope = Scope::by_id(&owner, request.scope_id);
    check_live(&owner, &request, scope.as_ref())?;
    let Some(scope) = scope else { return Err(crate::errors::unknown_request(id)) };
    rule_change::check(
        &rule_change::lately(&owner, &scope.name),
        &who.person(),
        &scope.name,
        "does not ask",
    )?;
    check_may_ask(&scope, &who, &request.grantee)?;
    let reason = checked_reason(&owner, &scope, reason)?;
    let duration = span::checked("the duration", &duration, scope.max_duration)?;
    let lasts = owner.first(
        "SELECT (extract(epoch FROM g.ends_at - g.starts_at) * 1000000)::bigint FROM jit_private.grants g WHERE g.id = $1",
        &[value(id)],
        |row| row.must::<i64>(1),
    );
    let left = scope.max_total().saturating_sub(lasts.unwrap_or(i64::MAX));
    if duration > left {
        return Err(Refusal::bad_value(format!(
            "the grant of request {id} may last {} altogether",
            span::text(scope.max_total())
        ))
        .detail(format!("{} of that are left.", span::text(left.max(0))))
        .hint(if left > 0 {
            format!("Ask for '{}' at most.", span::text(left))
        } else {
            "Ask for a new grant with jit_request(), once this one has ended.".to_owned()
        }));
    }
    let new = New {
        key: request.key,
        all_rows: request.all_rows,
        grantee: request.grantee,
        reason,
        duration,
        starts_at: None,
        extends: Some(id),
    };
    submit(owner, &who, &scope, new, call)
}

#[pg_extern(sql = false)]
fn jit_extend(
    request: Option<i64>,
    duration: Option<Interval>,
    reason: Option<&str>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> i64 {
    settle(extend(fcinfo, request, duration, reason))
}

//! How much one may ask for and hold: against flooding, not against work.

use pgrx::pg_sys::Oid;

use super::args::{optional, roles, timestamp, value};
use super::now;
use super::rules::Scope;
use crate::check::clock::timestamp_text;
use crate::errors::{Outcome, Refusal};
use crate::privileged::Owner;

/// Somebody's wish, as far as limits go.
pub struct Wish<'a> {
    pub person: &'a [Oid],
    pub key: Option<&'a str>,
    pub all_rows: bool,
}

/// An error when the person has too much pending in the scope, or has been told no a moment ago.
pub fn check_asking(owner: &Owner, scope: &Scope, wish: &Wish<'_>) -> Outcome<()> {
    // Counts no further than to the limit. One look for each role of the person: where nothing is known of the table, the planner
    // would rather walk over all requests of the scope than look for several roles at once.
    let (pending, denied) = owner
        .first(
            "SELECT (SELECT count(*)
                       FROM (SELECT FROM unnest($1) p (role)
                              CROSS JOIN LATERAL (
                                  SELECT FROM jit_private.requests r
                                   WHERE r.person[1] = p.role AND r.scope_id = $2 AND r.state = 'pending' AND r.person <> '{}'
                                     AND r.lapses_at > $3 AND r.epoch = $4 OFFSET 0) r
                              LIMIT $5) q),
                    (SELECT max(r.decided_at)
                       FROM unnest($1) p (role)
                      CROSS JOIN LATERAL (
                          SELECT r.decided_at FROM jit_private.requests r
                           WHERE r.person[1] = p.role AND r.scope_id = $2 AND r.state = 'denied'
                             AND r.decided_at > $3 - $6 * interval '1 microsecond'
                             AND r.key IS NOT DISTINCT FROM $7 AND r.all_rows = $8 OFFSET 0) r)",
            &[
                roles(wish.person),
                value(scope.id),
                timestamp(now()),
                value(scope.epoch),
                value(scope.max_pending),
                value(scope.denial_pause as f64),
                optional(wish.key),
                value(wish.all_rows),
            ],
            |row| (row.must::<i64>(1), row.get::<i64>(2)),
        )
        .unwrap_or((0, None));
    if let Some(denied) = denied {
        return Err(Refusal::wrong_state("this has been denied a moment ago")
            .detail(format!("At {}.", timestamp_text(denied)))
            .hint(format!(
                "Talk to who said no. The same can be asked for again at {}.",
                timestamp_text(denied.saturating_add(scope.denial_pause))
            )));
    }
    if pending >= i64::from(scope.max_pending) {
        return Err(Refusal::wrong_state(format!("you have {pending} requests pending in scope \"{}\"", scope.name))
            .detail("More are not taken.")
            .hint("Wait for decisions, or take some back with jit_cancel(): SELECT id FROM jit.my_requests. An admin can raise max_pending."));
    }
    Ok(())
}

/// The grants of `$1` in scope `$2`, no further than to the limit. Those that have ended are among them until they are tidied
/// away; and to leave them out costs more than all the rest of asking does. Not by the index on scope_id, hence the sum: what
/// one role holds is less.
macro_rules! held {
    ($but_for:literal) => {
        concat!(
            "SELECT count(*) FROM (SELECT FROM jit_private.grants g
              WHERE g.grantee_id = $1 AND g.scope_id + 0 = $2 AND g.tidied_at IS NULL AND g.ends_at > $3 AND g.epoch = $4 ",
            $but_for,
            " LIMIT $5) q"
        )
    };
}

const HELD: &str = held!("");
const HELD_AND_NOT_ENDED: &str =
    held!("AND NOT EXISTS (SELECT FROM jit_private.endings e WHERE e.grant_id = g.id)");

/// An error when the grantee holds too many grants of the scope, scheduled ones included.
pub fn check_holding(owner: &Owner, scope: &Scope, grantee: Oid) -> Outcome<()> {
    let limit = i64::from(scope.max_grants);
    let count = |sql| {
        let arguments =
            [value(grantee), value(scope.id), timestamp(now()), value(scope.epoch), value(scope.max_grants)];
        owner.first(sql, &arguments, |row| row.must::<i64>(1)).unwrap_or(0)
    };
    if count(HELD) < limit {
        return Ok(());
    }
    let held = count(HELD_AND_NOT_ENDED);
    if held < limit {
        return Ok(());
    }
    Err(Refusal::wrong_state(format!("{held} grants of scope \"{}\" serve that role already", scope.name))
        .detail("More are not given.")
        .hint(
            "Give some back with jit_release(): SELECT id FROM jit.my_grants. An admin can raise max_grants.",
        ))
}

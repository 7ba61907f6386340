//! Who changes the rules of a scope has no part in what is asked for there for a while: rules that are weakened for a
//! minute serve nobody who weakened them.

use pgrx::pg_sys::Oid;

use super::args::{roles, timestamp, value};
use super::commit_in_time::{COMMIT_WITHIN, must_commit_before};
use super::now;
use crate::check::clock::timestamp_text;
use crate::errors::{Outcome, Refusal};
use crate::identity::{self, Identity};
use crate::privileged::Owner;

/// Notes it, for as long as a request may have been pending under the rules of before or may be under the new ones.
pub fn note(owner: &Owner, who: &Identity, scope: &str, longest_pending: i64) {
    let at = now();
    owner.run(
        "INSERT INTO jit_private.rule_changes (scope, at, until, person) VALUES ($1, $2, $3, $4)",
        &[
            value(scope),
            timestamp(at),
            timestamp(at.saturating_add(longest_pending).saturating_add(COMMIT_WITHIN)),
            roles(&[who.login.id, who.actor.id]),
        ],
    );
    // Nobody else sees the note before.
    must_commit_before(at.saturating_add(COMMIT_WITHIN));
}

/// What has been approved and starts later does not serve who changes the rules before it does.
pub fn exclude_from_scheduled(owner: &Owner, who: &Identity, scope: i32) {
    let person = who.person();
    owner.run(
        "UPDATE jit_private.grants g SET approved_by = ARRAY (SELECT DISTINCT a FROM unnest(g.approved_by || $2) a ORDER BY a)
          WHERE g.scope_id = $1 AND g.asked_by IS NOT NULL AND g.tidied_at IS NULL",
        &[value(scope), roles(&person)],
    );
}

/// Whether there was a scope of that name before: to make it anew is to change its rules.
pub fn has_existed(owner: &Owner, scope: &str) -> bool {
    owner
        .first("SELECT true FROM jit_private.scopes s WHERE s.name = $1 LIMIT 1", &[value(scope)], |row| {
            row.must::<bool>(1)
        })
        .unwrap_or(false)
}

/// One who has changed the rules lately.
pub struct Changer {
    pub person: Vec<Oid>,
    until: i64,
}

/// All of them.
pub fn lately(owner: &Owner, scope: &str) -> Vec<Changer> {
    let mut found = owner.query(
        "SELECT c.person, max(c.until) FROM jit_private.rule_changes c WHERE c.scope = $1 AND c.until > $2 GROUP BY c.person",
        &[value(scope), timestamp(now())],
        |row| Changer { person: row.must(1), until: row.must(2) },
    );
    // A shared login is nobody.
    for changer in &mut found {
        changer.person.retain(|role| !identity::is_shared_login(*role));
    }
    found
}

/// An error if one of them is the person.
pub fn check(changers: &[Changer], person: &[Oid], scope: &str, what: &str) -> Outcome<()> {
    let Some((changer, role)) = changers.iter().find_map(|changer| {
        changer.person.iter().find(|role| person.contains(role)).map(|role| (changer, role))
    }) else {
        return Ok(());
    };
    Err(Refusal::not_allowed(format!("\"{}\" has changed the rules of scope \"{scope}\"", name(*role)))
        .detail(format!("Who has done so {what} there until {}.", timestamp_text(changer.until)))
        .hint("Let somebody else ask or decide; rules are for those who did not make them."))
}

fn name(role: Oid) -> String {
    identity::role_name(role).unwrap_or_default()
}

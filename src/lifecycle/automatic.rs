//! What functions of the rules decide: one that may refuse a request, and one that may approve it in the place of people.

use pgrx::pg_sys::Oid;
use serde_json::json;

use super::args::value;
use super::decision;
use super::deliberate::Call;
use super::pinned::{Answer, Pinned};
use super::request::Request;
use super::rule_change;
use super::rules::Scope;
use crate::audit::events::{Event, record};
use crate::errors::{Outcome, Refusal, shown_up_to};
use crate::identity::{self, Identity};
use crate::privileged::Owner;

/// Longest message of a function that is passed on.
const LONGEST_MESSAGE: usize = 500;

/// An error unless the scope's function, if it has one, lets the request pass. A function that cannot be asked does not.
pub fn validate(owner: Owner, scope: &Scope, request: i64) -> Outcome<Owner> {
    let Some(pinned) = &scope.validate else { return Ok(owner) };
    let (owner, answer) = pinned.ask::<String>(owner, request)?;
    let cannot = |why: String| {
        Refusal::wrong_state(format!("the requests of scope \"{}\" cannot be checked now", scope.name))
            .detail(why)
            .hint("An admin can mend the function, and name it again with jit.alter_scope().")
    };
    match answer {
        Answer::Nothing => Ok(owner),
        Answer::Said(message) => Err(Refusal::bad_value(shown_up_to(LONGEST_MESSAGE, &message))
            .detail(format!(
                "So says {}, which checks the requests of scope \"{}\".",
                pinned.function, scope.name
            ))
            .hint("Ask again once that is settled.")),
        Answer::Failed(message) => {
            Err(cannot(format!("{} failed: {}", pinned.function, shown_up_to(LONGEST_MESSAGE, &message))))
        }
        Answer::Changed => Err(cannot(changed(pinned))),
        Answer::Unasked(why) => Err(Refusal::wrong_state(format!(
            "the requests of scope \"{}\" cannot be checked here",
            scope.name
        ))
        .detail(format!("{} is not asked: {why}.", pinned.function))
        .hint("Ask in a new session, in a transaction of its own, READ COMMITTED.")),
    }
}

fn changed(pinned: &Pinned) -> String {
    format!("{} is not the function of {} that was named in the rules.", pinned.function, pinned.owner)
}

/// Approves the request if the scope's function says so. In every other case it waits for people.
///
/// To ask is to decide then: whoever gets somebody to read a view of theirs must not get them a grant by it. See
/// `super::deliberate`.
pub fn approve(
    owner: Owner,
    who: &Identity,
    scope: &Scope,
    request: i64,
    call: Call,
) -> Outcome<(Owner, bool)> {
    let Some(pinned) = &scope.auto_approve else { return Ok((owner, false)) };
    let deliberate = match call {
        Call::Deliberate => true,
        Call::Indirect => false,
        Call::Unseen(refusal) => return Err(refusal),
    };
    let request = Request::load(&owner, request)?;
    // Whoever can become its owner could have written it.
    let writers = members(&owner, pinned.owner_id());
    let serves_writer = writers
        .iter()
        .any(|writer| request.person.contains(writer) || identity::would_serve(*writer, request.grantee.id));
    let (owner, answer) = if !deliberate {
        (owner, Err("It was not asked: the request was made inside a view, function, trigger or the like, and not by the client's own statement.".to_owned()))
    } else if serves_writer {
        (owner, Err("It would serve the owner of the function.".to_owned()))
    } else {
        let (owner, answer) = pinned.ask::<bool>(owner, request.id)?;
        let answer = match answer {
            Answer::Said(yes) => Ok(yes),
            Answer::Nothing => Err("It returned NULL.".to_owned()),
            Answer::Failed(message) => Err(format!("It failed: {}", shown_up_to(LONGEST_MESSAGE, &message))),
            Answer::Changed => Err(changed(pinned)),
            Answer::Unasked(why) => Err(format!("It was not asked: {why}.")),
        };
        (owner, answer)
    };
    match answer {
        Ok(false) => Ok((owner, false)),
        Ok(true) => {
            let decision = decision::Approval {
                by: &pinned.function,
                duration: request.duration,
                approved_by: writers,
                changers: rule_change::lately(&owner, &scope.name),
                details: json!({ "automatic": pinned.function, "owner": pinned.owner }),
            };
            decision::approved(&owner, who, &request, scope, decision)?;
            Ok((owner, true))
        }
        Err(why) => {
            let details = json!({ "automatic": pinned.function, "why": why });
            let event =
                Event { kind: "left to people", request: Some(request.id), scope: &scope.name, details };
            record(&owner, who, event);
            Ok((owner, false))
        }
    }
}

/// The role, and whoever belongs to it in any way; superusers, who belong everywhere, only where they are named.
fn members(owner: &Owner, role: Oid) -> Vec<Oid> {
    owner.query(
        "WITH RECURSIVE belongs (role) AS (
             SELECT $1 UNION SELECT m.member FROM pg_auth_members m JOIN belongs b ON m.roleid = b.role)
         SELECT b.role FROM belongs b",
        &[value(role)],
        |row| row.must(1),
    )
}

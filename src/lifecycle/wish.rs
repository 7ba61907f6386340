//! What can be asked for: whether reason, grantee, rows and start of a request are such that it can be put on record.

use pgrx::pg_sys::Oid;

use super::args::value;
use super::rules::Scope;
use super::span;
use crate::errors::{Outcome, Refusal};
use crate::identity::{self, Identity, Role};
use crate::privileged::Owner;

/// Longest reason or comment, in bytes.
const LONGEST_REASON: usize = 4_096;

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

/// A reason of the form that the scope asks for.
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
pub fn checked_grantee(scope: &Scope, who: &Identity, grantee: Option<Oid>) -> Outcome<Role> {
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

/// An error unless it lies ahead, by `max_ahead` at most. Microseconds.
pub fn check_start(starts_at: i64, now: i64, max_ahead: i64) -> Outcome<()> {
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

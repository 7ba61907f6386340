//! Functions that an admin names in a scope's rules: pinned when they are named, and run as their owner.
//!
//! Whoever may replace the function, or take it over, could else change the rules without leaving an event.

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::panic::{CaughtError, ErrorReportWithLevel};
use pgrx::pg_sys::{self, Oid};
use pgrx::prelude::*;
use serde::{Deserialize, Serialize};

use super::args::value;
use crate::errors::{Outcome, Refusal, shown};
use crate::identity::Identity;
use crate::privileged::{Owner, Restricted};

/// What is kept of a function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pinned {
    /// `schema.name`
    pub function: String,
    pub owner: String,
    owner_id: u32,
    /// SHA-256 of its definition.
    hash: String,
}

/// What came of asking it.
pub enum Answer<T> {
    Said(T),
    /// NULL
    Nothing,
    Failed(String),
    /// It is not the function that was named.
    Changed,
    /// What it would see might be of the asker's making.
    Unasked(&'static str),
}

/// The function of that name for one argument, a request.
const FIND: &str = "
SELECT p.proowner, r.rolname::text, p.prorettype, l.lanpltrusted AND p.prokind = 'f' AND NOT p.proretset,
       encode(sha256(convert_to(pg_get_functiondef(p.oid), 'UTF8')), 'hex'), pg_has_role($2, p.proowner, 'USAGE'),
       format('%s %s %s', p.oid, p.xmin, p.ctid),
       NOT EXISTS (SELECT FROM unnest(p.proconfig) c
                    WHERE c ~ '^search_path=' AND c !~ '^search_path=(.*, *)?[\x22]?pg_temp[\x22]?$')
  FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner JOIN pg_language l ON l.oid = p.prolang
 WHERE p.oid = to_regprocedure($1 || '(jit.requests)') AND p.prokind = 'f'";

struct Found {
    pinned: Pinned,
    result: Oid,
    suits: bool,
    is_theirs: bool,
    /// Of the row in pg_proc: another one, were it to say the same again.
    version: String,
    is_safe_from_temporary: bool,
}

fn find(owner: &Owner, function: &str, who: Oid) -> Option<Found> {
    owner.first(FIND, &[value(function), value(who)], |row| Found {
        pinned: Pinned {
            function: function.to_string(),
            owner: row.must(2),
            owner_id: row.must::<Oid>(1).to_u32(),
            hash: row.must(5),
        },
        result: row.must(3),
        suits: row.must(4),
        is_theirs: row.must(6),
        version: row.must(7),
        is_safe_from_temporary: row.must(8),
    })
}

/// `schema.name`, of characters that need no quotes: what is pinned is what is called.
fn is_plain(name: &str) -> bool {
    let word = |word: &str| {
        word.len() < 64
            && word.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    name.split_once('.').is_some_and(|(schema, name)| word(schema) && word(name))
}

/// Pins the function that an admin names.
pub fn pin(owner: &Owner, who: &Identity, option: &str, name: &str, result: Oid) -> Outcome<Pinned> {
    let wrong = || Refusal::bad_value(format!("wrong option \"{option}\""));
    let returns = if result == pg_sys::BOOLOID { "boolean" } else { "text" };
    let write = format!(
        "Write a function {name}(jit.requests) RETURNS {returns}, in SQL or PL/pgSQL.",
        name = shown(name)
    );
    if !is_plain(name) {
        return Err(wrong()
            .detail(format!("\"{}\" is not the name of a function as it is wanted here.", shown(name)))
            .hint("Write schema.name, in lower case and without arguments."));
    }
    let Some(found) = find(owner, name, who.actor.id) else {
        return Err(Refusal::unknown(format!("wrong option \"{option}\""))
            .detail(format!("There is no function {}(jit.requests).", shown(name)))
            .hint(write));
    };
    if !found.suits || found.result != result {
        return Err(wrong().detail(format!("{}(jit.requests) is of another kind.", shown(name))).hint(write));
    }
    if !found.is_safe_from_temporary {
        return Err(wrong()
            .detail(format!(
                "{}(jit.requests) sets a search_path in which temporary objects come first.",
                shown(name)
            ))
            .hint("Let it end with pg_temp, or leave it out: it is pg_catalog, pg_temp then."));
    }
    if !found.is_theirs {
        return Err(Refusal::not_allowed(format!("wrong option \"{option}\""))
            .detail(format!(
                "{}(jit.requests) is {}'s, as whom it would run.",
                shown(name),
                found.pinned.owner
            ))
            .hint("Its owner, or a member of that role, can name it."));
    }
    Ok(found.pinned)
}

/// How old a transaction may be in which it is asked, in microseconds: its now() is the transaction's start.
const OLDEST: i64 = 60_000_000;

/// Why a function cannot be asked in this session, or transaction.
fn unfit() -> Option<&'static str> {
    // SAFETY: all of them read the state of the session.
    unsafe {
        let mut namespace = Oid::INVALID;
        let mut toast = Oid::INVALID;
        pg_sys::GetTempNamespaceState(&mut namespace, &mut toast);
        if namespace != Oid::INVALID {
            return Some(
                "the session has had temporary objects, which the function could mistake for others",
            );
        }
        if pg_sys::XactIsoLevel as u32 >= pg_sys::XACT_REPEATABLE_READ {
            return Some("the transaction sees the past, by its isolation level");
        }
        if pg_sys::GetCurrentTransactionStartTimestamp() < super::now() - OLDEST {
            return Some("the transaction has been open for more than a minute, and its now() is as old");
        }
    }
    None
}

impl Pinned {
    pub fn read(json: pgrx::JsonB) -> Option<Self> {
        // One that cannot be read matches no function.
        let unreadable =
            || Pinned { function: "?".into(), owner: "?".into(), owner_id: 0, hash: String::new() };
        (!json.0.is_null()).then(|| serde_json::from_value(json.0).unwrap_or_else(|_| unreadable()))
    }

    pub fn owner_id(&self) -> Oid {
        Oid::from_u32(self.owner_id)
    }

    /// Asks it about a request. Takes the guard, and gives a new one back: it does not run as the owner of our tables.
    pub fn ask<T: FromDatum + IntoDatum>(&self, guard: Owner, request: i64) -> Outcome<(Owner, Answer<T>)> {
        if let Some(why) = unfit() {
            return Ok((guard, Answer::Unasked(why)));
        }
        let version = |guard: &Owner| {
            find(guard, &self.function, self.owner_id())
                .filter(|found| found.pinned == *self)
                .map(|found| found.version)
        };
        let before = version(&guard);
        let row = guard
            .first("SELECT to_jsonb(q) FROM jit.requests q WHERE q.id = $1", &[value(request)], |row| {
                row.must::<pgrx::JsonB>(1)
            })
            .filter(|_| before.is_some());
        let Some(row) = row else { return Ok((guard, Answer::Changed)) };
        drop(guard);
        let said = self.call(row);
        let guard = Owner::enter()?;
        // Between the look and the call it may have been another, which has been put back since.
        if version(&guard) != before {
            return Ok((guard, Answer::Changed));
        }
        let answer = match said {
            Ok(Some(said)) => Answer::Said(said),
            Ok(None) => Answer::Nothing,
            Err(message) => Answer::Failed(message),
        };
        Ok((guard, answer))
    }

    /// In a subtransaction, so that its error is an answer. A cancel is not.
    fn call<T: FromDatum + IntoDatum>(&self, row: pgrx::JsonB) -> Result<Option<T>, String> {
        let call = format!("SELECT {}(jsonb_populate_record(NULL::jit.requests, $1))", self.function);
        // SAFETY: as pl_exec.c does it: context and resource owner are put back on both ways out.
        unsafe {
            let context = pg_sys::CurrentMemoryContext;
            let resources = pg_sys::CurrentResourceOwner;
            let back = move || {
                pg_sys::MemoryContextSwitchTo(context);
                pg_sys::CurrentResourceOwner = resources;
            };
            pg_sys::BeginInternalSubTransaction(std::ptr::null());
            pg_sys::MemoryContextSwitchTo(context);
            PgTryBuilder::new(std::panic::AssertUnwindSafe(|| {
                let said = {
                    let _as_its_owner = Restricted::enter(self.owner_id());
                    Spi::connect_mut(|client| {
                        let row: [DatumWithOid; 1] = [value(row)];
                        client.update(&call, Some(1), &row)?.first().get_one::<T>()
                    })
                };
                pg_sys::ReleaseCurrentSubTransaction();
                back();
                said.map_err(|error| error.to_string())
            }))
            .catch_others(|error| {
                let report: &ErrorReportWithLevel = match &error {
                    CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) => report,
                    CaughtError::RustPanic { ereport, .. } => ereport,
                };
                let stops = matches!(
                    report.sql_error_code(),
                    PgSqlErrorCode::ERRCODE_QUERY_CANCELED | PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN
                );
                let message = report.message().to_owned();
                pg_sys::MemoryContextSwitchTo(context);
                pg_sys::RollbackAndReleaseCurrentSubTransaction();
                back();
                if stops {
                    error.rethrow();
                }
                Err(message)
            })
            .execute()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_plain;

    #[test]
    fn names_that_need_no_quotes() {
        assert!(is_plain("app.on_call") && is_plain("_a.b2"));
        for bad in ["", "f", "a.b.c", "A.b", "a.b()", "a.b; DROP", "a.\"b\"", "1.a", "a. b", "é.a"] {
            assert!(!is_plain(bad), "{bad}");
        }
    }
}

//! What somebody is told whose transaction has used a grant that has ended.

use pgrx::PgSqlErrorCode;

use super::layout;
use super::scan::{Snapshot, Table};
use crate::errors::{Refusal, settle};
use crate::privileged::Owner;

/// Whether nobody but the transaction at hand, which may still roll back, has ended the grant.
pub fn by_this_transaction_only(grant: i64) -> bool {
    let Some(layout) = layout::current() else { return false };
    let Some(endings) = Table::open(layout.endings.table).filter(|_| layout.is_current()) else {
        return false;
    };
    let snapshot = Snapshot::take(&endings);
    let mut scan = endings.find_int8(&snapshot, &layout.endings.by_grant, grant);
    let mut by_us = false;
    while let Some(row) = scan.next() {
        if !row.is_our_own() {
            return false;
        }
        by_us = true;
    }
    by_us
}

/// A grant and how it ended.
struct Ended {
    scope: String,
    key: Option<String>,
    /// Not for a scope without keys, where nothing else can be asked for.
    all_rows: bool,
    /// None: nobody has put an ending on record.
    how: Option<String>,
    by: Option<String>,
    at: Option<String>,
    expired: bool,
}

const FIND: &str = "
    SELECT g.scope, g.key, g.all_rows AND s.key_type IS NOT NULL, e.kind, e.actor,
           to_char(coalesce(e.at, g.ends_at), 'YYYY-MM-DD HH24:MI:SS.MS') || ' UTC',
           g.ends_at <= clock_timestamp()
    FROM jit_private.grants g
    JOIN jit_private.scopes s ON s.id = g.scope_id
    LEFT JOIN LATERAL (SELECT n.kind, n.actor, n.at FROM jit_private.endings n WHERE n.grant_id = g.id
                       ORDER BY n.at LIMIT 1) e ON true
    WHERE g.id = $1";

/// Raises 57014, which `EXCEPTION WHEN OTHERS` of PL/pgSQL does not catch.
pub fn refuse(grant: i64) -> ! {
    let found = {
        let owner = settle(Owner::enter());
        owner.first(FIND, &[grant.into()], |row| Ended {
            scope: row.must(1),
            key: row.get(2),
            all_rows: row.must(3),
            how: row.get(4),
            by: row.get(5),
            at: row.get(6),
            expired: row.must(7),
        })
    };
    refusal(grant, found.as_ref()).raise()
}

fn refusal(grant: i64, ended: Option<&Ended>) -> Refusal {
    const NOTHING_MORE: &str = "This transaction has used it and cannot run anything more.";
    let Some(ended) = ended else {
        return cancelled(format!("access through request {grant} has ended"))
            .detail(NOTHING_MORE)
            .hint("ROLLBACK, then ask again with jit_request().");
    };
    let at = ended.at.as_deref().unwrap_or("an unknown time");
    let how = match (ended.how.as_deref(), ended.by.as_deref()) {
        (Some("expired"), _) => format!("It expired at {at}."),
        (Some("scope disabled" | "scope dropped"), Some(by)) => format!("{by} stopped the scope at {at}."),
        (Some(how), Some(by)) => format!("It was {how} by {by} at {at}."),
        (Some(how), None) => format!("It was {how} at {at}."),
        (None, _) if ended.expired => format!("It expired at {at}."),
        (None, _) => "The role that acts here is served by it no more.".to_owned(),
    };
    let key = match &ended.key {
        Some(key) => format!(", key => '{}'", key.replace('\'', "''")),
        None if ended.all_rows => ", all_rows => true".to_owned(),
        None => String::new(),
    };
    let scope = &ended.scope;
    cancelled(format!("access to scope \"{scope}\" through request {grant} has ended"))
        .detail(format!("{how} {NOTHING_MORE}"))
        .hint(format!("ROLLBACK, then ask again: SELECT jit_request('{scope}', 'why'{key});"))
}

fn cancelled(message: String) -> Refusal {
    Refusal::new(PgSqlErrorCode::ERRCODE_QUERY_CANCELED, message)
}

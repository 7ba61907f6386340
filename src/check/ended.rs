//! What somebody is told whose transaction has used a grant that has ended.

use pgrx::PgSqlErrorCode;
use pgrx::datum::{TimestampWithTimeZone, ToIsoString};
use pgrx::pg_sys::{self, Oid};

use super::arguments::Text;
use super::clock::{self, timestamp_text};
use super::scan::{Snapshot, Table};
use super::{layout, replica, uses};
use crate::errors::{Refusal, settle};
use crate::identity;
use crate::lifecycle::options::OnEnd;
use crate::privileged::Owner;

/// An ending that has committed.
struct Ending {
    at: i64,
    kind: String,
    by: Option<String>,
}

/// The earliest ending that counts for everybody, and whether the transaction at hand, which may
/// still roll back, has made one.
fn endings(grant: i64) -> (Option<Ending>, bool) {
    let Some(layout) = layout::current() else { return (None, false) };
    let Some(table) = Table::open(layout.endings.table).filter(|_| layout.is_current()) else {
        return (None, false);
    };
    let columns = &layout.endings;
    let text = |text: Text| String::from_utf8_lossy(text.bytes()).into_owned();
    let snapshot = Snapshot::take(&table);
    let mut scan = table.find_int8(&snapshot, &columns.by_grant, grant);
    let mut earliest: Option<Ending> = None;
    let mut our_own = false;
    while let Some(row) = scan.next() {
        if row.is_our_own() {
            our_own = true;
            continue;
        }
        let Some(at) = row.get(&columns.at) else { continue };
        if earliest.as_ref().is_none_or(|ending| at < ending.at) {
            let kind = row.get(&columns.kind).map(text).unwrap_or_default();
            earliest = Some(Ending { at, kind, by: row.get(&columns.actor).map(text) });
        }
    }
    (earliest, our_own)
}

/// Whether nothing but the transaction at hand keeps the grant from serving the actor.
pub fn by_this_transaction_only(grant: i64, actor: Oid) -> bool {
    let (ending, our_own) = endings(grant);
    our_own && ending.is_none() && is_inherited(grant, actor)
}

/// Whether the grant is made to the actor, or to a role that it still inherits.
fn is_inherited(grant: i64, actor: Oid) -> bool {
    let Some(layout) = layout::current() else { return false };
    let Some(table) = Table::open(layout.grants.table).filter(|_| layout.is_current()) else { return false };
    let snapshot = Snapshot::take(&table);
    let mut scan = table.find_int8(&snapshot, &layout.grants.by_id, grant);
    let grantee = scan.next().and_then(|row| row.get(&layout.grants.grantee_id));
    grantee.is_some_and(|grantee| identity::inherited_roles(actor).contains(&grantee))
}

/// A grant that serves no more.
struct Ended {
    scope: String,
    key: Option<String>,
    /// Not for a scope without keys, where nothing else can be asked for.
    all_rows: bool,
    ends_at: TimestampWithTimeZone,
    /// None: nobody has put an ending on record.
    ending: Option<Ending>,
    expired: bool,
    /// Whether the scope can be asked for.
    live: bool,
    /// The scope's option.
    on_end: String,
}

const FIND: &str = "
    SELECT g.scope, g.key, g.all_rows AND s.key_type IS NOT NULL, g.ends_at, g.ends_at <= clock_timestamp(),
           s.enabled AND s.dropped_at IS NULL, s.on_end
    FROM jit_private.grants g
    JOIN jit_private.scopes s ON s.id = g.scope_id
    WHERE g.id = $1";

/// Raises 57014, which `EXCEPTION WHEN OTHERS` of PL/pgSQL does not catch.
pub fn refuse(grant: i64) -> ! {
    // SAFETY: reads the state of the transaction.
    let parallel = unsafe { pg_sys::IsInParallelMode() };
    // No query there: GetLatestSnapshot() (snapmgr.c) would raise an error that handlers catch.
    let found = if parallel { None } else { find(grant) };
    if replica::is_stale(clock::now()) {
        suspension(grant, found.as_ref())
    } else {
        refusal(grant, found.as_ref())
    }
    .raise()
}

/// What to tell somebody who uses the grant, and what the scope's `on_end` says is to be done about it. `stale`: it may
/// not have ended, but nobody can say.
pub fn explain(grant: i64, stale: bool) -> (Refusal, OnEnd) {
    let found = find(grant);
    let on_end = found.as_ref().and_then(|found| OnEnd::named(&found.on_end)).unwrap_or_default();
    (if stale { suspension(grant, found.as_ref()) } else { refusal(grant, found.as_ref()) }, on_end)
}

/// The same about an ending that the transaction at hand has just made, for when it has committed.
pub fn foretell(grant: i64, kind: &str, by: &str) -> (Refusal, OnEnd) {
    let ending = Ending { at: clock::now(), kind: kind.to_owned(), by: Some(by.to_owned()) };
    let found = {
        let owner = settle(Owner::enter());
        read(&owner, grant)
    };
    let found = found.map(|found| Ended { ending: Some(ending), ..found });
    let on_end = found.as_ref().and_then(|found| OnEnd::named(&found.on_end)).unwrap_or_default();
    (refusal(grant, found.as_ref()), on_end)
}

/// What to tell somebody who uses the grant at the moment when its time is up: by what the session knows already, since
/// nothing can be read while an error is being made.
pub fn time_is_up(grant: i64) -> Refusal {
    let found = uses::describe(grant).and_then(|described| {
        Some(Ended {
            scope: described.scope.to_string(),
            key: described.key,
            all_rows: described.all_rows,
            ends_at: TimestampWithTimeZone::try_from(described.end).ok()?,
            ending: None,
            expired: true,
            live: true,
            on_end: String::new(),
        })
    });
    refusal(grant, found.as_ref())
}

fn find(grant: i64) -> Option<Ended> {
    let (ending, _) = endings(grant);
    let found = {
        let owner = settle(Owner::enter());
        read(&owner, grant)
    };
    found.map(|found| Ended { ending, ..found })
}

fn read(owner: &Owner, grant: i64) -> Option<Ended> {
    owner.first(FIND, &[grant.into()], |row| Ended {
        scope: row.must(1),
        key: row.get(2),
        all_rows: row.must(3),
        ends_at: row.must(4),
        ending: None,
        expired: row.must(5),
        live: row.must(6),
        on_end: row.must(7),
    })
}

const NOTHING_MORE: &str = "This transaction has used it and cannot run anything more.";

fn refusal(grant: i64, ended: Option<&Ended>) -> Refusal {
    let Some(ended) = ended else {
        return cancelled(format!("access through request {grant} has ended"))
            .detail(NOTHING_MORE)
            .hint("ROLLBACK, then ask again with jit_request().");
    };
    let how = match &ended.ending {
        None if ended.expired => format!("It expired at {}.", ended.ends_at.to_iso_string()),
        None => "The role that acts here is served by it no more.".to_owned(),
        Some(Ending { at, kind, by }) => match (kind.as_str(), by) {
            ("expired", _) => format!("It expired at {}.", ended.ends_at.to_iso_string()),
            ("scope disabled" | "scope dropped", Some(by)) => {
                format!("{by} stopped the scope at {}.", timestamp_text(*at))
            }
            (kind, Some(by)) => format!("It was {kind} by {by} at {}.", timestamp_text(*at)),
            (kind, None) => format!("It was {kind} at {}.", timestamp_text(*at)),
        },
    };
    let scope = &ended.scope;
    let refusal = cancelled(format!("access to scope \"{scope}\" through request {grant} has ended"))
        .detail(format!("{how} {NOTHING_MORE}"));
    let key = match &ended.key {
        Some(key) => format!(", key => '{}'", key.replace('\'', "''")),
        None if ended.all_rows => ", all_rows => true".to_owned(),
        None => String::new(),
    };
    let ask = format!("SELECT jit_request('{scope}', 'why'{key});");
    refusal.hint(if ended.live {
        format!("ROLLBACK, then ask again: {ask}")
    } else {
        format!("ROLLBACK. The scope has been stopped; once it is there again, ask again: {ask}")
    })
}

/// The same where the tables cannot be read.
pub fn suspended(grant: i64) -> Refusal {
    suspension(grant, None)
}

/// On a standby that may not know what has ended.
fn suspension(grant: i64, used: Option<&Ended>) -> Refusal {
    let of_scope = used.map_or_else(String::new, |used| format!("to scope \"{}\" ", used.scope));
    let heard = match replica::heard_at() {
        0 => "no commit of the primary's since it was started".to_owned(),
        at => format!("nothing that the primary has committed after {}", timestamp_text(at)),
    };
    cancelled(format!("access {of_scope}through request {grant} is suspended: this standby is behind"))
        .detail(format!(
            "It has replayed {heard}, and an ending would not be known here. jit_rls.max_replica_staleness is {} s. {NOTHING_MORE}",
            crate::settings::max_replica_staleness().unwrap_or(0),
        ))
        .hint(
            "ROLLBACK, and try again once the standby has caught up, or on the primary. A long query on the standby can hold up its replay.",
        )
}

fn cancelled(message: String) -> Refusal {
    Refusal::new(PgSqlErrorCode::ERRCODE_QUERY_CANCELED, message)
}

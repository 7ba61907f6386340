//! `jit.uses()`: what the slots say, for the view `jit.in_use`.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::iter::TableIterator;
use pgrx::pg_sys::Oid;
use pgrx::prelude::*;

use super::slots::{self, Overflow, Seen, Signal};

fn state(seen: &Seen) -> &'static str {
    match seen.signal {
        _ if seen.committing => "committing",
        Signal::None => "in use",
        Signal::Cancel => "cancelled",
        Signal::Terminate => "terminated",
    }
}

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)] // pgrx reads the columns from the signature
fn jit_uses() -> TableIterator<
    'static,
    (
        name!(pid, i32),
        name!(login, Oid),
        name!(actor, Oid),
        name!(grant_id, Option<i64>),
        name!(since, Option<TimestampWithTimeZone>),
        name!(state, &'static str),
    ),
> {
    let rows = slots::all().into_iter().flat_map(|seen| {
        let since = TimestampWithTimeZone::try_from(seen.since).ok();
        let state = state(&seen);
        let more = match &seen.overflow {
            Overflow::None => Vec::new(),
            Overflow::Of(others) => others.clone(),
            Overflow::OfAnybody => seen.uses.iter().map(|used| used.who).take(1).collect(),
        };
        let more = more.into_iter().map(|who| (who, None));
        let named: Vec<_> = seen.uses.iter().map(|used| (used.who, Some(used.grant))).chain(more).collect();
        named.into_iter().map(move |(who, grant)| (seen.pid, who.login, who.actor, grant, since, state))
    });
    TableIterator::new(rows.collect::<Vec<_>>())
}

//! Stops whoever uses a grant that has ended.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::{Oid, TimestampTz};
use pgrx::prelude::*;

use super::shared;
use super::step::{Stop, transaction};
use crate::check::cache::Who;
use crate::check::load::{self, Serving};
use crate::check::{clock, ended, invalidation, replica};
use crate::enforce::notice::Notice;
use crate::enforce::slots::{self, Overflow, Seen, Signal};
use crate::errors::log;
use crate::identity;
use crate::lifecycle::options::OnEnd;
use crate::settings;

/// How soon to look whether whoever was told to stop has stopped.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// A cancel that a statement has swallowed is sent again.
const CANCEL_AGAIN: Duration = Duration::from_millis(100);
/// A session whose statement goes on for so long after the first cancel is ended.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sessions without a statement that could be cancelled: those that idle in a transaction, aborted or not, and
/// those that wait for their client in the midst of one, which a cancel does not wake (ProcessClientReadInterrupt(),
/// ProcessClientWriteInterrupt(), postgres.c).
const NOT_RUNNING: &str = "
SELECT a.pid, a.state LIKE 'idle in transaction%'
  FROM pg_stat_get_activity(NULL) a
 WHERE a.pid = ANY ($1) AND (a.state LIKE 'idle in transaction%' OR a.wait_event IN ('ClientRead', 'ClientWrite'))";

/// How long a transaction may have been open that ends a grant, in seconds: an ending says when it was made, which is
/// before it counts.
const OPEN_SO_LONG: i64 = 60;

/// Grants that have ended since then and have not been tidied away: of these roles, or of any.
const ENDED: &str = "
SELECT g.id FROM jit_private.grants g
 WHERE g.tidied_at IS NULL
   AND ($1 IS NULL OR g.grantee_id = ANY ($1))
   AND (g.ends_at BETWEEN $2 AND clock_timestamp()
        OR EXISTS (SELECT FROM jit_private.endings e
                    WHERE e.grant_id = g.id AND e.at > $2 - $3 * interval '1 second'))
 LIMIT 1";

/// The same on a standby, which does not decide when what has ended is tidied away, and gets to know of an ending
/// later than it was made. Of the latest events: it looks again with each change.
const ENDED_ON_THE_PRIMARY: &str = "
SELECT g.id
  FROM (SELECT e.request_id, e.at
          FROM jit_private.events e
         WHERE e.kind IN ('expired', 'revoked', 'released', 'scope disabled', 'scope dropped', 'ineligible')
         ORDER BY e.id DESC LIMIT 10000) e
  JOIN jit_private.grants g ON g.id = e.request_id
 WHERE e.at > $2 - $3 * interval '1 second'
   AND ($1 IS NULL OR g.grantee_id = ANY ($1))
UNION ALL
SELECT g.id FROM jit_private.grants g
 WHERE g.tidied_at IS NULL AND ($1 IS NULL OR g.grantee_id = ANY ($1)) AND g.ends_at BETWEEN $2 AND clock_timestamp()
 LIMIT 1";

/// What has been done about one transaction.
struct Attempts {
    first: Instant,
    last: Instant,
}

/// Transactions that have been told to stop, by what `Seen::transaction` says.
#[derive(Default)]
pub struct Enforcement {
    told: HashMap<(usize, u64), Attempts>,
    /// Some transaction uses more than its slot names.
    overflow: bool,
    /// On a standby: under which generation all was well.
    generation: u64,
    /// Those whose roles are listened for.
    watched: HashSet<Who>,
    /// What is over, and `on_end` says that nothing is done about it.
    left_alone: HashSet<Over>,
}

/// A use that is over, by the clock or because nobody can say.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Over {
    transaction: (usize, u64),
    /// None: one that the slot does not name.
    used: Option<(i64, Who)>,
    stale: bool,
}

/// By what the slot says.
fn over(seen: &Seen, now: TimestampTz, stale: bool) -> impl Iterator<Item = Over> {
    let transaction = seen.transaction();
    let named = seen.uses.iter().filter(move |used| stale || used.end <= now);
    let others = (seen.overflow != Overflow::None && (stale || seen.others_end <= now)).then_some(None);
    named.map(|used| Some((used.grant, used.who))).chain(others).map(move |used| Over {
        transaction,
        used,
        stale,
    })
}

/// What is found out once in a pass.
#[derive(Default)]
struct Findings {
    serving: HashMap<(i64, Who), Option<Option<Serving>>>,
    /// On a standby: nobody can say what has ended.
    stale: bool,
    explained: HashMap<i64, (Notice, OnEnd)>,
}

impl Enforcement {
    /// Signals whoever uses what has ended. How soon to look again, if there is more to do.
    pub fn run(&mut self) -> Result<Option<Duration>, Stop> {
        // First this, then the tables: see `check::uses::record`.
        let seen = slots::all();
        self.told.retain(|transaction, _| seen.iter().any(|seen| seen.transaction() == *transaction));
        self.overflow = seen.iter().any(|seen| seen.overflow != Overflow::None);
        if seen.is_empty() {
            return Ok(None);
        }
        transaction(|| {
            let mut findings = Findings { stale: replica::is_stale(clock::now()), ..Findings::default() };
            let mut again = None;
            let mut to_stop = Vec::new();
            let mut left_alone = HashSet::new();
            for seen in seen.into_iter().filter(|seen| !seen.committing) {
                let Some(ended) = ended_uses(&seen, &mut findings)? else {
                    again = Some(CANCEL_AGAIN);
                    continue;
                };
                if !ended.is_empty() && ended.iter().all(|grant| findings.explain(*grant).1 == OnEnd::None) {
                    left_alone.extend(over(&seen, clock::now(), findings.stale));
                }
                // Whatever asks for most is done.
                let worst = ended.into_iter().max_by_key(|grant| findings.explain(*grant).1);
                to_stop.extend(worst.map(|grant| (seen, grant)));
            }
            self.left_alone = left_alone;
            if to_stop.is_empty() {
                return Ok(again);
            }
            let not_running = not_running(to_stop.iter().map(|(seen, _)| seen.pid).collect())?;
            for (seen, grant) in to_stop {
                let (notice, on_end) = findings.explain(grant);
                let next = self.stop(&seen, not_running.get(&seen.pid).copied(), notice, *on_end);
                again = [again, next].into_iter().flatten().min();
            }
            Ok(again)
        })
    }

    /// The same on a standby, where nobody commits what would wake the worker: for as long as anybody uses a grant, it
    /// listens for what is replayed.
    pub fn follow(&mut self) -> Result<Option<Duration>, Stop> {
        shared::watch(true);
        let mut seen = slots::all();
        if seen.is_empty() {
            shared::watch(false);
            seen = slots::all();
            if seen.is_empty() {
                self.told.clear();
                return transaction(|| Ok(None));
            }
            shared::watch(true);
        }
        let stale = replica::is_stale(clock::now());
        let done = self.follow_by_the_tables(&seen, stale);
        if matches!(done, Err(Stop::Failed(_))) && stale {
            // Somebody who holds up the replay can hold up whoever reads the tables with it.
            self.stop_blindly(&seen);
        }
        done.map(|()| Some(LOOK_AGAIN))
    }

    fn follow_by_the_tables(&mut self, seen: &[Seen], stale: bool) -> Result<(), Stop> {
        let watched = &mut self.watched;
        // Reads the messages that have come, as every transaction does when it begins (AtStart_Cache(), xact.c).
        transaction(|| {
            for used in seen.iter().flat_map(|seen| &seen.uses) {
                if !watched.contains(&used.who) {
                    load::watch(used.who);
                    watched.insert(used.who);
                }
            }
            Ok(())
        })?;
        let generation = invalidation::generation();
        let now = clock::now();
        let over = seen.iter().flat_map(|seen| over(seen, now, stale));
        let is_news = over.into_iter().any(|over| !self.left_alone.contains(&over));
        if generation != self.generation || !self.told.is_empty() || is_news {
            // With the memberships, whose roles matter may have changed.
            self.watched.clear();
            let more = self.run()?.is_some();
            self.generation = if more { 0 } else { generation };
        }
        Ok(())
    }

    /// Stops all of them, without a look at any table: `on_end` cannot be known, nor who idles. Those get a cancel first,
    /// and are ended when that has not helped.
    fn stop_blindly(&mut self, seen: &[Seen]) {
        for seen in seen.iter().filter(|seen| !seen.committing) {
            if let Some(used) = seen.uses.first() {
                self.stop(seen, None, &Notice::of(ended::suspended(used.grant)), OnEnd::Cancel);
            }
        }
    }

    /// Whether what has ended must not be tidied away now.
    pub fn needs_the_untidied(&self) -> bool {
        self.overflow
    }

    /// `idle`: Some(true) of one that idles in a transaction, Some(false) of one that waits for its client. Returns
    /// when to look whether it has helped.
    fn stop(&mut self, seen: &Seen, idle: Option<bool>, notice: &Notice, on_end: OnEnd) -> Option<Duration> {
        let now = Instant::now();
        let told = self.told.get(&seen.transaction());
        let left = |since: Instant, patience: Duration| patience.saturating_sub(now.duration_since(since));
        let signal = match (on_end, told) {
            (OnEnd::None, _) => return None,
            (_, Some(told)) if seen.signal == Signal::Terminate => match left(told.last, PATIENCE) {
                Duration::ZERO => Signal::Terminate,
                left => return Some(left),
            },
            (OnEnd::Terminate, _) => Signal::Terminate,
            _ if idle == Some(true) => Signal::Terminate,
            // Who has ended the grant has sent it, a moment ago.
            (OnEnd::Cancel, None) if seen.signal == Signal::Cancel => {
                self.told.insert(seen.transaction(), Attempts { first: now, last: now });
                return Some(LOOK_AGAIN);
            }
            (OnEnd::Cancel, None) => Signal::Cancel,
            (OnEnd::Cancel, Some(told)) => match left(told.last, CANCEL_AGAIN) {
                // It may have been on its way to the client only.
                Duration::ZERO if idle == Some(false) || left(told.first, PATIENCE).is_zero() => {
                    Signal::Terminate
                }
                Duration::ZERO => Signal::Cancel,
                left => return Some(left.min(LOOK_AGAIN)),
            },
        };
        if slots::signal(seen, signal, notice) {
            self.told.entry(seen.transaction()).or_insert(Attempts { first: now, last: now }).last = now;
            if signal > seen.signal {
                let what = match signal {
                    Signal::Terminate => "ended the session",
                    _ => "cancelled the statement",
                };
                let [message, ..] = crate::enforce::notice::texts(notice);
                log(format!("jit_rls {what} of process {}: {message}", seen.pid));
            }
        }
        Some(LOOK_AGAIN)
    }
}

impl Findings {
    /// None: the tables are being changed.
    fn serves(&mut self, grant: i64, who: Who) -> Option<Option<Serving>> {
        *self.serving.entry((grant, who)).or_insert_with(|| load::serves(grant, who))
    }

    fn explain(&mut self, grant: i64) -> &(Notice, OnEnd) {
        self.explained.entry(grant).or_insert_with(|| {
            let (refusal, on_end) = ended::explain(grant, self.stale);
            (Notice::of(refusal), on_end)
        })
    }
}

/// The grants that the transaction uses and that serve no more. None: it is not known now.
fn ended_uses(seen: &Seen, findings: &mut Findings) -> spi::Result<Option<Vec<i64>>> {
    if findings.stale {
        return Ok(Some(seen.uses.iter().map(|used| used.grant).collect()));
    }
    let mut ended = Vec::new();
    for used in &seen.uses {
        match findings.serves(used.grant, used.who) {
            Some(Some(Serving { end, on_end })) => {
                if end != used.end || on_end != used.on_end {
                    slots::correct(seen, used, end, on_end);
                }
            }
            Some(None) => ended.push(used.grant),
            None => return Ok(None),
        }
    }
    ended.extend(match &seen.overflow {
        Overflow::None => None,
        Overflow::Of(others) => any_ended(
            Some(others.iter().flat_map(|who| identity::inherited_roles(who.actor)).collect()),
            seen.since,
        )?,
        Overflow::OfAnybody => any_ended(None, seen.since)?,
    });
    Ok(Some(ended))
}

/// For a transaction that uses more than its slot names.
fn any_ended(roles: Option<Vec<Oid>>, since: TimestampTz) -> spi::Result<Option<i64>> {
    let since = TimestampWithTimeZone::try_from(since).ok();
    Spi::connect(|client| {
        let (query, before) = if replica::in_recovery() {
            (ENDED_ON_THE_PRIMARY, settings::max_replica_staleness().unwrap_or(0) + OPEN_SO_LONG)
        } else {
            (ENDED, OPEN_SO_LONG)
        };
        let found = client.select(query, Some(1), &[roles.into(), since.into(), before.into()])?;
        if found.is_empty() { Ok(None) } else { found.first().get_one::<i64>() }
    })
}

fn not_running(pids: Vec<i32>) -> spi::Result<HashMap<i32, bool>> {
    Spi::connect(|client| {
        let mut found = HashMap::new();
        for row in client.select(NOT_RUNNING, None, &[pids.into()])? {
            if let (Some(pid), Some(idle)) = (row.get::<i32>(1)?, row.get::<bool>(2)?) {
                found.insert(pid, idle);
            }
        }
        Ok(found)
    })
}

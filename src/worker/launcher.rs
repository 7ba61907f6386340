//! The launcher: finds the databases that have the extension, and keeps a worker in each.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use pgrx::bgworkers::{
    BackgroundWorkerBuilder, BackgroundWorkerStatus, BgWorkerStartTime, DynamicBackgroundWorker,
};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::pg_sys::{self, Oid};
use pgrx::prelude::*;

use super::backoff::{Backoff, Throttle};
use super::heartbeat::Heartbeat;
use super::shared::{self, SLOTS, Slot, Verdict};
use super::{database, wait};
use crate::check::replica;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// How often to look for new databases and lost workers.
const ROUND: Duration = Duration::from_secs(10);
/// How soon a standby is to know that it has become the primary.
const PROMOTION: Duration = SECOND;
/// How long a database without the extension is left alone. CREATE EXTENSION announces itself,
/// so this is for what nobody announced.
const PROBE_AGAIN: Duration = Duration::from_secs(300);
/// The same on a standby, where CREATE EXTENSION is replayed and announces nothing. A use does: then there is a worker
/// at once.
const PROBE_AGAIN_ON_A_STANDBY: Duration = MINUTE;
/// How long a probe may keep the others waiting.
const PROBE_PATIENCE: Duration = Duration::from_secs(10);
/// pg_database.datconnlimit of a database whose DROP DATABASE was interrupted.
const INVALID_DATABASE: i32 = -2;

/// Only while `shared_preload_libraries` are being loaded.
pub fn register() {
    BackgroundWorkerBuilder::new("jit_rls launcher")
        .set_library("jit_rls")
        .set_function("jit_rls_launcher_main")
        .enable_spi_access()
        // On a hot standby as well.
        .set_start_time(BgWorkerStartTime::ConsistentState)
        .set_restart_time(Some(Duration::from_secs(5)))
        .load();
}

#[pg_guard]
#[unsafe(export_name = "jit_rls_launcher_main")]
pub extern "C-unwind" fn launcher_main(_arg: pg_sys::Datum) {
    wait::handle_signals();
    shared::register_launcher();
    // Shared catalogs only.
    pgrx::bgworkers::BackgroundWorker::connect_worker_to_spi(None, None);
    let mut launcher = Launcher::new();
    while {
        let longest = launcher.round();
        wait::sleep(longest)
    } {}
    // The postmaster never starts a worker again that exits with 0; this one is to come back
    // when somebody terminates it.
    // SAFETY: the regular way out of a process.
    unsafe { pg_sys::proc_exit(1) }
}

/// What the launcher knows of a database.
struct Known {
    verdict: Verdict,
    since: Instant,
    /// Of the last worker that this launcher started.
    handle: Option<DynamicBackgroundWorker>,
    started: Instant,
    alive: bool,
    backoff: Backoff,
}

/// What to do about a database.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Nothing,
    Within(Duration),
    Start,
}

/// What the decision depends on.
#[derive(Clone, Copy)]
struct Situation {
    alive: bool,
    wanted: bool,
    stay_out: bool,
    verdict: Verdict,
    verdict_age: Duration,
    too_early: Option<Duration>,
    /// Another database is being probed.
    probing: bool,
    in_recovery: bool,
}

impl Situation {
    fn probe_again(&self) -> Duration {
        if self.in_recovery { PROBE_AGAIN_ON_A_STANDBY } else { PROBE_AGAIN }
    }

    fn plan(&self) -> Plan {
        if self.alive {
            return Plan::Nothing;
        }
        if self.stay_out {
            return Plan::Within(SECOND);
        }
        if let Some(wait) = self.too_early {
            return Plan::Within(wait);
        }
        if self.wanted {
            return Plan::Start;
        }
        match self.verdict {
            Verdict::Present => Plan::Start,
            Verdict::Absent if self.verdict_age < self.probe_again() => {
                Plan::Within(self.probe_again() - self.verdict_age)
            }
            // One after another, so as not to take up max_worker_processes with databases that
            // need no worker. The one that is being probed wakes us.
            _ if self.probing => Plan::Nothing,
            _ => Plan::Start,
        }
    }
}

impl Known {
    fn new(now: Instant) -> Self {
        Known {
            verdict: Verdict::Unknown,
            since: now,
            handle: None,
            started: now,
            alive: false,
            backoff: Backoff::new(SECOND, ROUND),
        }
    }

    /// Takes in what the shared memory says.
    fn learn(&mut self, slot: Option<&Slot>, now: Instant) {
        let coming = self
            .handle
            .as_ref()
            .is_some_and(|h| matches!(h.pid(), Ok(_) | Err(BackgroundWorkerStatus::NotYetStarted)));
        let alive = coming || slot.is_some_and(|s| s.pid != 0);
        let verdict = slot.map_or(Verdict::Unknown, |s| s.verdict);
        if verdict != Verdict::Unknown {
            self.verdict = verdict;
            self.since = now;
        }
        if self.alive && !alive {
            self.stopped(slot, now);
        }
        self.alive = alive;
    }

    /// A worker that leaves for no good reason is not started again at once.
    fn stopped(&mut self, slot: Option<&Slot>, now: Instant) {
        self.handle = None;
        let on_purpose = self.verdict == Verdict::Absent || slot.is_some_and(Slot::must_stay_out);
        if on_purpose || now - self.started > MINUTE {
            self.backoff.succeeded();
        }
        if !on_purpose {
            self.backoff.failed(now);
        }
    }

    fn probing(&self, now: Instant) -> bool {
        self.alive && self.verdict == Verdict::Unknown && now - self.started < PROBE_PATIENCE
    }
}

struct Launcher {
    known: HashMap<Oid, Known>,
    no_worker: Throttle,
    no_slot: Throttle,
    in_recovery: bool,
    heartbeat: Heartbeat,
}

impl Launcher {
    fn new() -> Self {
        Launcher {
            known: HashMap::new(),
            no_worker: Throttle::new(MINUTE),
            no_slot: Throttle::new(MINUTE),
            // As if it had been: one that is started anew may have missed the promotion.
            in_recovery: true,
            heartbeat: Heartbeat::new(),
        }
    }

    /// Looks at all databases once. Returns how long to sleep.
    fn round(&mut self) -> Duration {
        // The slots first: a database whose slot is seen here, and which is not in the list
        // that is read afterwards, is gone.
        let slots = shared::snapshot();
        let databases = connectable_databases();
        let now = Instant::now();
        self.known.retain(|database, _| databases.contains(database));
        for &database in &databases {
            let slot = slots.iter().find(|s| s.database == database);
            self.known.entry(database).or_insert_with(|| Known::new(now)).learn(slot, now);
        }
        let mut longest = ROUND;
        for &database in &databases {
            let slot = slots.iter().find(|s| s.database == database);
            match self.plan(database, slot, now) {
                Plan::Nothing => {}
                Plan::Within(wait) => longest = longest.min(wait),
                Plan::Start if slot.is_none() && slots.len() >= SLOTS => self.complain_of_slots(now),
                Plan::Start => self.start(database, now),
            }
        }
        // What a slot without a worker said is known now. Where a worker will be again, it stays, with what the last one
        // has told of itself.
        for slot in slots.iter().filter(|s| s.pid == 0 && !s.must_stay_out()) {
            let is_gone = !databases.contains(&slot.database);
            let has_nothing =
                self.known.get(&slot.database).is_none_or(|known| known.verdict != Verdict::Present);
            if is_gone || has_nothing && !slot.wanted {
                shared::forget(slot);
            }
        }
        longest.min(self.replicate())
    }

    /// What a primary and its standbys need of each other.
    fn replicate(&mut self) -> Duration {
        if replica::in_recovery() {
            return PROMOTION;
        }
        if std::mem::replace(&mut self.in_recovery, false) {
            // From now on the workers write.
            shared::nudge_all();
        }
        if self.known.values().any(|known| known.verdict == Verdict::Present) {
            self.heartbeat.beat()
        } else {
            ROUND
        }
    }

    fn plan(&self, database: Oid, slot: Option<&Slot>, now: Instant) -> Plan {
        let Some(known) = self.known.get(&database) else { return Plan::Nothing };
        Situation {
            alive: known.alive,
            wanted: slot.is_some_and(|s| s.wanted),
            stay_out: slot.is_some_and(Slot::must_stay_out),
            verdict: known.verdict,
            verdict_age: now - known.since,
            too_early: known.backoff.too_early(now),
            probing: self.known.values().any(|k| k.probing(now)),
            in_recovery: replica::in_recovery(),
        }
        .plan()
    }

    fn start(&mut self, database: Oid, now: Instant) {
        // SAFETY: the handle must outlive every transaction.
        unsafe { pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext) };
        // SAFETY: a global of this process.
        let launcher = unsafe { pg_sys::MyProcPid };
        let started = BackgroundWorkerBuilder::new(&format!("jit_rls worker for database {database}"))
            .set_type("jit_rls worker")
            .set_library("jit_rls")
            .set_function(database::MAIN)
            .set_argument(Some(pg_sys::Datum::from(database)))
            .enable_spi_access()
            .set_start_time(BgWorkerStartTime::ConsistentState)
            .set_notify_pid(launcher)
            .load_dynamic();
        match (started, self.known.get_mut(&database)) {
            (Ok(_), None) => {}
            (Ok(handle), Some(known)) => {
                known.handle = Some(handle);
                known.started = now;
                known.alive = true;
                if known.verdict == Verdict::Absent {
                    known.verdict = Verdict::Unknown;
                }
            }
            (Err(_), known) => {
                if let Some(known) = known {
                    known.backoff.failed(now);
                }
                self.complain_of_workers(database, now);
            }
        }
    }

    fn complain_of_workers(&mut self, database: Oid, now: Instant) {
        if self.no_worker.pass(now) {
            ErrorReport::new(
                PgSqlErrorCode::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
                format!("jit_rls cannot start a worker for database {database}: out of background worker slots"),
                function_name!(),
            )
            .set_detail(
                "New statements are refused as they should; what runs on a grant when it ends is not cancelled, \
                 and events of expiry and NOTIFY jit_rls are late.",
            )
            .set_hint("Raise max_worker_processes: one for the launcher, and one for each database with the extension.")
            .report(PgLogLevel::LOG);
        }
    }

    fn complain_of_slots(&mut self, now: Instant) {
        if self.no_slot.pass(now) {
            log!("jit_rls serves {SLOTS} databases at most; the others have no worker");
        }
    }
}

/// Databases that a worker may connect to.
fn connectable_databases() -> Vec<Oid> {
    let mut found = Vec::new();
    // SAFETY: the way of get_database_list() in autovacuum.c. SPI needs a database; a scan of a
    // shared catalog does not. GETSTRUCT() reads the fixed part of a row, which is all columns
    // here. An error ends the process, and the postmaster starts it again.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
        let catalog = pg_sys::table_open(pg_sys::DatabaseRelationId, pg_sys::AccessShareLock as i32);
        let scan = pg_sys::systable_beginscan(
            catalog,
            Oid::INVALID,
            false,
            std::ptr::null_mut(),
            0,
            std::ptr::null_mut(),
        );
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            let row = &*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_database>();
            if row.datallowconn && !row.datistemplate && row.datconnlimit != INVALID_DATABASE {
                found.push(row.oid);
            }
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(catalog, pg_sys::AccessShareLock as i32);
        pg_sys::CommitTransactionCommand();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Situation = Situation {
        alive: false,
        wanted: false,
        stay_out: false,
        verdict: Verdict::Unknown,
        verdict_age: Duration::ZERO,
        too_early: None,
        probing: false,
        in_recovery: false,
    };

    #[test]
    fn databases_are_probed_one_after_another() {
        assert_eq!(NEW.plan(), Plan::Start);
        assert_eq!(Situation { probing: true, ..NEW }.plan(), Plan::Nothing);
    }

    #[test]
    fn a_database_that_asked_does_not_wait_for_probes() {
        assert_eq!(Situation { wanted: true, probing: true, ..NEW }.plan(), Plan::Start);
        let absent = Situation { wanted: true, verdict: Verdict::Absent, ..NEW };
        assert_eq!(absent.plan(), Plan::Start);
    }

    #[test]
    fn a_lost_worker_comes_back_but_not_at_once() {
        let lost = Situation { verdict: Verdict::Present, probing: true, ..NEW };
        assert_eq!(lost.plan(), Plan::Start);
        assert_eq!(Situation { too_early: Some(SECOND), ..lost }.plan(), Plan::Within(SECOND));
    }

    #[test]
    fn there_is_never_a_second_worker() {
        let served = Situation { alive: true, wanted: true, verdict: Verdict::Present, ..NEW };
        assert_eq!(served.plan(), Plan::Nothing);
    }

    #[test]
    fn nobody_enters_a_database_that_is_kept_empty() {
        let kept = Situation { stay_out: true, wanted: true, verdict: Verdict::Present, ..NEW };
        assert_eq!(kept.plan(), Plan::Within(SECOND));
    }

    #[test]
    fn a_database_without_the_extension_is_left_alone_for_a_while() {
        let absent = Situation { verdict: Verdict::Absent, verdict_age: SECOND, ..NEW };
        assert_eq!(absent.plan(), Plan::Within(PROBE_AGAIN - SECOND));
        assert_eq!(Situation { verdict_age: PROBE_AGAIN, ..absent }.plan(), Plan::Start);
        assert_eq!(Situation { in_recovery: true, verdict_age: MINUTE, ..absent }.plan(), Plan::Start);
    }
}

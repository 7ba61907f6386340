//! What launcher, workers and sessions know of each other: a table in shared memory.
//!
//! A process id in the table is that of a living process: its owner takes it out in a
//! before_shmem_exit callback, which runs on every exit but a crash, and after a crash the
//! postmaster makes the shared memory anew.

use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::pg_sys::{self, Oid};
use pgrx::prelude::*;
use pgrx::{PGRXSharedMemory, PgLwLock};

use super::preloaded;

/// Databases with a worker, or about to have one. Databases without the extension take no place.
pub const SLOTS: usize = 256;

static TABLE: PgLwLock<Table> = {
    // SAFETY: the name is ours.
    unsafe { PgLwLock::new(c"jit_rls workers") }
};

/// Whether this process is the one that a slot, or the launcher's place, names.
static REGISTERED: AtomicBool = AtomicBool::new(false);

/// Whether a database has the extension, as far as its last worker could see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Unknown,
    Present,
    Absent,
}

/// One database.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// Invalid in a free slot.
    pub database: Oid,
    /// The worker's, or 0.
    pub pid: i32,
    latch: Latch,
    /// Somebody committed a change, or an installation, that no worker has looked at yet.
    pub wanted: bool,
    /// On a standby: the worker looks again and again, and need not be woken.
    watching: bool,
    pub verdict: Verdict,
    /// Until then nobody of ours may be connected: the database is about to be dropped,
    /// renamed, moved or copied.
    pub stay_out_until: pg_sys::TimestampTz,
    pub status: Status,
}

/// What a worker tells of itself, for people. Times are 0 where there is nothing to tell.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    pub since: pg_sys::TimestampTz,
    pub last_pass: pg_sys::TimestampTz,
    /// When something is due next.
    pub next_deadline: pg_sys::TimestampTz,
    /// Grants that workers have put on record as ended since the server started.
    pub ended: i64,
    pub error_at: pg_sys::TimestampTz,
    error: [u8; 200],
    error_length: usize,
}

impl Status {
    const NEW: Status = Status {
        since: 0,
        last_pass: 0,
        next_deadline: 0,
        ended: 0,
        error_at: 0,
        error: [0; 200],
        error_length: 0,
    };

    pub fn set_error(&mut self, at: pg_sys::TimestampTz, message: &str) {
        let fits = (0..=message.len().min(self.error.len())).rev().find(|end| message.is_char_boundary(*end));
        let bytes = message.get(..fits.unwrap_or(0)).unwrap_or_default().as_bytes();
        self.error_at = at;
        self.error_length = bytes.len();
        for (to, from) in self.error.iter_mut().zip(bytes) {
            *to = *from;
        }
    }

    pub fn error(&self) -> String {
        String::from_utf8_lossy(self.error.get(..self.error_length).unwrap_or_default()).into_owned()
    }
}

impl Slot {
    const FREE: Slot = Slot {
        database: Oid::INVALID,
        pid: 0,
        latch: Latch::NONE,
        wanted: false,
        watching: false,
        verdict: Verdict::Unknown,
        stay_out_until: 0,
        status: Status::NEW,
    };

    pub fn must_stay_out(&self) -> bool {
        // SAFETY: reads the clock.
        self.stay_out_until > unsafe { pg_sys::GetCurrentTimestamp() }
    }
}

/// A latch of some process's PGPROC. Those live in shared memory, at the same address in each
/// process, for as long as the server runs.
#[derive(Clone, Copy, Debug)]
struct Latch(usize);

impl Latch {
    const NONE: Latch = Latch(0);

    fn mine() -> Self {
        // SAFETY: in a process with a PGPROC, MyLatch is that PGPROC's (InitProcess).
        Latch(unsafe { pg_sys::MyLatch }.expose_provenance())
    }

    fn set(self) {
        if self.0 != Latch::NONE.0 {
            // SAFETY: the PGPROC may have been given to another process since; a latch set
            // for no reason only makes it look once more. SetLatch() does not raise.
            unsafe { pg_sys::SetLatch(std::ptr::with_exposed_provenance_mut(self.0)) };
        }
    }
}

#[derive(Clone, Copy)]
struct Table {
    launcher: Latch,
    slots: [Slot; SLOTS],
}

// SAFETY: plain data without pointers into a process's own memory, and always under the lock.
unsafe impl PGRXSharedMemory for Table {}

impl Table {
    const EMPTY: Table = Table { launcher: Latch::NONE, slots: [Slot::FREE; SLOTS] };

    fn find(&self, database: Oid) -> Option<&Slot> {
        self.slots.iter().find(|s| s.database == database)
    }

    fn find_mut(&mut self, database: Oid) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|s| s.database == database)
    }

    /// The database's slot, or a free one made its; `None` when all are taken.
    fn take(&mut self, database: Oid) -> Option<&mut Slot> {
        let index = self
            .slots
            .iter()
            .position(|s| s.database == database)
            .or_else(|| self.slots.iter().position(|s| s.database == Oid::INVALID))?;
        let slot = &mut self.slots[index];
        if slot.database != database {
            *slot = Slot { database, ..Slot::FREE };
        }
        Some(slot)
    }
}

/// Asks for the shared memory. Only while `shared_preload_libraries` are being loaded.
#[allow(unexpected_cfgs)] // the macro asks for versions that this crate has no features for
pub fn request() {
    pgrx::pg_shmem_init!(TABLE = Table::EMPTY);
}

// ------------------------------------------------------------------ the launcher's side

/// This process is the launcher, until it exits.
pub fn register_launcher() {
    at_exit(launcher_exits, pg_sys::Datum::null());
    TABLE.exclusive().launcher = Latch::mine();
    REGISTERED.store(true, Ordering::Relaxed);
}

pub fn snapshot() -> Vec<Slot> {
    TABLE.share().slots.iter().filter(|s| s.database != Oid::INVALID).copied().collect()
}

/// Frees the slot, unless it is in use again since `seen` was read.
pub fn forget(seen: &Slot) {
    if let Some(slot) = TABLE.exclusive().find_mut(seen.database)
        && slot.pid == 0
        && slot.wanted == seen.wanted
        && slot.verdict == seen.verdict
        && slot.stay_out_until == seen.stay_out_until
    {
        *slot = Slot::FREE;
    }
}

// ------------------------------------------------------------------ the worker's side

pub enum Claim {
    Ours,
    /// Another worker serves the database, or nobody may.
    NotNeeded,
    Full,
}

/// Takes the database's slot for this process, until it exits.
pub fn claim(database: Oid) -> Claim {
    at_exit(worker_exits, pg_sys::Datum::from(database));
    let mut table = TABLE.exclusive();
    let Some(slot) = table.take(database) else { return Claim::Full };
    if slot.pid != 0 || slot.must_stay_out() {
        return Claim::NotNeeded;
    }
    slot.latch = Latch::mine();
    slot.watching = false;
    // SAFETY: a global of this process.
    slot.pid = unsafe { pg_sys::MyProcPid };
    slot.verdict = Verdict::Unknown;
    // SAFETY: reads the clock.
    slot.status.since = unsafe { pg_sys::GetCurrentTimestamp() };
    REGISTERED.store(true, Ordering::Relaxed);
    Claim::Ours
}

pub enum Turn {
    /// `nudged`: somebody has committed something since the last turn.
    Go {
        nudged: bool,
    },
    Leave,
}

/// A worker asks this before each pass.
pub fn next_turn(database: Oid) -> Turn {
    let mut table = TABLE.exclusive();
    match table.find_mut(database) {
        Some(slot) if !slot.must_stay_out() => {
            Turn::Go { nudged: std::mem::replace(&mut slot.wanted, false) }
        }
        _ => Turn::Leave,
    }
}

/// The worker has seen that the extension is there, or is not. The launcher, which waits to
/// hear it before it probes the next database, is told.
pub fn conclude(database: Oid, verdict: Verdict) {
    let mut table = TABLE.exclusive();
    if let Some(slot) = table.find_mut(database)
        && slot.verdict != verdict
    {
        slot.verdict = verdict;
        table.launcher.set();
    }
}

/// The worker changes what it tells of itself.
pub fn report(change: impl FnOnce(&mut Status)) {
    if !preloaded() {
        return;
    }
    // SAFETY: a global of this process.
    let database = unsafe { pg_sys::MyDatabaseId };
    if let Some(slot) = TABLE.exclusive().find_mut(database) {
        change(&mut slot.status);
    }
}

// ------------------------------------------------------------------ everybody's side

/// The database's worker: its process id, 0 when it does not run, and what it has told of itself.
pub fn status(database: Oid) -> Option<(i32, Status)> {
    if !preloaded() {
        return None;
    }
    TABLE.share().find(database).map(|slot| (slot.pid, slot.status))
}

/// Wakes the database's worker or, where there is none, has the launcher start one.
/// Does not raise: it runs where a commit can no longer fail.
pub fn nudge(database: Oid) {
    if !preloaded() || database == Oid::INVALID {
        return;
    }
    let mut table = TABLE.exclusive();
    let launcher = table.launcher;
    // A full table: the launcher says so in the log.
    let Some(slot) = table.take(database) else { return launcher.set() };
    slot.wanted = true;
    if slot.pid == 0 { launcher.set() } else { slot.latch.set() }
}

/// The worker says whether it looks at the slots by itself. It must look once more after saying that it does not.
pub fn watch(watching: bool) {
    // SAFETY: a global of this process.
    let database = unsafe { pg_sys::MyDatabaseId };
    if let Some(slot) = TABLE.exclusive().find_mut(database) {
        slot.watching = watching;
    }
}

/// Wakes the database's worker unless it is looking anyway. Does not raise.
pub fn nudge_unless_watching(database: Oid) {
    let is_known = |slot: &Slot| if slot.pid == 0 { slot.wanted } else { slot.watching };
    if preloaded() && !TABLE.share().find(database).is_some_and(is_known) {
        nudge(database);
    }
}

/// Wakes every worker that there is. Does not raise.
pub fn nudge_all() {
    if !preloaded() {
        return;
    }
    for slot in TABLE.exclusive().slots.iter_mut().filter(|slot| slot.pid != 0) {
        slot.wanted = true;
        slot.latch.set();
    }
}

/// Keeps workers out of the database until `until`, and wakes the one that is in it. Returns
/// its process id.
pub fn stay_out(database: Oid, until: pg_sys::TimestampTz) -> Option<i32> {
    let mut table = TABLE.exclusive();
    let slot = table.take(database)?;
    slot.stay_out_until = until;
    slot.latch.set();
    (slot.pid != 0).then_some(slot.pid)
}

/// Workers may come back.
pub fn come_back(database: Oid) {
    let mut table = TABLE.exclusive();
    if let Some(slot) = table.find_mut(database) {
        slot.stay_out_until = 0;
    }
    table.launcher.set();
}

/// Whether a worker of ours is in the database.
pub fn is_served(database: Oid) -> bool {
    TABLE.share().find(database).is_some_and(|s| s.pid != 0)
}

// ------------------------------------------------------------------ leaving

fn at_exit(callback: unsafe extern "C-unwind" fn(i32, pg_sys::Datum), arg: pg_sys::Datum) {
    // SAFETY: before_shmem_exit callbacks run while LWLocks still work. Ours is registered
    // before the connection's own (ShutdownPostgres), hence runs after it: by then no
    // transaction is open and no lock held.
    unsafe { pg_sys::before_shmem_exit(Some(callback), arg) };
}

#[pg_guard]
unsafe extern "C-unwind" fn launcher_exits(_code: i32, _arg: pg_sys::Datum) {
    if REGISTERED.swap(false, Ordering::Relaxed) {
        TABLE.exclusive().launcher = Latch::NONE;
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn worker_exits(_code: i32, arg: pg_sys::Datum) {
    if !REGISTERED.swap(false, Ordering::Relaxed) {
        return;
    }
    let database = Oid::from(arg.value() as u32);
    let mut table = TABLE.exclusive();
    if let Some(slot) = table.find_mut(database) {
        slot.pid = 0;
        slot.latch = Latch::NONE;
    }
    table.launcher.set();
}

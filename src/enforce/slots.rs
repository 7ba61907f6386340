//! Who is using what: in shared memory, one slot for each backend, with the grants that its transaction
//! has used.
//!
//! A backend writes into its own slot, a parallel worker into its leader's. The worker reads them all and
//! signals, under the slot's lock, so that nobody is hit who has gone on to something else: before the end of
//! its transaction a backend takes the same lock, and with it whatever has been sent to it.
//!
//! Nothing in here raises while it holds a lock. Without `shared_preload_libraries` there are no slots, and
//! nobody who would read them.

use std::ffi::{CStr, c_int};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering, compiler_fence};

use pgrx::pg_sys::{self, LWLockMode, LWLockPadded, Oid, TimestampTz};

use super::deadline;
use super::notice::Notice;
use crate::check::cache::Who;
use crate::check::clock;
use crate::lifecycle::options::OnEnd;

/// Uses that a slot names. A transaction that has more of them could be using anything.
pub const USES: usize = 64;

/// Roles that uses without a name can have served.
const OTHERS: usize = 8;

/// A grant, and whom it served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Use {
    pub grant: i64,
    pub who: Who,
    /// When the grant ends by itself.
    pub end: TimestampTz,
    /// What is done about it then; `Cancel` the backend does itself, see `deadline`.
    pub on_end: OnEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    Open,
    /// Past the point where an ending can stop it.
    Committing,
}

/// Uses that a slot has no room to name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Overflow {
    None,
    Of(Vec<Who>),
    OfAnybody,
}

/// What has been sent to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Signal {
    None,
    Cancel,
    Terminate,
}

impl Signal {
    fn number(self) -> c_int {
        match self {
            Signal::None => 0,
            Signal::Cancel => libc::SIGINT,
            Signal::Terminate => libc::SIGTERM,
        }
    }
}

/// All zeroes: a backend that uses nothing.
#[repr(C)]
struct Slot {
    /// Read without the lock, to see whether there is anything.
    count: AtomicU32,
    pid: i32,
    database: Oid,
    phase: Phase,
    signal: Signal,
    /// Whom the uses served that are not named; more than OTHERS: anybody.
    others_count: u8,
    others: [Who; OTHERS],
    /// When the first of them ends by itself.
    others_end: TimestampTz,
    /// Counts the transactions that have used grants; never goes back.
    serial: u64,
    since: TimestampTz,
    uses: [Use; USES],
    notice: Notice,
}

impl Slot {
    fn uses(&self) -> &[Use] {
        let count = usize::try_from(self.count.load(Ordering::Relaxed)).unwrap_or(USES);
        self.uses.get(..count).unwrap_or(&self.uses)
    }

    /// Whether it is a new one.
    fn add(&mut self, one: Use) -> bool {
        let count = self.uses().len();
        let known =
            self.uses.iter_mut().take(count).find(|used| used.grant == one.grant && used.who == one.who);
        if let Some(known) = known {
            // Whoever has lengthened the grant may have written here before it could be known.
            known.end = known.end.max(one.end);
            known.on_end = one.on_end;
            false
        } else if let Some(place) = self.uses.get_mut(count) {
            *place = one;
            // Also for a signal handler of this process, which reads without the lock.
            self.count.fetch_add(1, Ordering::Release);
            true
        } else {
            self.others_end = self.others_end.min(one.end);
            self.add_other(one.who);
            false
        }
    }

    fn add_other(&mut self, who: Who) {
        let count = usize::from(self.others_count);
        if self.others.iter().take(count).any(|other| *other == who) {
            return;
        }
        if let Some(place) = self.others.get_mut(count) {
            *place = who;
        }
        self.others_count = self.others_count.saturating_add(1);
    }

    /// Unless the transaction is past stopping. The process is there: it empties its slot before it goes.
    fn send(&mut self, signal: Signal, notice: &Notice) -> bool {
        if self.phase == Phase::Committing {
            return false;
        }
        if self.signal == Signal::None {
            self.notice = *notice;
        }
        self.signal = self.signal.max(signal);
        // SAFETY: only sends. To the group, as pg_signal_backend() (signalfuncs.c) does: COPY … TO PROGRAM has a child.
        self.pid > 0 && unsafe { libc::kill(-self.pid, signal.number()) == 0 }
    }

    fn overflow(&self) -> Overflow {
        match self.others.get(..usize::from(self.others_count)) {
            Some([]) => Overflow::None,
            Some(others) => Overflow::Of(others.to_vec()),
            None => Overflow::OfAnybody,
        }
    }
}

static SLOTS: AtomicPtr<Slot> = AtomicPtr::new(std::ptr::null_mut());
static LOCKS: AtomicPtr<LWLockPadded> = AtomicPtr::new(std::ptr::null_mut());
static COUNT: AtomicUsize = AtomicUsize::new(0);

const NAME: &CStr = c"jit_rls uses";

static mut PREVIOUS_REQUEST: pg_sys::shmem_request_hook_type = None;
static mut PREVIOUS_STARTUP: pg_sys::shmem_startup_hook_type = None;

// Raw: on everybody's way, and nothing to drop around them.
unsafe extern "C-unwind" {
    fn LWLockAcquire(lock: *mut pg_sys::LWLock, mode: LWLockMode::Type) -> bool;
    fn LWLockRelease(lock: *mut pg_sys::LWLock);
}

/// Only while `shared_preload_libraries` are being loaded.
pub fn request() {
    // SAFETY: called on the postmaster's only thread; both are called once each by ipci.c.
    unsafe {
        PREVIOUS_REQUEST = pg_sys::shmem_request_hook;
        pg_sys::shmem_request_hook = Some(request_memory);
        PREVIOUS_STARTUP = pg_sys::shmem_startup_hook;
        pg_sys::shmem_startup_hook = Some(find_memory);
    }
}

/// MaxBackends is known by now (InitializeMaxBackends(), called before process_shmem_requests()).
fn backends() -> usize {
    // SAFETY: a global that is set at start-up.
    usize::try_from(unsafe { pg_sys::MaxBackends }).unwrap_or(0)
}

unsafe extern "C-unwind" fn request_memory() {
    // SAFETY: the place for such requests.
    unsafe {
        if let Some(previous) = PREVIOUS_REQUEST {
            previous();
        }
        pg_sys::RequestAddinShmemSpace(backends() * size_of::<Slot>());
        pg_sys::RequestNamedLWLockTranche(NAME.as_ptr(), backends() as c_int);
    }
}

/// Also after a crash, when shared memory is made anew.
unsafe extern "C-unwind" fn find_memory() {
    // SAFETY: the place for it; the memory is as large as asked for, and the postmaster is alone.
    unsafe {
        if let Some(previous) = PREVIOUS_STARTUP {
            previous();
        }
        let size = backends() * size_of::<Slot>();
        let mut found = false;
        let slots: *mut Slot = pg_sys::ShmemInitStruct(NAME.as_ptr(), size, &mut found).cast();
        if !found {
            slots.cast::<u8>().write_bytes(0, size);
        }
        LOCKS.store(pg_sys::GetNamedLWLockTranche(NAME.as_ptr()), Ordering::Relaxed);
        COUNT.store(backends(), Ordering::Relaxed);
        SLOTS.store(slots, Ordering::Relaxed);
    }
}

#[inline]
pub fn is_parallel_worker() -> bool {
    // SAFETY: set before a parallel worker joins its leader's lock group, and never again.
    unsafe { pg_sys::ParallelWorkerNumber >= 0 }
}

/// The slot of this process, or of its leader, with that one's process id.
fn mine() -> Option<(usize, i32)> {
    if SLOTS.load(Ordering::Relaxed).is_null() {
        return None;
    }
    // SAFETY: MyProc is NULL or this process's PGPROC, one of ProcGlobal's; lockGroupLeader is set for parallel
    // workers before they run anything (BecomeLockGroupMember()), and for their leaders.
    unsafe {
        let me = pg_sys::MyProc.as_ref()?;
        let process = me.lockGroupLeader.as_ref().unwrap_or(me);
        let place = std::ptr::from_ref(process).offset_from((*pg_sys::ProcGlobal).allProcs);
        let place = usize::try_from(place).ok().filter(|place| *place < COUNT.load(Ordering::Relaxed))?;
        Some((place, process.pid))
    }
}

/// # Safety
/// `place` is a slot's, and `look` neither raises nor takes another lock.
unsafe fn locked<R>(place: usize, mode: LWLockMode::Type, look: impl FnOnce(*mut Slot) -> R) -> R {
    // SAFETY: what is behind these lives as long as the server.
    unsafe {
        let lock = &raw mut (*LOCKS.load(Ordering::Relaxed).add(place)).lock;
        LWLockAcquire(lock, mode);
        let result = look(SLOTS.load(Ordering::Relaxed).add(place));
        LWLockRelease(lock);
        result
    }
}

/// # Safety
/// As [`locked`].
unsafe fn change<R>(place: usize, change: impl FnOnce(&mut Slot) -> R) -> R {
    // SAFETY: the lock makes this the only reference that there is.
    unsafe { locked(place, LWLockMode::LW_EXCLUSIVE, |slot| change(&mut *slot)) }
}

/// # Safety
/// As [`locked`].
unsafe fn read<R>(place: usize, read: impl FnOnce(&Slot) -> R) -> R {
    // SAFETY: nobody writes while it is locked so.
    unsafe { locked(place, LWLockMode::LW_SHARED, |slot| read(&*slot)) }
}

/// Whether the slot names anything, without its lock.
fn count(place: usize) -> u32 {
    // SAFETY: as in `locked`; the field is atomic.
    unsafe { (*SLOTS.load(Ordering::Relaxed).add(place)).count.load(Ordering::Relaxed) }
}

// ------------------------------------------------------------------ the backend's side

/// How many uses the slot of this transaction names. Those of parallel workers are among them.
#[inline]
pub fn my_count() -> u32 {
    mine().map_or(0, |(place, _)| count(place))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// There are no slots.
    Nowhere,
    New,
    /// It was there, or there was no room.
    Again,
}

/// Writes a use down, before it has any effect. What follows comes after that for everybody: the release of the
/// lock is a barrier.
pub fn publish(one: Use) -> Published {
    let Some((place, pid)) = mine() else { return Published::Nowhere };
    // SAFETY: only writes.
    unsafe {
        let since = if count(place) == 0 { clock::now() } else { 0 };
        change(place, |slot| {
            if slot.uses().is_empty() {
                slot.pid = pid;
                slot.database = pg_sys::MyDatabaseId;
                slot.phase = Phase::Open;
                slot.signal = Signal::None;
                slot.others_count = 0;
                slot.others_end = TimestampTz::MAX;
                slot.serial += 1;
                slot.since = since;
            }
            if slot.add(one) { Published::New } else { Published::Again }
        })
    }
}

/// What this transaction has used, by what its slot says.
pub fn my_uses() -> Vec<Use> {
    let Some((place, _)) = mine().filter(|(place, _)| count(*place) > 0) else { return Vec::new() };
    let mut uses = Vec::with_capacity(USES);
    // SAFETY: only reads; there is room for all of them.
    unsafe { read(place, |slot| uses.extend_from_slice(slot.uses())) };
    uses
}

/// What a timer of this process has to know.
#[derive(Default)]
pub struct Clock {
    /// A grant whose time is up, if its users are to be cancelled then and nothing has been sent so far.
    pub over: Option<i64>,
    /// When the time of the first one is up that is not over.
    pub next: Option<TimestampTz>,
}

/// For a signal handler: takes no lock and calls nothing.
pub fn look_at_the_clock(now: TimestampTz) -> Clock {
    let mut clock = Clock::default();
    let Some((place, _)) = mine() else { return clock };
    let mut worse = false;
    // SAFETY: shared memory lives as long as the process. A use is whole before it is counted, and the two fields that
    // change afterwards are read at once.
    let stoppable = unsafe {
        let slot = SLOTS.load(Ordering::Relaxed).add(place);
        let count = usize::try_from((*slot).count.load(Ordering::Acquire)).unwrap_or(0).min(USES);
        for at in 0..count {
            let used = (&raw const (*slot).uses).cast::<Use>().add(at);
            let end = (&raw const (*used).end).read_volatile();
            match (&raw const (*used).on_end).read_volatile() {
                OnEnd::Cancel if end > now => clock.next = Some(clock.next.map_or(end, |next| next.min(end))),
                OnEnd::Cancel => clock.over = Some((&raw const (*used).grant).read_volatile()),
                OnEnd::Terminate => worse |= end <= now,
                OnEnd::None => {}
            }
        }
        (&raw const (*slot).signal).read_volatile() == Signal::None
            && (&raw const (*slot).phase).read_volatile() == Phase::Open
    };
    // The strictest decides: the worker ends the session.
    clock.over = clock.over.filter(|_| stoppable && !worse);
    clock
}

/// From here on an ending does not stop the transaction any more. False: one has, and it must not commit.
pub fn begin_commit() -> bool {
    let Some((place, _)) = mine().filter(|(place, _)| count(*place) > 0) else { return true };
    // SAFETY: only writes.
    unsafe {
        change(place, |slot| {
            if slot.signal != Signal::None {
                return false;
            }
            // The timer of this process stops nothing from here on. So either it is over by now, or it sees this.
            (&raw mut slot.phase).write_volatile(Phase::Committing);
            compiler_fence(Ordering::SeqCst);
            if deadline::passed().is_some() {
                slot.phase = Phase::Open;
                return false;
            }
            true
        })
    }
}

/// The transaction is over, and uses nothing any more.
pub fn clear() {
    let Some((place, _)) = mine().filter(|(place, _)| count(*place) > 0) else { return };
    // SAFETY: only writes.
    let signal = unsafe {
        change(place, |slot| {
            slot.count.store(0, Ordering::Relaxed);
            std::mem::replace(&mut slot.signal, Signal::None)
        })
    };
    if deadline::forget() || signal == Signal::Cancel {
        // It was meant for what has just ended, and must not hit what comes next.
        receive_signals();
        // SAFETY: a volatile of this process.
        unsafe { (&raw mut pg_sys::QueryCancelPending).write_volatile(0) };
    }
}

/// What has been sent to this process has arrived.
pub fn receive_signals() {
    // SAFETY: a system call: the kernel has signals handled that were sent before on the way back from it.
    unsafe { libc::getppid() };
}

/// What has been sent to this process, with what to tell the user.
pub fn my_notice() -> Option<(Signal, &'static Notice)> {
    let (place, _) = mine().filter(|(place, _)| count(*place) > 0)?;
    // SAFETY: shared memory lives as long as the process. The notice is written once, before the signal is sent,
    // and stays until this process uses a grant in another transaction. No lock: this runs while others may
    // be held.
    unsafe {
        let slot = SLOTS.load(Ordering::Relaxed).add(place);
        let signal = (&raw const (*slot).signal).read_volatile();
        (signal != Signal::None).then(|| (signal, &(*slot).notice))
    }
}

// ------------------------------------------------------------------ the side of who stops it

/// A slot as it was.
#[derive(Clone, Debug)]
pub struct Seen {
    place: usize,
    serial: u64,
    pub pid: i32,
    pub since: TimestampTz,
    pub signal: Signal,
    pub committing: bool,
    /// Uses beside those.
    pub overflow: Overflow,
    /// When the first of those ends by itself.
    pub others_end: TimestampTz,
    pub uses: Vec<Use>,
}

impl Seen {
    /// Stays the same for as long as the transaction lasts.
    pub fn transaction(&self) -> (usize, u64) {
        (self.place, self.serial)
    }
}

/// The slots that name a use.
fn places_in_use() -> impl Iterator<Item = usize> {
    let places = if SLOTS.load(Ordering::Relaxed).is_null() { 0 } else { COUNT.load(Ordering::Relaxed) };
    (0..places).filter(|place| count(*place) > 0)
}

/// Every slot of this database that names a use.
pub fn all() -> Vec<Seen> {
    let mut found = Vec::new();
    for place in places_in_use() {
        let mut uses = Vec::with_capacity(USES);
        // SAFETY: only reads; there is room for all uses.
        let seen = unsafe {
            read(place, |slot| {
                uses.extend_from_slice(slot.uses());
                (slot.database == pg_sys::MyDatabaseId && !slot.uses().is_empty()).then_some((
                    slot.serial,
                    slot.pid,
                    slot.since,
                    slot.signal,
                    slot.phase == Phase::Committing,
                    slot.overflow(),
                    slot.others_end,
                ))
            })
        };
        if let Some((serial, pid, since, signal, committing, overflow, others_end)) = seen {
            found.push(Seen { place, serial, pid, since, signal, committing, overflow, others_end, uses });
        }
    }
    found
}

/// Sends it to whoever uses this grant.
pub fn signal_users(grant: i64, what: Signal, notice: &Notice) {
    for place in places_in_use() {
        // SAFETY: only writes and kill(), which only sends.
        unsafe {
            change(place, |slot| {
                if slot.database == pg_sys::MyDatabaseId && slot.uses().iter().any(|used| used.grant == grant)
                {
                    slot.send(what, notice);
                }
            });
        }
    }
}

/// The grant ends later than whoever uses it knows.
pub fn prolong_for_users(grant: i64, end: TimestampTz) {
    for place in places_in_use() {
        // SAFETY: only writes.
        unsafe {
            change(place, |slot| {
                let count = if slot.database == pg_sys::MyDatabaseId { slot.uses().len() } else { 0 };
                for used in slot.uses.iter_mut().take(count).filter(|used| used.grant == grant) {
                    used.end = used.end.max(end);
                }
            });
        }
    }
}

/// The grants that are in use in this database, by what the slots name.
pub fn grants_in_use() -> Vec<i64> {
    let mut grants: Vec<i64> = all().into_iter().flat_map(|seen| seen.uses).map(|used| used.grant).collect();
    grants.sort_unstable();
    grants.dedup();
    grants
}

/// What is to be known of a use has changed.
pub fn correct(seen: &Seen, used: &Use, end: TimestampTz, on_end: OnEnd) {
    // SAFETY: only writes.
    unsafe {
        change(seen.place, |slot| {
            if slot.serial == seen.serial {
                let count = slot.uses().len();
                let same = |one: &&mut Use| one.grant == used.grant && one.who == used.who;
                if let Some(one) = slot.uses.iter_mut().take(count).find(same) {
                    one.end = end;
                    one.on_end = on_end;
                }
            }
        });
    }
}

/// Sends it, unless the transaction is over or past stopping. Says whether it was sent.
pub fn signal(seen: &Seen, signal: Signal, notice: &Notice) -> bool {
    // SAFETY: only writes and kill(), which only sends.
    unsafe {
        change(seen.place, |slot| {
            !slot.uses().is_empty() && slot.serial == seen.serial && slot.send(signal, notice)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_names_each_use_once_and_says_when_there_are_more() {
        let who = Who { actor: Oid::from_u32(1), login: Oid::from_u32(2) };
        // SAFETY: all zeroes are a slot that names nothing.
        let mut slot: Box<Slot> = Box::new(unsafe { std::mem::zeroed() });
        for round in 0..2 {
            for grant in 0..USES as i64 {
                slot.add(Use { grant, who, end: round, on_end: OnEnd::Cancel });
            }
            assert_eq!(slot.uses().len(), USES);
            assert_eq!(slot.overflow(), Overflow::None);
            assert!(slot.uses().iter().all(|used| used.end == round));
        }
        slot.add(Use { grant: 1_000, who, end: 0, on_end: OnEnd::Cancel });
        assert_eq!(slot.overflow(), Overflow::Of(vec![who]));
        assert_eq!(slot.uses().len(), USES);
        for role in 1..=OTHERS as u32 + 1 {
            assert_ne!(slot.overflow(), Overflow::OfAnybody);
            slot.add(Use {
                grant: 1_000,
                who: Who { actor: Oid::from_u32(role), ..who },
                end: 0,
                on_end: OnEnd::Cancel,
            });
        }
        assert_eq!(slot.overflow(), Overflow::OfAnybody);
    }
}

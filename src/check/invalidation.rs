//! How a session learns that its copy of the grants is stale.
//!
//! Whatever changes grants, endings or scopes invalidates the relcache entry of the empty
//! table `jit_private.marker`. PostgreSQL carries such messages at commit and only then, through
//! two-phase commit and the WAL to standbys, and to the sender itself after each command and after
//! a rollback. Here they only move counters.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ffi::c_int;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use pgrx::pg_sys::{self, Datum, Oid, SysCacheIdentifier};

use super::layout;
use crate::errors::Refusal;
use crate::planner::dependence;

/// How many relations [`watch`] names.
const WATCHED: usize = 12;

// A backend has one thread: the atomics are there because statics must be Sync.
static GENERATION: AtomicU64 = AtomicU64::new(1);
static EPOCH: AtomicU64 = AtomicU64::new(1);
static LAYOUT_GENERATION: AtomicU64 = AtomicU64::new(1);
static MARKER: AtomicU32 = AtomicU32::new(0);
static OURS: [AtomicU32; WATCHED] = [const { AtomicU32::new(0) }; WATCHED];

/// Called once, from _PG_init: there is no way to unregister, and only ten places for
/// relcache callbacks (MAX_RELCACHE_CALLBACKS).
pub fn init() {
    // SAFETY: the callbacks live as long as the process, and do nothing that can raise.
    unsafe {
        pg_sys::CacheRegisterRelcacheCallback(Some(relation_changed), Datum::null());
        // Memberships of all databases, and roles that are dropped or altered.
        for cache in [SysCacheIdentifier::AUTHMEMROLEMEM, SysCacheIdentifier::AUTHOID] {
            pg_sys::CacheRegisterSyscacheCallback(cache as c_int, Some(roles_changed), Datum::null());
        }
    }
}

/// Reads the messages that other sessions have sent. Without this a check inside an open
/// transaction, whose plan takes no new locks, would not notice a revocation.
pub fn accept() {
    // SAFETY: allowed anywhere in a transaction; raises like any lookup, through the guard.
    unsafe { pg_sys::AcceptInvalidationMessages() };
}

/// The same for each row, without the sigsetjmp() of pgrx's binding, which costs more than the call.
///
/// # Safety
/// An error leaves by longjmp: no caller up to PostgreSQL's own code may hold anything to drop.
#[inline(always)]
pub unsafe fn accept_unguarded() {
    unsafe extern "C-unwind" {
        fn AcceptInvalidationMessages();
    }
    // SAFETY: allowed anywhere in a transaction; the rest is the caller's promise.
    unsafe { AcceptInvalidationMessages() }
}

/// What was loaded under another generation is stale.
pub fn generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

/// What a call site has kept from another epoch is stale: the generation has changed, or a copy
/// has gone. Never 0.
#[inline(always)]
pub fn epoch() -> u64 {
    EPOCH.load(Ordering::Relaxed)
}

/// To be called *before* anything goes that a call site may point to.
pub fn begin_epoch() {
    raise(&EPOCH);
}

/// Like [`generation`], for OIDs and attribute numbers of our own tables.
pub fn layout_generation() -> u64 {
    LAYOUT_GENERATION.load(Ordering::Relaxed)
}

/// Names the relations to listen for. To be called before anything is read from them.
pub fn watch(marker: Oid, ours: [Oid; WATCHED]) {
    MARKER.store(marker.to_u32(), Ordering::Relaxed);
    for (place, relation) in OURS.iter().zip(ours) {
        place.store(relation.to_u32(), Ordering::Relaxed);
    }
}

fn raise(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn access_changed() {
    raise(&GENERATION);
    begin_epoch();
}

// The callbacks run in the middle of lookups and of commit and abort: they must not raise,
// nor look anything up. No guard, since nothing in them can unwind.

unsafe extern "C-unwind" fn relation_changed(_arg: Datum, relation: Oid) {
    let relation = relation.to_u32();
    // InvalidOid: messages were lost, everything is stale.
    let ours = relation == 0 || OURS.iter().any(|place| place.load(Ordering::Relaxed) == relation);
    if ours {
        raise(&LAYOUT_GENERATION);
    }
    if ours || relation == MARKER.load(Ordering::Relaxed) {
        access_changed();
    }
}

unsafe extern "C-unwind" fn roles_changed(_arg: Datum, cache: c_int, hash: u32) {
    // 0: everything of that cache. Any login can alter itself as often as it likes (ALTER ROLE ...
    // PASSWORD): a role that no copy depends on must not make sessions load again.
    let matters = hash == 0
        || cache != SysCacheIdentifier::AUTHOID as c_int
        || ROLES.with(|roles| roles.try_borrow().map_or(true, |roles| roles.contains(&hash)));
    if matters {
        access_changed();
        // Who holds all rows, by membership too, is what plans are made on. PlanCacheRoleCallback() (plancache.c)
        // does as much since the fix of CVE-2026-14666; servers without it depend on this.
        dependence::make_anew();
    }
}

thread_local! {
    /// Syscache hashes of the roles that copies depend on. Only grows, by the roles that a session
    /// has acted as and what those inherit.
    static ROLES: RefCell<HashSet<u32>> = RefCell::default();
}

/// Listens for changes of these roles. To be called before anything is concluded from them.
pub fn watch_roles(roles: &[Oid]) {
    for role in roles {
        // SAFETY: computes a hash (syscache.c).
        let hash = unsafe {
            pg_sys::GetSysCacheHashValue(
                SysCacheIdentifier::AUTHOID as c_int,
                Datum::from(*role),
                0.into(),
                0.into(),
                0.into(),
            )
        };
        ROLES.with_borrow_mut(|watched| watched.insert(hash));
    }
}

/// `jit.invalidate()`, the trigger on everything that decides about access.
///
/// # Safety
/// `fcinfo` comes from fmgr.
pub unsafe fn invalidate(fcinfo: pg_sys::FunctionCallInfo) -> Datum {
    // SAFETY: passed on.
    if unsafe { super::arguments::trigger_data(fcinfo) }.is_none() {
        super::arguments::not_a_trigger("jit.invalidate");
    }
    // Looked up afresh: a change that nobody is told of must fail rather than pass.
    let Some(marker) = layout::marker() else {
        Refusal::wrong_state("table jit_private.marker is missing")
            .detail("Without it no session would learn of this change of access.")
            .hint("DROP EXTENSION jit_rls and create it again, or restore the table.")
            .raise();
    };
    // SAFETY: the relation exists; both only note something for the commit.
    unsafe {
        pg_sys::CacheInvalidateRelcacheByRelid(marker);
        // A revocation that was acknowledged must survive a crash, synchronous_commit = off or not.
        pg_sys::ForceSyncCommit();
    }
    crate::worker::nudge_after_commit();
    Datum::null()
}

/// `jit.invalidate_plans()`, the trigger on what plans are made on.
///
/// # Safety
/// `fcinfo` comes from fmgr.
pub unsafe fn invalidate_plans(fcinfo: pg_sys::FunctionCallInfo) -> Datum {
    // SAFETY: passed on.
    if unsafe { super::arguments::trigger_data(fcinfo) }.is_none() {
        super::arguments::not_a_trigger("jit.invalidate_plans");
    }
    let Some(marker) = layout::plan_marker() else {
        Refusal::wrong_state("table jit_private.plan_marker is missing")
            .detail("Without it, plans made before would hide rows that are to be seen now.")
            .hint("DROP EXTENSION jit_rls and create it again, or restore the table.")
            .raise();
    };
    // SAFETY: the relation exists; only notes something for the commit.
    unsafe { pg_sys::CacheInvalidateRelcacheByRelid(marker) };
    Datum::null()
}

super::arguments::sql_functions! {
    jit_invalidate_wrapper, pg_finfo_jit_invalidate_wrapper => invalidate;
    jit_invalidate_plans_wrapper, pg_finfo_jit_invalidate_plans_wrapper => invalidate_plans;
}

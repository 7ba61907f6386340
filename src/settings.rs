//! Every setting of the extension, with what it is for and why it has its context.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_void};

use pgrx::prelude::*;
use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};

use crate::check::{invalidation, replica};
use crate::planner::dependence;
use crate::{compat, identity};

/// Logins that many people share, such as a connection pooler's. PGC_SUSET: whoever could
/// add or remove a name could become another person.
static SHARED_LOGINS: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

/// Lets decisions be made from inside functions, for people who wrap `jit_approve` in one of
/// their own. PGC_SUSET: it opens the door to decisions that nobody meant to make.
static ALLOW_INDIRECT_DECISIONS: GucSetting<bool> = GucSetting::<bool>::new(false);

/// How old, in seconds, what a hot standby has replayed may be for access to be given there; 0: however old.
/// PGC_SIGHUP: on one server it is the same for everybody, and whoever reads there has no say in it.
static MAX_REPLICA_STALENESS: GucSetting<i32> = GucSetting::<i32>::new(60);

thread_local! {
    static SHARED_LOGINS_GENERATION: Cell<u64> = const { Cell::new(0) };
    static FORGED: Cell<bool> = const { Cell::new(false) };
    static STALENESS_FORGED: Cell<bool> = const { Cell::new(false) };
}

pub fn init() {
    let had_a_value = compat::setting_has_been_set(c"jit_rls.shared_logins");
    // SAFETY: the hooks below have the signatures of GucStringCheckHook and
    // GucStringAssignHook, are guarded, and live as long as the process.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"jit_rls.shared_logins",
            c"Logins that many people share, such as a connection pooler's.",
            c"Comma-separated role names. Such a login never holds, asks or decides; what it does after SET ROLE counts as that role's alone.",
            &SHARED_LOGINS,
            GucContext::Suset,
            GucFlags::default(),
            Some(check_shared_logins),
            Some(assign_shared_logins),
            None,
        );
    }
    FORGED.set(had_a_value && SHARED_LOGINS.get().is_none());
    GucRegistry::define_bool_guc(
        c"jit_rls.allow_indirect_decisions",
        c"Allows decisions from inside functions, views and triggers.",
        c"Off, jit_approve and jit_deny work only where the client's own statement calls them.",
        &ALLOW_INDIRECT_DECISIONS,
        GucContext::Suset,
        GucFlags::default(),
    );
    let had_a_value = compat::setting_has_been_set(c"jit_rls.max_replica_staleness");
    // SAFETY: the hook has the signature of GucIntAssignHook, does nothing that can raise, and lives as long as the
    // process.
    unsafe {
        GucRegistry::define_int_guc_with_hooks(
            c"jit_rls.max_replica_staleness",
            c"Denies access on a hot standby whose replay is further behind than this.",
            c"By the primary's clock, which commits at least four times as often while a standby is attached. 0 turns this off.",
            &MAX_REPLICA_STALENESS,
            0,
            86_400,
            GucContext::Sighup,
            GucFlags::UNIT_S,
            None,
            Some(assign_max_replica_staleness),
            None,
        );
    }
    STALENESS_FORGED.set(had_a_value && !compat::setting_has_been_set(c"jit_rls.max_replica_staleness"));
    // SAFETY: a constant C string. From here on an unknown jit_rls.* is an error, so that a
    // misspelt setting is not taken for one that protects.
    unsafe { pg_sys::MarkGUCPrefixReserved(c"jit_rls".as_ptr()) };
}

/// The names in `jit_rls.shared_logins`.
pub fn shared_logins() -> Vec<String> {
    let raw = SHARED_LOGINS.get().unwrap_or_default();
    identity::parse_role_list(&raw.to_string_lossy()).unwrap_or_default()
}

/// Changes with each assignment, so that what was derived from the old value can be dropped.
pub fn shared_logins_generation() -> u64 {
    SHARED_LOGINS_GENERATION.get()
}

/// Whether somebody who may not has tried to set `jit_rls.shared_logins` before the library was loaded.
///
/// Until then a setting is a placeholder that anybody can put a value into; with `options` of the
/// connection, in the place of the superuser's, which is lost. guc.c refuses the value when the setting
/// is defined and leaves the default, which nothing else sets: NULL. Such a session is nobody.
pub fn shared_logins_forged() -> bool {
    FORGED.get()
}

/// In seconds; None: it does not matter.
pub fn max_replica_staleness() -> Option<i64> {
    Some(i64::from(MAX_REPLICA_STALENESS.get())).filter(|seconds| *seconds > 0)
}

/// Whether somebody who may not has tried to set it before the library was loaded: what a superuser has set is lost then,
/// see [`shared_logins_forged`].
pub fn max_replica_staleness_forged() -> bool {
    STALENESS_FORGED.get()
}

pub fn allow_indirect_decisions() -> bool {
    ALLOW_INDIRECT_DECISIONS.get()
}

#[pg_guard]
unsafe extern "C-unwind" fn check_shared_logins(
    value: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: guc.c passes a pointer to the proposed value, a C string or NULL.
    let text = unsafe { (*value).as_ref().map(|c| CStr::from_ptr(c).to_string_lossy()) };
    text.is_none_or(|text| identity::parse_role_list(&text).is_some())
}

#[pg_guard]
unsafe extern "C-unwind" fn assign_shared_logins(_value: *const c_char, _extra: *mut c_void) {
    SHARED_LOGINS_GENERATION.set(SHARED_LOGINS_GENERATION.get() + 1);
    invalidation::begin_epoch();
    // A shared login holds nothing: plans were made on that.
    dependence::make_anew();
}

unsafe extern "C-unwind" fn assign_max_replica_staleness(_value: i32, _extra: *mut c_void) {
    replica::look_again();
}

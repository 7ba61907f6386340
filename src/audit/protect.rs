//! The triggers that keep hands off our tables. Privileges alone do not: members of
//! pg_write_all_data write everywhere, and default privileges hand out more than was meant.

use pgrx::pg_sys::{self, Datum, FunctionCallInfo};

use crate::check::arguments::{not_a_trigger, relation_name, sql_functions, trigger_data};
use crate::errors::Refusal;

/// `jit.guard_write()`, BEFORE … FOR EACH STATEMENT: only the owner writes, as which our functions
/// act, and superusers. A BEFORE trigger for statements returns NULL (trigger.c).
///
/// # Safety
/// Called by fmgr.
unsafe fn guard_write(fcinfo: FunctionCallInfo) -> Datum {
    // SAFETY: the caller's promise; the trigger's relation is open.
    unsafe {
        let Some(trigger) = trigger_data(fcinfo) else { not_a_trigger("jit.guard_write") };
        let owner = (*(*trigger.tg_relation).rd_rel).relowner;
        if pg_sys::GetUserId() != owner && !pg_sys::superuser() {
            Refusal::not_allowed(format!("{} is written by jit_rls only", relation_name(trigger.tg_relation)))
                .detail("Rights on the table do not suffice: only its owner, as which the functions of jit_rls act, and superusers write to it.")
                .hint("Use jit_request(), jit_approve(), jit_revoke() and the other jit_ functions; for scopes jit.create_scope() and jit.alter_scope().")
                .raise();
        }
    }
    Datum::null()
}

/// `jit.append_only()`, BEFORE UPDATE, DELETE or TRUNCATE: what is on record stays.
///
/// # Safety
/// Called by fmgr.
unsafe fn append_only(fcinfo: FunctionCallInfo) -> Datum {
    // SAFETY: the caller's promise; the trigger's relation is open.
    unsafe {
        let Some(trigger) = trigger_data(fcinfo) else { not_a_trigger("jit.append_only") };
        let table = relation_name(trigger.tg_relation);
        Refusal::not_allowed(format!("rows of {table} are never changed or deleted"))
            .detail("They are the record of who had access, when and why.")
            .hint(format!(
                "A superuser who must can ALTER TABLE {table} DISABLE TRIGGER append_only first; log_statement = 'ddl' keeps that on record."
            ))
            .raise()
    }
}

sql_functions! {
    jit_guard_write_wrapper, pg_finfo_jit_guard_write_wrapper => guard_write;
    jit_append_only_wrapper, pg_finfo_jit_append_only_wrapper => append_only;
}

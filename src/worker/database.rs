//! The worker of one database.

use std::ffi::CStr;
use std::time::{Duration, Instant};

use pgrx::bgworkers::BackgroundWorker;
use pgrx::pg_sys::{self, Oid};
use pgrx::prelude::*;

use super::pass::{Gone, Pass};
use super::shared::{self, Claim, Turn, Verdict};
use super::wait;

/// The C symbol of `worker_main`, for the launcher.
pub const MAIN: &str = "jit_rls_worker_main";

/// Between two passes, however many commits wake the worker: what is urgent, the sessions do themselves.
const BREATH: Duration = Duration::from_millis(1);

/// What the worker depends on. The database's owner can set all of this with ALTER DATABASE … SET.
pub const PINNED: &[(&CStr, &CStr)] = &[
    (c"application_name", c"jit_rls worker"),
    (c"search_path", c"pg_catalog, pg_temp"),
    (c"session_replication_role", c"origin"),
    (c"default_transaction_read_only", c"off"),
    (c"default_transaction_isolation", c"read committed"),
    (c"default_transaction_deferrable", c"off"),
    (c"statement_timeout", c"0"),
    (c"transaction_timeout", c"0"),
    (c"idle_in_transaction_session_timeout", c"0"),
    (c"idle_session_timeout", c"0"),
    // Nothing that the worker does waits for a row. This is for a table that is locked as a
    // whole: one step gives up, and the others have their turn.
    (c"lock_timeout", c"10s"),
    // Flushed here, but not waiting for standbys: after a failover, the worker over there writes
    // again what was lost. Expiry must not stand still because a standby does.
    (c"synchronous_commit", c"local"),
    (c"TimeZone", c"UTC"),
    (c"transform_null_equals", c"off"),
    // The queue-like tables are empty most of the time, and their statistics say anything. All
    // statements are made for nested loops over indexes, each of which gives the order that is asked for.
    (c"enable_nestloop", c"on"),
    (c"enable_indexscan", c"on"),
    (c"enable_seqscan", c"off"),
    (c"enable_bitmapscan", c"off"),
    (c"enable_sort", c"off"),
    (c"enable_hashjoin", c"off"),
    (c"enable_mergejoin", c"off"),
    (c"max_parallel_workers_per_gather", c"0"),
    (c"jit", c"off"),
];

#[pg_guard]
#[unsafe(export_name = "jit_rls_worker_main")]
pub extern "C-unwind" fn worker_main(arg: pg_sys::Datum) {
    let database = Oid::from(arg.value() as u32);
    wait::handle_signals();
    // Before connecting: whoever waits for the database to be left must see that we come.
    match shared::claim(database) {
        Claim::Ours => serve(database),
        Claim::NotNeeded => {}
        Claim::Full => {
            log!("jit_rls has no room for database {database}: it serves {} at most", shared::SLOTS)
        }
    }
}

fn serve(database: Oid) {
    BackgroundWorker::connect_worker_to_spi_by_oid(Some(database), None);
    pin(PINNED);
    let mut pass = Pass::new();
    loop {
        let Turn::Go { nudged } = shared::next_turn(database) else { return };
        report(pg_sys::BackendState::STATE_RUNNING);
        let sleep = match pass.run(nudged) {
            Ok(sleep) => sleep,
            Err(Gone) => {
                shared::conclude(database, Verdict::Absent);
                return;
            }
        };
        shared::conclude(database, Verdict::Present);
        report(pg_sys::BackendState::STATE_IDLE);
        let done = Instant::now();
        if !wait::sleep(sleep) {
            return;
        }
        // Who asks and approves is not to wait for a processor that the worker keeps for itself.
        let rest = BREATH.saturating_sub(done.elapsed());
        if !rest.is_zero() {
            std::thread::sleep(rest);
        }
    }
}

/// For this process, whatever the configuration says.
pub fn pin(settings: &[(&CStr, &CStr)]) {
    for (name, value) in settings {
        // SAFETY: C strings. Newer settings do not exist everywhere. PGC_S_OVERRIDE outranks
        // the configuration files, so that a reload changes nothing.
        unsafe {
            if pg_sys::GetConfigOption(name.as_ptr(), true, false).is_null() {
                continue;
            }
            pg_sys::SetConfigOption(
                name.as_ptr(),
                value.as_ptr(),
                pg_sys::GucContext::PGC_SUSET,
                pg_sys::GucSource::PGC_S_OVERRIDE,
            );
        }
    }
}

/// For pg_stat_activity; nobody does that for a background worker, nor sends its statistics.
fn report(state: pg_sys::BackendState::Type) {
    // SAFETY: outside a transaction, as both want it.
    unsafe {
        pg_sys::pgstat_report_activity(state, c"jit_rls: ending what is due".as_ptr());
        if state == pg_sys::BackendState::STATE_IDLE {
            pg_sys::pgstat_report_stat(true);
        }
    }
}

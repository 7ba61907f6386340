//! jit_rls: just-in-time access approval joined to row-level security, inside PostgreSQL.

mod audit;
mod check;
mod compat;
mod enforce;
mod errors;
mod hooks;
mod identity;
mod lifecycle;
mod origin;
mod planner;
mod privileged;
mod settings;
mod statements;
mod worker;

use pgrx::prelude::*;

pgrx::pg_module_magic!(name, version);

extension_sql_file!("../sql/schema.sql", name = "schema", bootstrap);
extension_sql_file!("../sql/functions.sql", name = "functions", requires = ["schema"]);
extension_sql_file!("../sql/triggers.sql", name = "triggers", requires = ["functions"]);
extension_sql_file!("../sql/views.sql", name = "views", requires = ["triggers"]);
extension_sql_file!("../sql/advice.sql", name = "advice", requires = ["views"]);
extension_sql_file!("../sql/privileges.sql", name = "privileges", finalize);

/// Runs once in each process that loads the library: in the postmaster, and inherited by
/// its children, when it is preloaded.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    errors::init();
    settings::init();
    check::init();
    hooks::init();
    planner::init();
    enforce::init();
    lifecycle::commit_in_time::init();
    worker::init();
}

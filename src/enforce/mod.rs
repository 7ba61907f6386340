//! Access ends when it ends: whoever uses a grant is known, is stopped when it ends, and can carry nothing
//! past it.
//!
//! `slots` says in shared memory who uses what, `commit` refuses what would outlive the transaction, `notice` has
//! the user told which grant it was. A statement is cancelled by whoever knows first: by its own process when the time
//! of the grant is up (`deadline`), by the session that has committed the ending (`prompt`); and by the worker
//! (`worker::enforce`), which knows every ending, and ends sessions.

pub mod commit;
pub mod deadline;
mod in_use;
pub mod notice;
pub mod prompt;
pub mod slots;

/// Called once, from `_PG_init`.
pub fn init() {
    commit::init();
    prompt::init();
}

/// The part that needs shared memory, while `shared_preload_libraries` are being loaded.
pub fn init_shared() {
    slots::request();
    notice::init();
}

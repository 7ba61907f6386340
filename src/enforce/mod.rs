//! Access ends when it ends: whoever uses a grant is known, is stopped when it ends, and can carry nothing
//! past it.
//!
//! `slots` says in shared memory who uses what, `commit` refuses what would outlive the transaction, `notice` has
//! the user told which grant it was. Who is stopped, and how, decides the worker (`worker::enforce`).

pub mod commit;
mod in_use;
pub mod notice;
pub mod slots;

/// Called once, from `_PG_init`.
pub fn init() {
    commit::init();
}

/// The part that needs shared memory, while `shared_preload_libraries` are being loaded.
pub fn init_shared() {
    slots::request();
    notice::init();
}

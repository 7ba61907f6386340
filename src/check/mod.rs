//! The check: does the session hold an active grant for this row?
//!
//! `active` and `keys` are what SQL calls. They ask a private copy of the actor's grants (`cache`,
//! filled by `load`), which `invalidation` makes stale when anything that it was made from changes.

mod active;
pub mod arguments;
pub mod cache;
mod call_site;
pub mod clock;
mod eligibility;
pub mod ended;
pub mod family;
mod grants;
pub mod held;
pub mod invalidation;
mod key_table;
mod keys;
pub mod layout;
pub mod load;
mod recent;
pub mod replica;
pub mod scan;
mod scopes;
pub mod uses;

/// To be called once, from `_PG_init`.
pub fn init() {
    invalidation::init();
    uses::init();
}

//! The append-only log. An event is written in the transaction of the change it tells of.

use pgrx::pg_sys;
use serde_json::Value;

use crate::identity::Identity;
use crate::lifecycle::args::{json, optional, value};
use crate::privileged::Owner;
use crate::worker;

/// One change of state.
pub struct Event<'a> {
    /// What happened, such as `requested`; the list is in the README.
    pub kind: &'static str,
    pub request: Option<i64>,
    pub scope: &'a str,
    pub details: Value,
}

/// Appends the event. Its commit is flushed to disk whatever `synchronous_commit` says, and wakes
/// the worker, which announces it.
pub fn record(owner: &Owner, who: &Identity, event: Event<'_>) {
    write(owner, Some(who), event);
}

/// The same for what the worker finds.
pub fn record_by_nobody(owner: &Owner, event: Event<'_>) {
    write(owner, None, event);
}

fn write(owner: &Owner, who: Option<&Identity>, event: Event<'_>) {
    owner.run(
        "WITH e AS (
             INSERT INTO jit_private.events (at, kind, request_id, scope, login, actor, details)
             VALUES (clock_timestamp(), $1, $2, $3, $4, $5, $6) RETURNING id)
         INSERT INTO jit_private.outbox (event_id) SELECT e.id FROM e WHERE $7",
        &[
            value(event.kind),
            optional(event.request),
            value(event.scope),
            optional(who.map(|who| who.login.name.as_str())),
            optional(who.map(|who| who.actor.name.as_str())),
            json(event.details),
            value(worker::preloaded()),
        ],
    );
    committed_durably();
}

/// For statements that write several events themselves.
pub fn committed_durably() {
    // SAFETY: sets a flag of the current transaction (xact.c).
    unsafe { pg_sys::ForceSyncCommit() };
    worker::nudge_after_commit();
}

//! Grants: the access that an approved request became.

use pgrx::pg_sys::Oid;

use super::args::{optional, roles, timestamp, value};
use super::now;
use super::request::Request;
use crate::privileged::Owner;

/// When a grant serves, in microseconds.
pub struct Window {
    pub starts_at: i64,
    pub ends_at: i64,
}

/// Makes the grant of a request that was approved at this moment. Its window starts now, or when the
/// request said if that lies ahead: time spent waiting for approval is not lost.
///
/// The grant takes the request's id, so that there can never be two. It belongs to the epoch in
/// which the request was made: should the scope be disabled meanwhile, it is dead when it commits.
pub fn make(owner: &Owner, request: &Request, duration: i64, approved_by: &[Oid]) -> Window {
    let starts_at = request.starts_at.map_or(now(), |wished| wished.max(now()));
    let window = Window { starts_at, ends_at: starts_at.saturating_add(duration) };
    owner.run(
        "INSERT INTO jit_private.grants (id, scope_id, scope, key, all_rows, grantee, grantee_id, starts_at, ends_at,
                                 approved_by, epoch, origin)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        &[
            value(request.id),
            value(request.scope_id),
            value(request.scope.as_str()),
            optional(request.key.clone()),
            value(request.all_rows),
            value(request.grantee.name.as_str()),
            value(request.grantee.id),
            timestamp(window.starts_at),
            timestamp(window.ends_at),
            roles(approved_by),
            value(request.epoch),
            value(request.origin.as_str()),
        ],
    );
    window
}

//! Roles that were renamed.

use super::statement::count_afresh;
use super::step::{Stop, transaction};

/// Rules bind by OID and are dumped by name, so the name has to follow the role. A rule whose
/// role is gone keeps the name that it had.
macro_rules! follow {
    ($table:literal) => {
        concat!(
            "
WITH renamed AS MATERIALIZED (
    SELECT a.ctid AS row, r.rolname::text AS name
      FROM jit_private.",
            $table,
            " a
           JOIN pg_authid r ON r.oid = a.role_id
     WHERE r.rolname::text <> a.role
       FOR NO KEY UPDATE OF a SKIP LOCKED
), followed AS (
    UPDATE jit_private.",
            $table,
            " a SET role = n.name FROM renamed n WHERE a.ctid = n.row RETURNING 1
)
SELECT count(*) FROM followed"
        )
    };
}

/// Brings the names in the rules up to date.
pub fn follow() -> Result<i64, Stop> {
    transaction(|| {
        Ok(count_afresh(follow!("approvers"))?
            + count_afresh(follow!("requesters"))?
            + count_afresh(follow!("break_glass"))?)
    })
}

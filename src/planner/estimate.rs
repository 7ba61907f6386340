//! How many rows a check lets through, and what it costs. PostgreSQL takes a function that returns a
//! boolean for true in a third of the rows, which ruins joins.

use pgrx::pg_sys::{self, Datum, SupportRequestCost, SupportRequestSelectivity};

use super::call::{Call, Key, KeyType};
use super::dependence;
use super::nodes::cast;
use crate::check::held::{Held, HeldKey};

/// What is left when nothing is held, so that what is joined to it is not planned as if it were free.
const NEXT_TO_NOTHING: f64 = 1e-6;

/// # Safety
/// `request` is the planner's.
pub unsafe fn selectivity(request: &mut SupportRequestSelectivity) -> Option<()> {
    // SAFETY: the planner's nodes live as long as the planning.
    unsafe {
        let call = Call::with_arguments(request.args)?;
        let held = call.scope.as_deref().and_then(Held::now);
        let everything = held.as_ref().is_some_and(Held::all_rows);
        let estimate = match call.key {
            // Nothing can be said of a scope that is known only when it is carried out.
            None if call.scope.is_none() => return None,
            // The estimate is the plan's for as long as the plan lasts: let it be made anew.
            None if dependence::on_marker(request.root) => {
                dependence::on_actor();
                if everything { 1.0 } else { NEXT_TO_NOTHING }
            }
            _ if everything => 1.0,
            Some(key) => share_of_keys(request, &key, held.as_ref()),
            None => 1.0,
        };
        request.selectivity = estimate.clamp(0.0, 1.0);
        Some(())
    }
}

/// The share of rows whose key is one of those that are held. A plan may be kept until another key
/// is held, so that it is made for one key at least.
unsafe fn share_of_keys(request: &SupportRequestSelectivity, key: &Key, held: Option<&Held>) -> f64 {
    let (keys, sample) = held.map_or((0, &[][..]), |held| (held.keys(), held.sample()));
    // SAFETY: examine_variable() fills in the whole struct, and the statistics are released.
    unsafe {
        let mut column: pg_sys::VariableStatData = std::mem::zeroed();
        pg_sys::examine_variable(request.root, key.node, request.varRelid, &mut column);
        let shares: Vec<f64> = sample
            .iter()
            .filter_map(|held| datum(held, key.kind))
            .map(|datum| {
                pg_sys::var_eq_const(&mut column, key.kind.equal, collation(key), datum, false, true, false)
            })
            .collect();
        // The keys that were not looked up are taken to be like those that were.
        let share = if shares.is_empty() {
            pg_sys::var_eq_non_const(&mut column, key.kind.equal, collation(key), key.node, true, false)
        } else {
            shares.iter().sum::<f64>() / shares.len() as f64 * keys as f64
        };
        if let Some(free) = column.freefunc
            && !column.statsTuple.is_null()
        {
            free(column.statsTuple);
        }
        share
    }
}

unsafe fn collation(key: &Key) -> pg_sys::Oid {
    // SAFETY: an expression.
    unsafe { pg_sys::exprCollation(key.node) }
}

/// A key as a value of the column's type. None: it does not fit, and is in no such column.
fn datum(key: &HeldKey, kind: KeyType) -> Option<Datum> {
    match key {
        HeldKey::Int(key) => match kind.oid {
            pg_sys::INT2OID => i16::try_from(*key).ok().map(Datum::from),
            pg_sys::INT4OID => i32::try_from(*key).ok().map(Datum::from),
            pg_sys::INT8OID => Some(Datum::from(*key)),
            _ => None,
        },
        HeldKey::Uuid(key) => (kind.oid == pg_sys::UUIDOID).then(|| Datum::from(key.as_ptr())),
        HeldKey::Text(key) => {
            let length = i32::try_from(key.len()).ok().filter(|_| kind.oid == pg_sys::TEXTOID)?;
            // SAFETY: copies the bytes into a text of the planner's.
            Some(Datum::from(unsafe { pg_sys::cstring_to_text_with_len(key.as_ptr().cast(), length) }))
        }
    }
}

/// # Safety
/// `request` is the planner's.
pub unsafe fn cost(request: &mut SupportRequestCost) -> Option<()> {
    // A check takes about as long as two comparisons; jit_keys makes its array anew each time.
    const CHECK: f64 = 2.0;
    const ARRAY: f64 = 20.0;
    // SAFETY: the planner's nodes live as long as the planning.
    unsafe {
        let call = cast::<pg_sys::FuncExpr>(request.node, pg_sys::NodeTag::T_FuncExpr)?;
        let operators = if call.funcresulttype == pg_sys::BOOLOID {
            CHECK
        } else {
            let keys = Call::with_arguments(call.args)
                .and_then(|call| Held::now(call.scope.as_deref()?))
                .map_or(0, |held| held.keys());
            ARRAY + keys as f64
        };
        request.startup = 0.0;
        request.per_tuple = operators * pg_sys::cpu_operator_cost;
        Some(())
    }
}

//! `jit_active('scope', col)` on a B-tree: `col = ANY (jit_keys('scope', NULL::type))`.
//!
//! Lossy on purpose: the row check stays, and has the last word about each row that the index finds.

use pgrx::pg_sys::{self, Datum, List, Node, NodeTag, Oid, SupportRequestIndexCondition, SysCacheIdentifier};

use super::call::{Call, KeyType};
use super::dependence;
use super::nodes::{cast, members};
use crate::check::held::Held;
use crate::compat;

/// The conditions, NULL for none.
///
/// # Safety
/// `request` is the planner's.
pub unsafe fn of(request: &mut SupportRequestIndexCondition) -> *mut List {
    // SAFETY: the caller's promise.
    unsafe { condition(request).unwrap_or(std::ptr::null_mut()) }
}

unsafe fn condition(request: &mut SupportRequestIndexCondition) -> Option<*mut List> {
    // SAFETY: the planner's nodes live as long as the planning.
    unsafe {
        let function = cast::<pg_sys::FuncExpr>(request.node, NodeTag::T_FuncExpr)?;
        let call = Call::with_arguments(function.args)?;
        let scope = call.scope.as_deref()?;
        let key = call.key.filter(|_| request.indexarg == 1)?;
        let index = request.index.as_mut()?;
        if !searches_arrays(request, index, key.kind) || is_fixed(request, index, &key) {
            return None;
        }
        let keys = keys_function(function.funcid, key.kind)?;
        let held = Held::now(scope)?;
        // A mistake in the policy: its error is the row check's.
        if !held.takes(key.kind.family) {
            return None;
        }
        let decided_by_keys = dependence::on_keys_alone(request.root, &held);
        if !decided_by_keys || !is_worth_it(&held, index) {
            return None;
        }
        // Each process of a parallel scan would make the array for itself, and they share positions in
        // it: when a grant ends in between, rows come twice or the scan fails. Bitmap scans, which
        // only the leader reads the index for, may go on.
        index.amcanparallel = false;
        request.lossy = true;
        // Another role may not be allowed to execute jit_keys.
        (*(*request.root).glob).dependsOnRole = true;
        let condition = equals_any(&key, call.scope_node, keys, request.indexcollation);
        Some(pg_sys::lappend(std::ptr::null_mut(), condition.cast()))
    }
}

/// Whether the index can look an array of such keys up, in the sense that the check has.
unsafe fn searches_arrays(
    request: &SupportRequestIndexCondition,
    index: &pg_sys::IndexOptInfo,
    kind: KeyType,
) -> bool {
    // SAFETY: looks up syscaches.
    unsafe {
        index.relam == pg_sys::BTREE_AM_OID
            && (request.indexcol == 0 || compat::ARRAYS_ON_LATER_INDEX_COLUMNS)
            && pg_sys::get_opfamily_member(
                request.opfamily,
                kind.oid,
                kind.oid,
                pg_sys::BTEqualStrategyNumber as i16,
            ) == kind.equal
            // Keys are compared by bytes. Every deterministic collation finds what is equal so.
            && (kind.oid != pg_sys::TEXTOID
                || request.indexcollation != Oid::INVALID
                    && pg_sys::get_collation_isdeterministic(request.indexcollation))
    }
}

/// Whether the query fixes the column by itself: then there is nothing left to search, and each key that is held would be
/// looked up in vain (before 17, in an index scan of its own).
unsafe fn is_fixed(
    request: &SupportRequestIndexCondition,
    index: &pg_sys::IndexOptInfo,
    key: &super::call::Key,
) -> bool {
    let equal = i32::from(pg_sys::BTEqualStrategyNumber as i16);
    // SAFETY: the planner's nodes live as long as the planning. What is equal to a constant by way of other columns is in
    // the list as well (generate_base_implied_equalities(), equivclass.c).
    unsafe {
        let Some(rel) = index.rel.as_ref() else { return false };
        members::<pg_sys::RestrictInfo>(rel.baserestrictinfo).any(|clause| {
            let Some(operation) = cast::<pg_sys::OpExpr>((*clause).clause.cast(), NodeTag::T_OpExpr) else {
                return false;
            };
            let mut sides = members::<Node>(operation.args);
            let (Some(left), Some(right)) = (sides.next(), sides.next()) else { return false };
            let is_column = |node: *mut Node| pg_sys::equal(node.cast(), key.node.cast());
            let is_value = |node: *mut Node| {
                !pg_sys::contain_var_clause(node) && !pg_sys::contain_volatile_functions(node)
            };
            pg_sys::get_op_opfamily_strategy(operation.opno, request.opfamily) == equal
                && (is_column(left) && is_value(right) || is_column(right) && is_value(left))
        })
    }
}

/// The array is made again for each rescan, and each of its members is looked up: beside a scan of
/// the whole index that must not weigh much.
fn is_worth_it(held: &Held, index: &pg_sys::IndexOptInfo) -> bool {
    const ALWAYS: usize = 100;
    // While planning, scalararraysel() (selfuncs.c) looks at each of them.
    const MOST: usize = 5_000;
    let keys = held.keys();
    keys <= ALWAYS || keys <= MOST && keys as f64 * 10.0 <= index.tuples
}

/// `jit_keys` of the schema that this `jit_active` is in, if whoever runs the query may execute it.
unsafe fn keys_function(active: Oid, kind: KeyType) -> Option<Oid> {
    const CACHE: i32 = SysCacheIdentifier::PROCNAMEARGSNSP as i32;
    let types = [pg_sys::TEXTOID, kind.oid];
    // SAFETY: looks up syscaches; the vector is palloc'd.
    unsafe {
        let schema = pg_sys::get_func_namespace(active);
        let types = pg_sys::buildoidvector(types.as_ptr(), 2);
        let found = pg_sys::GetSysCacheOid(
            CACHE,
            pg_sys::Anum_pg_proc_oid as i16,
            Datum::from(c"jit_keys".as_ptr()),
            Datum::from(types),
            Datum::from(schema),
            Datum::from(0),
        );
        (found != Oid::INVALID && compat::may_execute(found, pg_sys::GetUserId())).then_some(found)
    }
}

/// A modifier that no type has, by which `jit_keys` knows the call made here, in parallel workers too: it is among what a plan
/// is written and read with, and EXPLAIN shows none that is negative (format_type_extended(), format_type.c).
pub const DERIVED: i32 = -7_117;

unsafe fn equals_any(
    key: &super::call::Key,
    scope: *mut Node,
    keys: Oid,
    collation: Oid,
) -> *mut pg_sys::ScalarArrayOpExpr {
    let kind = key.kind;
    let text_collation =
        if kind.oid == pg_sys::TEXTOID { pg_sys::DEFAULT_COLLATION_OID } else { Oid::INVALID };
    // SAFETY: makes nodes in the planner's memory context. palloc0 gives every field that is not set
    // here its neutral value.
    unsafe {
        let null = pg_sys::makeConst(
            kind.oid,
            DERIVED,
            text_collation,
            kind.length,
            Datum::from(0),
            true,
            kind.by_value,
        );
        let mut arguments = pg_sys::lappend(std::ptr::null_mut(), pg_sys::copyObjectImpl(scope.cast()));
        arguments = pg_sys::lappend(arguments, null.cast());
        let array = pg_sys::makeFuncExpr(
            keys,
            pg_sys::get_array_type(kind.oid),
            arguments,
            text_collation,
            text_collation,
            pg_sys::CoercionForm::COERCE_EXPLICIT_CALL,
        );
        (*array).location = -1;
        let condition: *mut pg_sys::ScalarArrayOpExpr =
            pg_sys::palloc0(size_of::<pg_sys::ScalarArrayOpExpr>()).cast();
        (*condition).xpr.type_ = NodeTag::T_ScalarArrayOpExpr;
        (*condition).opno = kind.equal;
        (*condition).opfuncid = pg_sys::get_opcode(kind.equal);
        (*condition).useOr = true;
        (*condition).inputcollid = collation;
        (*condition).args =
            pg_sys::lappend(pg_sys::lappend(std::ptr::null_mut(), key.node.cast()), array.cast());
        (*condition).location = -1;
        condition
    }
}

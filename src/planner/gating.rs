//! A policy without columns, `USING (jit_active('oncall'))`, is decided once for a scan.
//!
//! PostgreSQL would evaluate it for each row: process_security_barrier_quals() (initsplan.c) never makes
//! a security qual a gating one, lest it be pulled up past what it protects. Here it stays at its own
//! scan, above which create_gating_plan() (createplan.c) puts a Result with a One-Time Filter.
//! That such a plan decides once is why a transaction whose grant has ended runs nothing more, see
//! `check::uses`.

use pgrx::pg_sys::{self, Node, NodeTag};
use pgrx::prelude::*;

use super::nodes::{cast, members};
use super::{dependence, support};

static mut PREVIOUS: pg_sys::set_rel_pathlist_hook_type = None;

pub fn init() {
    // SAFETY: called on the process's only thread.
    unsafe {
        PREVIOUS = pg_sys::set_rel_pathlist_hook;
        pg_sys::set_rel_pathlist_hook = Some(set_rel_pathlist);
    }
}

/// Unguarded, so that others' errors pass through as they are.
unsafe extern "C-unwind" fn set_rel_pathlist(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    index: pg_sys::Index,
    entry: *mut pg_sys::RangeTblEntry,
) {
    // SAFETY: passes on what allpaths.c passed; the clauses are RestrictInfos.
    unsafe {
        if let Some(previous) = PREVIOUS {
            previous(root, rel, index, entry);
        }
        if (*entry).rtekind != pg_sys::RTEKind::RTE_RELATION {
            return;
        }
        for clause in members::<pg_sys::RestrictInfo>((*rel).baserestrictinfo) {
            // Sets without members are NULL, or empty where something was taken out of them.
            let without_columns = (*clause).clause_relids.is_null() || is_empty((*clause).clause_relids);
            if without_columns && !(*clause).pseudoconstant {
                gate(root, &mut *clause);
            }
        }
    }
}

unsafe fn is_empty(set: *mut pg_sys::Bitmapset) -> bool {
    // SAFETY: a set of the planner's.
    unsafe {
        let words = usize::try_from((*set).nwords).unwrap_or(0);
        (*set).words.as_slice(words).iter().all(|word| *word == 0)
    }
}

/// Makes a gate of the clause, if it is ours.
#[pg_guard]
unsafe extern "C-unwind" fn gate(root: *mut pg_sys::PlannerInfo, clause: &mut pg_sys::RestrictInfo) {
    // SAFETY: the planner's nodes live as long as the planning.
    unsafe {
        if is_ours(root, clause.clause.cast()) {
            clause.pseudoconstant = true;
            (*root).hasPseudoConstantQuals = true;
            // By which `gate` knows the plan.
            dependence::on_marker(root);
        }
    }
}

/// Whether calls of ours without columns are all that the clause consists of. Nobody else's
/// expressions are moved.
unsafe fn is_ours(root: *mut pg_sys::PlannerInfo, node: *mut Node) -> bool {
    // SAFETY: the planner's nodes live as long as the planning.
    unsafe {
        if let Some(call) = cast::<pg_sys::FuncExpr>(node, NodeTag::T_FuncExpr) {
            return call.funcresulttype == pg_sys::BOOLOID
                && support::supports(call.funcid)
                && !pg_sys::contain_var_clause(call.args.cast())
                && !pg_sys::contain_subplans(call.args.cast())
                && !pg_sys::contain_volatile_functions(call.args.cast());
        }
        if let Some(list) = cast::<pg_sys::BoolExpr>(node, NodeTag::T_BoolExpr) {
            return members::<Node>(list.args).all(|node| is_ours(root, node));
        }
        if let Some(param) = cast::<pg_sys::Param>(node, NodeTag::T_Param) {
            return initial_plan(root, param).is_some_and(|node| is_ours(root, node));
        }
        false
    }
}

/// What `(SELECT expression)` computes, which the planner has made a parameter of.
unsafe fn initial_plan(root: *mut pg_sys::PlannerInfo, param: &pg_sys::Param) -> Option<*mut Node> {
    if param.paramkind != pg_sys::ParamKind::PARAM_EXEC {
        return None;
    }
    // SAFETY: init_plans are SubPlans, whose plan_id counts from 1 in the list of all subplans; the
    // plan of a SELECT without FROM is a Result without input.
    unsafe {
        let is_of = |subplan: &*mut pg_sys::SubPlan| {
            (**subplan).subLinkType == pg_sys::SubLinkType::EXPR_SUBLINK
                && pg_sys::list_member_int((**subplan).setParam, param.paramid)
        };
        // min() and max() are tried out in a query of their own below (build_minmax_path(), planagg.c), which has the
        // parameters of the one above.
        let subplan = std::iter::successors(root.as_ref(), |root| root.parent_root.as_ref())
            .find_map(|root| members::<pg_sys::SubPlan>(root.init_plans).find(is_of))?;
        let place = usize::try_from((*subplan).plan_id).ok()?.checked_sub(1)?;
        let plan = members::<pg_sys::Plan>((*(*root).glob).subplans).nth(place)?;
        let result = cast::<pg_sys::Result>(plan.cast(), NodeTag::T_Result)?;
        if !result.plan.lefttree.is_null() || !result.resconstantqual.is_null() || !result.plan.qual.is_null()
        {
            return None;
        }
        let mut columns = members::<pg_sys::TargetEntry>(result.plan.targetlist);
        let (first, None) = (columns.next()?, columns.next()) else { return None };
        Some((*first).expr.cast())
    }
}

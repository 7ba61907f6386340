//! Statements on our tables by people who have no business there.
//!
//! LOCK TABLE, CREATE RULE, CREATE TRIGGER, REFERENCES and, for members of pg_maintain, REINDEX and CLUSTER lock a table, or
//! wait to, before or without a trigger of ours having a say, and hold up every ending as long as their transaction stays open.
//! Most people cannot even name the tables, for want of USAGE on schema `jit_private`; members of
//! pg_write_all_data can, and are stopped here. Works where the library is loaded: see the README.

use std::ffi::CStr;

use pgrx::PgList;
use pgrx::pg_sys::{self, NodeTag, Oid, RangeVar};

use crate::errors::Refusal;
use crate::lifecycle::args::value;
use crate::privileged::Owner;

/// Raises 42501 when the utility statement names one of our tables and the session is neither its owner
/// nor a superuser.
pub fn check(node: *mut pg_sys::Node) {
    // SAFETY: a utility statement of the type that its tag says (parsenodes.h); lists hold what the
    // comments there say.
    unsafe {
        match (*node).type_ {
            NodeTag::T_LockStmt => {
                for table in
                    PgList::<RangeVar>::from_pg((*node.cast::<pg_sys::LockStmt>()).relations).iter_ptr()
                {
                    check_locked(table);
                }
            }
            NodeTag::T_RuleStmt => check_table((*node.cast::<pg_sys::RuleStmt>()).relation),
            NodeTag::T_CreateTrigStmt => {
                let trigger = node.cast::<pg_sys::CreateTrigStmt>();
                check_table((*trigger).relation);
                check_table((*trigger).constrrel);
            }
            NodeTag::T_CreateStmt => {
                let table = node.cast::<pg_sys::CreateStmt>();
                check_list((*table).inhRelations);
                check_elements((*table).tableElts);
            }
            // The table comes first in it.
            NodeTag::T_CreateForeignTableStmt => {
                let table = &raw mut (*node.cast::<pg_sys::CreateForeignTableStmt>()).base;
                check_list((*table).inhRelations);
                check_elements((*table).tableElts);
            }
            NodeTag::T_AlterObjectDependsStmt => {
                let depends = node.cast::<pg_sys::AlterObjectDependsStmt>();
                check_table((*depends).relation);
                check_extension((*depends).extname);
            }
            NodeTag::T_ReindexStmt => check_table((*node.cast::<pg_sys::ReindexStmt>()).relation),
            NodeTag::T_ClusterStmt => check_table((*node.cast::<pg_sys::ClusterStmt>()).relation),
            NodeTag::T_AlterTableStmt => {
                let alter = node.cast::<pg_sys::AlterTableStmt>();
                check_table((*alter).relation);
                for command in PgList::<pg_sys::AlterTableCmd>::from_pg((*alter).cmds).iter_ptr() {
                    check_element((*command).def);
                }
            }
            _ => {}
        }
    }
}

unsafe fn check_list(tables: *mut pg_sys::List) {
    // SAFETY: a list of RangeVar, or NIL.
    unsafe {
        for table in PgList::<RangeVar>::from_pg(tables).iter_ptr() {
            check_table(table);
        }
    }
}

/// Columns and constraints of a table: a REFERENCES can stand in either.
unsafe fn check_elements(elements: *mut pg_sys::List) {
    // SAFETY: a list of nodes, or NIL.
    unsafe {
        for element in PgList::<pg_sys::Node>::from_pg(elements).iter_ptr() {
            check_element(element);
        }
    }
}

unsafe fn check_element(element: *mut pg_sys::Node) {
    // SAFETY: a node or NULL.
    unsafe {
        if element.is_null() {
            return;
        }
        match (*element).type_ {
            NodeTag::T_Constraint => check_table((*element.cast::<pg_sys::Constraint>()).pktable),
            NodeTag::T_ColumnDef => check_elements((*element.cast::<pg_sys::ColumnDef>()).constraints),
            // ALTER TABLE ... INHERIT, ATTACH PARTITION, DETACH PARTITION
            NodeTag::T_RangeVar => check_table(element.cast()),
            NodeTag::T_PartitionCmd => check_table((*element.cast::<pg_sys::PartitionCmd>()).name),
            _ => {}
        }
    }
}

/// ALTER ... DEPENDS ON EXTENSION takes AccessExclusiveLock on the extension, whose owner it does not ask for
/// (ExecAlterObjectDependsStmt(), alter.c), and the worker holds on to the extension while it is at work.
unsafe fn check_extension(name: *mut pg_sys::String) {
    // SAFETY: the parser's String node, with a C string; an extension that there is not has nothing of ours.
    unsafe {
        if name.is_null() || pg_sys::superuser() || CStr::from_ptr((*name).sval) != c"jit_rls" {
            return;
        }
    }
    Refusal::not_allowed("nothing of yours can depend on jit_rls by ALTER ... DEPENDS ON EXTENSION")
        .detail("That locks the extension, and would hold up revocations.")
        .hint("Leave it out: what uses functions of jit_rls depends on them anyhow.")
        .raise()
}

unsafe fn check_table(table: *mut RangeVar) {
    // SAFETY: a RangeVar or NULL.
    if let Some(relation) = unsafe { named(table) }
        && is_ours(relation)
    {
        refuse();
    }
}

/// LOCK on a view locks the tables below it, with the rights of the view's owner (LockViewRecurse(),
/// lockcmds.c).
unsafe fn check_locked(table: *mut RangeVar) {
    // SAFETY: a RangeVar or NULL; get_rel_relkind() gives 0 for an unknown OID.
    unsafe {
        let Some(relation) = named(table) else { return };
        let is_view = pg_sys::get_rel_relkind(relation) as u8 == pg_sys::RELKIND_VIEW;
        if is_ours(relation) || is_view && !pg_sys::superuser() && stands_on_ours(relation) {
            refuse();
        }
    }
}

/// The relation of that name, if there is one.
unsafe fn named(table: *mut RangeVar) -> Option<Oid> {
    if table.is_null() {
        return None;
    }
    // SAFETY: looks the name up without a lock; missing_ok gives InvalidOid.
    let relation = unsafe {
        let missing_ok = pg_sys::RVROption::RVR_MISSING_OK;
        pg_sys::RangeVarGetRelidExtended(table, pg_sys::NoLock as i32, missing_ok, None, std::ptr::null_mut())
    };
    (relation != Oid::INVALID).then_some(relation)
}

fn refuse() -> ! {
    Refusal::not_allowed("the tables of jit_rls are its own")
        .detail("A lock on them would hold up revocations.")
        .hint("Read them through the views of schema jit.")
        .raise()
}

/// Whether a view, or one below it, reads a table of ours.
fn stands_on_ours(view: Oid) -> bool {
    // Without our tables there is nothing to guard.
    let Ok(owner) = Owner::enter() else { return false };
    owner
        .first_of_catalogs(
            "WITH RECURSIVE below (id) AS (
                 SELECT $1::oid
                  UNION
                 SELECT d.refobjid FROM below b
                   JOIN pg_rewrite r ON r.ev_class = b.id
                   JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
                    AND d.refclassid = 'pg_class'::regclass)
             SELECT EXISTS (SELECT FROM below b JOIN pg_class c ON c.oid = b.id
                             WHERE c.relnamespace = 'jit_private'::regnamespace)",
            &[value(view)],
            |row| row.must(1),
        )
        .unwrap_or(false)
}

/// A relation of our schemas, and the session is neither its owner nor a superuser.
fn is_ours(relation: Oid) -> bool {
    const CACHE: i32 = pg_sys::SysCacheIdentifier::RELOID as i32;
    // SAFETY: look-ups in the syscache; the tuple is pinned between search and release.
    unsafe {
        let schema = pg_sys::get_rel_namespace(relation);
        let ours = [c"jit_private", c"jit"]
            .iter()
            .any(|name| pg_sys::get_namespace_oid(name.as_ptr(), true) == schema);
        if schema == Oid::INVALID || !ours || pg_sys::superuser() {
            return false;
        }
        let tuple = pg_sys::SearchSysCache1(CACHE, pg_sys::Datum::from(relation));
        if tuple.is_null() {
            return false;
        }
        let mut null = false;
        let owner = pg_sys::SysCacheGetAttr(CACHE, tuple, pg_sys::Anum_pg_class_relowner as i16, &mut null);
        pg_sys::ReleaseSysCache(tuple);
        owner.value() as u32 != pg_sys::GetUserId().to_u32()
    }
}

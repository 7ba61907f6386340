//! Where things stand in schema `jit`: OIDs of tables and indexes, numbers of columns, by
//! name, so that neither DROP and CREATE EXTENSION in one session nor a column that a later
//! version adds leads to reading the wrong thing. Looked up again when one of them changes.

use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::rc::Rc;

use pgrx::pg_sys::{self, Oid};

use super::invalidation;
use super::scan::{Bool, Column, Index, Int4, Int8, Name, RoleId, RoleIds, Timestamp, Uuid};
use crate::errors::Refusal;

pub struct Scopes {
    pub table: Oid,
    pub by_id: Index<Int4>,
    /// Partial: `WHERE dropped_at IS NULL`.
    pub by_name: Index<Name>,
    pub id: Column<Int4>,
    pub name: Column<Name>,
    pub key_type: Column<Name>,
    pub enabled: Column<Bool>,
    pub epoch: Column<Int8>,
    pub anyone_may_ask: Column<Bool>,
    pub dropped_at: Column<Timestamp>,
    pub on_end: Column<Name>,
}

pub struct Grants {
    pub table: Oid,
    /// Partial: `WHERE tidied_at IS NULL`.
    pub by_id: Index<Int8>,
    pub live: Index<RoleId>,
    /// Partial: `WHERE all_rows AND tidied_at IS NULL`.
    pub all_rows_live: Index<Int4>,
    pub id: Column<Int8>,
    pub scope_id: Column<Int4>,
    pub grantee_id: Column<RoleId>,
    pub key: Column<Name>,
    pub all_rows: Column<Bool>,
    pub starts_at: Column<Timestamp>,
    pub ends_at: Column<Timestamp>,
    pub approved_by: Column<RoleIds>,
    pub epoch: Column<Int8>,
    pub origin: Column<Name>,
    pub asked_by: Column<RoleIds>,
    pub tidied_at: Column<Timestamp>,
}

pub struct Endings {
    pub table: Oid,
    pub by_grant: Index<Int8>,
    pub at: Column<Timestamp>,
    pub kind: Column<Name>,
    pub actor: Column<Name>,
}

pub struct Requesters {
    pub table: Oid,
    pub by_scope: Index<Int4>,
    pub role: Column<Name>,
    pub role_id: Column<RoleId>,
    pub origin: Column<Name>,
}

pub struct Installation {
    pub table: Oid,
    pub id: Column<Uuid>,
}

pub struct Layout {
    generation: u64,
    pub scopes: Scopes,
    pub grants: Grants,
    pub endings: Endings,
    pub requesters: Requesters,
    pub installation: Installation,
}

impl Layout {
    /// To be asked once the tables are open, whose locks keep it true from then on: taking a
    /// lock reads the messages of others.
    pub fn is_current(&self) -> bool {
        self.generation == invalidation::layout_generation()
    }
}

/// The relations by name.
#[derive(PartialEq, Eq)]
struct Oids {
    marker: Oid,
    scopes: Oid,
    scopes_id: Oid,
    scopes_name: Oid,
    grants: Oid,
    grants_id: Oid,
    grants_live: Oid,
    grants_all_rows: Oid,
    endings: Oid,
    endings_grant: Oid,
    requesters: Oid,
    requesters_scope: Oid,
    installation: Oid,
}

impl Oids {
    fn look_up() -> Option<Self> {
        let schema = schema()?;
        let named = |name: &CStr| relation(schema, name);
        Some(Oids {
            marker: named(c"marker")?,
            scopes: named(c"scopes")?,
            scopes_id: named(c"scopes_pkey")?,
            scopes_name: named(c"scopes_name")?,
            grants: named(c"grants")?,
            grants_id: named(c"grants_pkey")?,
            grants_live: named(c"grants_live")?,
            grants_all_rows: named(c"grants_all_rows")?,
            endings: named(c"endings")?,
            endings_grant: named(c"endings_grant")?,
            requesters: named(c"requesters")?,
            requesters_scope: named(c"requesters_scope")?,
            installation: named(c"installation")?,
        })
    }

    /// The marker is not among them: it changes with every grant.
    fn relations(&self) -> [Oid; 12] {
        [
            self.scopes,
            self.scopes_id,
            self.scopes_name,
            self.grants,
            self.grants_id,
            self.grants_live,
            self.grants_all_rows,
            self.endings,
            self.endings_grant,
            self.requesters,
            self.requesters_scope,
            self.installation,
        ]
    }
}

fn schema() -> Option<Oid> {
    // SAFETY: missing_ok gives InvalidOid.
    let schema = unsafe { pg_sys::get_namespace_oid(c"jit_private".as_ptr(), true) };
    (schema != Oid::INVALID).then_some(schema)
}

fn relation(schema: Oid, name: &CStr) -> Option<Oid> {
    // SAFETY: gives InvalidOid for an unknown name.
    let relation = unsafe { pg_sys::get_relname_relid(name.as_ptr(), schema) };
    (relation != Oid::INVALID).then_some(relation)
}

/// The marker table, as it is now.
pub fn marker() -> Option<Oid> {
    relation(schema()?, c"marker")
}

/// The table that plans depend on, as it is now.
pub fn plan_marker() -> Option<Oid> {
    relation(schema()?, c"plan_marker")
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Layout>>> = const { RefCell::new(None) };
    /// The generation that the warning below was given for.
    static WARNED: Cell<u64> = const { Cell::new(0) };
}

/// None when the extension is not in this database, or its tables are not what this library
/// knows. Nobody is served then.
pub fn current() -> Option<Rc<Layout>> {
    loop {
        if let Some(layout) = CURRENT.with_borrow(Option::clone).filter(|layout| layout.is_current()) {
            return Some(layout);
        }
        pgrx::check_for_interrupts!();
        let oids = Oids::look_up()?;
        invalidation::watch(oids.marker, oids.relations());
        let generation = invalidation::layout_generation();
        // A message about these relations may have come before anybody listened for it.
        if Oids::look_up().as_ref() != Some(&oids) {
            continue;
        }
        let layout = resolve(&oids, generation);
        if generation != invalidation::layout_generation() {
            continue;
        }
        match layout {
            Some(layout) => CURRENT.set(Some(Rc::new(layout))),
            None => {
                warn_once(generation);
                return None;
            }
        }
    }
}

fn resolve(oids: &Oids, generation: u64) -> Option<Layout> {
    let scope_id = Column::named(oids.scopes, c"id")?;
    let scope_name = Column::named(oids.scopes, c"name")?;
    let grantee_id = Column::named(oids.grants, c"grantee_id")?;
    let grants_id = Column::named(oids.grants, c"id")?;
    let grant_scope_id = Column::named(oids.grants, c"scope_id")?;
    let grant_id = Column::named(oids.endings, c"grant_id")?;
    let requesters_scope_id = Column::named(oids.requesters, c"scope_id")?;
    Some(Layout {
        generation,
        scopes: Scopes {
            table: oids.scopes,
            by_id: Index::open(oids.scopes_id, &scope_id)?,
            by_name: Index::open(oids.scopes_name, &scope_name)?,
            id: scope_id,
            name: scope_name,
            key_type: Column::named(oids.scopes, c"key_type")?,
            enabled: Column::named(oids.scopes, c"enabled")?,
            epoch: Column::named(oids.scopes, c"epoch")?,
            anyone_may_ask: Column::named(oids.scopes, c"anyone_may_ask")?,
            dropped_at: Column::named(oids.scopes, c"dropped_at")?,
            on_end: Column::named(oids.scopes, c"on_end")?,
        },
        grants: Grants {
            table: oids.grants,
            by_id: Index::open(oids.grants_id, &grants_id)?,
            live: Index::open(oids.grants_live, &grantee_id)?,
            all_rows_live: Index::open(oids.grants_all_rows, &grant_scope_id)?,
            id: grants_id,
            scope_id: grant_scope_id,
            grantee_id,
            key: Column::named(oids.grants, c"key")?,
            all_rows: Column::named(oids.grants, c"all_rows")?,
            starts_at: Column::named(oids.grants, c"starts_at")?,
            ends_at: Column::named(oids.grants, c"ends_at")?,
            approved_by: Column::named(oids.grants, c"approved_by")?,
            epoch: Column::named(oids.grants, c"epoch")?,
            origin: Column::named(oids.grants, c"origin")?,
            asked_by: Column::named(oids.grants, c"asked_by")?,
            tidied_at: Column::named(oids.grants, c"tidied_at")?,
        },
        endings: Endings {
            table: oids.endings,
            by_grant: Index::open(oids.endings_grant, &grant_id)?,
            at: Column::named(oids.endings, c"at")?,
            kind: Column::named(oids.endings, c"kind")?,
            actor: Column::named(oids.endings, c"actor")?,
        },
        requesters: Requesters {
            table: oids.requesters,
            by_scope: Index::open(oids.requesters_scope, &requesters_scope_id)?,
            role: Column::named(oids.requesters, c"role")?,
            role_id: Column::named(oids.requesters, c"role_id")?,
            origin: Column::named(oids.requesters, c"origin")?,
        },
        installation: Installation { table: oids.installation, id: Column::named(oids.installation, c"id")? },
    })
}

/// A check must not raise, but that it denies everybody must not stay a riddle either.
fn warn_once(generation: u64) {
    if WARNED.replace(generation) != generation {
        Refusal::wrong_state("jit_rls: the tables of schema jit are not those of this library; all access is denied")
            .hint("ALTER EXTENSION jit_rls UPDATE; if that changes nothing, install the library of the extension's version.")
            .warn();
    }
}

//! The rules of a scope, as they are now, and what they entitle somebody to.

use pgrx::pg_sys::Oid;
use serde::{Deserialize, Serialize};

use super::args::value;
use super::key::KeyType;
use super::options::{OnEnd, Options};
use super::pinned::Pinned;
use super::span;
use super::stages::{self, Approvers, Slot};
use crate::errors::{Outcome, Refusal, shown};
use crate::identity::{self, Identity};
use crate::origin;
use crate::privileged::{Owner, Row};

/// A scope with its rules as they are now.
pub struct Scope {
    pub id: i32,
    pub name: String,
    pub key_type: Option<KeyType>,
    pub allow_all_rows: bool,
    pub default_duration: i64,
    pub max_duration: i64,
    /// None: as `max_duration`.
    max_total: Option<i64>,
    pub max_ahead: i64,
    pub pending_ttl: i64,
    pub reason_pattern: Option<String>,
    pub max_pending: i32,
    pub max_grants: i32,
    pub denial_pause: i64,
    pub auto_approve: Option<Pinned>,
    pub validate: Option<Pinned>,
    pub break_glass_max: i64,
    pub review_within: i64,
    pub break_glass_block_overdue: bool,
    pub enabled: bool,
    pub epoch: i64,
    pub slots: Vec<Slot>,
    /// None: anyone may ask.
    pub requesters: Option<Vec<(String, Oid)>>,
    description: Option<String>,
    on_end: String,
}

/// The part of the rules that a request keeps from the time it was made: they can become
/// stricter for it, never laxer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Frozen {
    pub approvers: Vec<Slot>,
    /// Microseconds.
    pub max_duration: i64,
    pub max_total: i64,
}

/// What `from_row` reads.
macro_rules! columns {
    () => {
        "SELECT s.id, s.name, s.key_type, s.allow_all_rows, s.anyone_may_ask,
                (extract(epoch FROM s.default_duration) * 1000000)::bigint,
                (extract(epoch FROM s.max_duration) * 1000000)::bigint,
                (extract(epoch FROM s.pending_ttl) * 1000000)::bigint,
                s.reason_pattern, s.on_end, s.enabled, s.epoch, s.description,
                (extract(epoch FROM s.max_total) * 1000000)::bigint,
                (extract(epoch FROM s.max_ahead) * 1000000)::bigint,
                s.max_pending, s.max_grants,
                (extract(epoch FROM s.denial_pause) * 1000000)::bigint,
                s.auto_approve, s.validate,
                (extract(epoch FROM s.break_glass_max) * 1000000)::bigint,
                (extract(epoch FROM s.review_within) * 1000000)::bigint,
                s.break_glass_block_overdue
           FROM jit_private.scopes s "
    };
}

/// By what somebody may decide.
#[derive(Debug, Default)]
pub struct Entitlement {
    /// Names of approver roles.
    pub roles: Vec<String>,
    /// For each of them, how login and actor come to belong to it: `bob > team_a > support_lead`.
    pub paths: Vec<String>,
}

impl Entitlement {
    /// Of those slots. Login and actor must both qualify: borrowing a role with SET ROLE buys nothing. A shared
    /// login is nobody, there the actor alone is looked at.
    pub fn of<'a>(who: &Identity, slots: impl IntoIterator<Item = &'a Slot>) -> Self {
        let mut found = Entitlement::default();
        for slot in slots.into_iter().filter(|slot| slot.role_id != 0) {
            let person = who.person();
            let paths: Option<Vec<Vec<Oid>>> =
                person.iter().map(|member| identity::path(*member, Oid::from_u32(slot.role_id))).collect();
            let Some(paths) = paths.filter(|paths| !paths.is_empty() && !found.roles.contains(&slot.role))
            else {
                continue;
            };
            found.roles.push(slot.role.clone());
            found.paths.extend(paths.into_iter().map(|path| {
                let names: Vec<String> = path.into_iter().filter_map(identity::role_name).collect();
                names.join(" > ")
            }));
        }
        found
    }

    pub fn is_none(&self) -> bool {
        self.roles.is_empty()
    }
}

impl Scope {
    /// The live scope of that name.
    pub fn named(owner: &Owner, name: &str) -> Option<Scope> {
        let scope = owner.first(
            concat!(columns!(), "WHERE s.name = $1 AND s.dropped_at IS NULL"),
            &[value(name)],
            from_row,
        );
        scope.map(|scope| scope.with_roles(owner))
    }

    /// The scope of that id, unless it has been dropped.
    pub fn by_id(owner: &Owner, id: i32) -> Option<Scope> {
        let scope = owner.first(
            concat!(columns!(), "WHERE s.id = $1 AND s.dropped_at IS NULL"),
            &[value(id)],
            from_row,
        );
        scope.map(|scope| scope.with_roles(owner))
    }

    /// The scope of that id; as it was when it was dropped, if it has been.
    pub fn of_record(owner: &Owner, id: i32) -> Option<Scope> {
        let scope = owner.first(concat!(columns!(), "WHERE s.id = $1"), &[value(id)], from_row);
        scope.map(|scope| scope.with_roles(owner))
    }

    fn with_roles(mut self, owner: &Owner) -> Scope {
        let origin = origin::current();
        self.slots = owner.query(
            "SELECT a.role, a.role_id, a.origin, a.people, a.stage FROM jit_private.approvers a
              WHERE a.scope_id = $1 ORDER BY a.stage, a.role",
            &[value(self.id)],
            |row| {
                let (role, id) = bound(row, &origin);
                let number = |column: i32| u32::try_from(row.must::<i32>(column)).unwrap_or(u32::MAX);
                Slot { stage: number(5), role, role_id: id.to_u32(), people: number(4) }
            },
        );
        if self.requesters.is_some() {
            self.requesters = Some(owner.query(
                "SELECT r.role, r.role_id, r.origin FROM jit_private.requesters r WHERE r.scope_id = $1 ORDER BY r.role",
                &[value(self.id)],
                |row| bound(row, &origin),
            ));
        }
        self
    }

    /// Who may break glass. Asked for by nobody who is in a hurry.
    pub fn break_glass_roles(&self, owner: &Owner) -> Vec<(String, Oid)> {
        let origin = origin::current();
        owner.query(
            "SELECT b.role, b.role_id, b.origin FROM jit_private.break_glass b WHERE b.scope_id = $1 ORDER BY b.role",
            &[value(self.id)],
            |row| bound(row, &origin),
        )
    }

    /// Whether somebody with these roles may ask: each of them must qualify.
    pub fn may_ask(&self, roles: &[Oid]) -> bool {
        self.requesters.as_ref().is_none_or(|named| all_belong(roles, named))
    }

    /// How long a grant may last, extensions included.
    pub fn max_total(&self) -> i64 {
        self.max_total.unwrap_or(self.max_duration)
    }

    /// The approver roles, of whichever stage, that this session qualifies for today.
    pub fn entitles(&self, who: &Identity) -> Entitlement {
        Entitlement::of(who, &self.slots)
    }

    pub fn frozen(&self) -> Frozen {
        Frozen { approvers: self.slots.clone(), max_duration: self.max_duration, max_total: self.max_total() }
    }

    /// What a request must still meet, of the rules then and now.
    pub fn stricter_slots(&self, frozen: &Frozen) -> Vec<Slot> {
        stages::stricter(&self.slots, &frozen.approvers)
    }

    pub fn options(&self, owner: &Owner) -> Options {
        let names = |roles: &[(String, Oid)]| roles.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        let break_glass = self.break_glass_roles(owner);
        Options {
            description: self.description.clone(),
            key_type: self.key_type,
            allow_all_rows: self.allow_all_rows,
            approvers: Approvers::of(&self.slots),
            requesters: self.requesters.as_deref().map(names),
            default_duration: Some(span::text(self.default_duration)),
            max_duration: span::text(self.max_duration),
            max_total: self.max_total.map(span::text),
            max_ahead: span::text(self.max_ahead),
            pending_ttl: span::text(self.pending_ttl),
            reason_pattern: self.reason_pattern.clone(),
            max_pending: u32::try_from(self.max_pending).unwrap_or(0),
            max_grants: u32::try_from(self.max_grants).unwrap_or(0),
            denial_pause: span::text(self.denial_pause),
            auto_approve: self.auto_approve.as_ref().map(|pinned| pinned.function.clone()),
            validate: self.validate.as_ref().map(|pinned| pinned.function.clone()),
            break_glass: (!break_glass.is_empty()).then(|| names(&break_glass)),
            break_glass_max: span::text(self.break_glass_max),
            review_within: span::text(self.review_within),
            break_glass_block_overdue: self.break_glass_block_overdue,
            on_end: OnEnd::named(&self.on_end).unwrap_or_default(),
            enabled: self.enabled,
        }
    }
}

/// A rule names a role by OID. One from before a restore or pg_upgrade counts only while the OID still has the
/// name that the rule was written with.
fn bound(row: &Row, origin: &str) -> (String, Oid) {
    let (role, id): (String, Oid) = (row.must(1), row.must(2));
    let name = identity::role_name(id);
    let same = row.get::<String>(3).as_deref() == Some(origin) || name.as_deref() == Some(&*role);
    match name {
        Some(name) if same => (name, id),
        _ => (role, Oid::INVALID),
    }
}

/// Whether each of `roles` belongs to one of those named; false for nobody.
pub fn all_belong(roles: &[Oid], named: &[(String, Oid)]) -> bool {
    !roles.is_empty()
        && roles.iter().all(|member| {
            named.iter().any(|(_, role)| *role != Oid::INVALID && identity::qualifies(*member, *role))
        })
}

fn from_row(row: &Row) -> Scope {
    Scope {
        id: row.must(1),
        name: row.must(2),
        key_type: row.get::<String>(3).and_then(|name| KeyType::named(&name)),
        allow_all_rows: row.must(4),
        requesters: (!row.must::<bool>(5)).then(Vec::new),
        default_duration: row.must(6),
        max_duration: row.must(7),
        pending_ttl: row.must(8),
        reason_pattern: row.get(9),
        on_end: row.must(10),
        enabled: row.must(11),
        epoch: row.must(12),
        description: row.get(13),
        max_total: row.get(14),
        max_ahead: row.must(15),
        max_pending: row.must(16),
        max_grants: row.must(17),
        denial_pause: row.must(18),
        auto_approve: row.get(19).and_then(Pinned::read),
        validate: row.get(20).and_then(Pinned::read),
        break_glass_max: row.must(21),
        review_within: row.must(22),
        break_glass_block_overdue: row.must(23),
        slots: Vec::new(),
    }
}

/// The scope, or an error whose HINT lists the ones that this session may ask for.
pub fn required(owner: &Owner, name: &str, who: &Identity) -> Outcome<Scope> {
    if let Some(scope) = Scope::named(owner, name) {
        return Ok(scope);
    }
    let person = who.person();
    let names: Vec<String> = owner
        .query(
            "SELECT s.name FROM jit_private.scopes s WHERE s.dropped_at IS NULL AND s.enabled ORDER BY s.name",
            &[],
            |row| row.must::<String>(1),
        )
        .into_iter()
        .filter(|name| Scope::named(owner, name).is_some_and(|scope| scope.may_ask(&person)))
        .collect();
    Err(Refusal::unknown(format!("there is no scope \"{}\"", shown(name))).hint(if names.is_empty() {
        "There is no scope that you may ask for; an admin makes one with jit.create_scope().".to_string()
    } else {
        format!("You may ask for: {}.", names.join(", "))
    }))
}

//! `jit_explain()`: why access is there, or is not.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::iter::TableIterator;
use pgrx::pg_sys::Oid;
use pgrx::prelude::*;

use super::args::{roles, value};
use super::key::KeyType;
use super::rules::Scope;
use super::{now, review, session};
use crate::check::clock::timestamp_text;
use crate::check::replica;
use crate::errors::{Outcome, Refusal, null_argument, settle, shown};
use crate::identity::{self, Identity, Role};
use crate::origin;
use crate::privileged::{Owner, Row};

/// One reason.
struct Reason {
    kind: &'static str,
    request: Option<i64>,
    via: Option<String>,
    until: Option<i64>,
    detail: String,
}

impl Reason {
    fn new(kind: &'static str, detail: impl Into<String>) -> Self {
        Reason { kind, request: None, via: None, until: None, detail: detail.into() }
    }
}

/// Whose access to what.
struct Question<'a> {
    scope: &'a Scope,
    /// In its canonical form; None: to the whole scope.
    key: Option<String>,
    /// Login and actor, or the role that is asked about.
    person: Vec<Oid>,
    actor: Oid,
}

/// Grants to these roles: those that are alive, and those that have ended lately.
const GRANTS: &str = "
SELECT g.id, g.key, g.all_rows, g.grantee_id, g.starts_at, g.ends_at, g.approved_by, g.epoch = s.epoch, g.origin,
       e.kind, e.at, e.actor, e.reason,
       g.asked_by IS NOT NULL AND g.starts_at <= clock_timestamp()
  FROM jit_private.grants g
       JOIN jit_private.scopes s ON s.id = g.scope_id
       LEFT JOIN LATERAL (SELECT x.kind, x.at, x.actor, x.reason FROM jit_private.endings x
                           WHERE x.grant_id = g.id ORDER BY x.at, x.kind LIMIT 1) e ON true
 WHERE g.scope_id = $1 AND g.grantee_id = ANY ($2)
   AND (g.tidied_at IS NULL
        OR g.id = ANY (ARRAY (SELECT v.request_id FROM (SELECT x.request_id, x.scope, x.kind FROM jit_private.events x
                                                         ORDER BY x.id DESC LIMIT 10000) v
                               WHERE v.scope = s.name
                                 AND v.kind IN ('expired', 'revoked', 'released', 'scope disabled', 'scope dropped', 'ineligible'))))
 ORDER BY g.id DESC LIMIT 100";

struct Grant {
    id: i64,
    key: Option<String>,
    all_rows: bool,
    grantee: Oid,
    starts_at: i64,
    ends_at: i64,
    approved_by: Vec<Oid>,
    of_this_epoch: bool,
    origin: String,
    ending: Option<(String, i64, Option<String>, Option<String>)>,
    unconfirmed: bool,
}

fn read(row: &Row) -> Grant {
    Grant {
        id: row.must(1),
        key: row.get(2),
        all_rows: row.must(3),
        grantee: row.must(4),
        starts_at: row.must(5),
        ends_at: row.must(6),
        approved_by: row.must(7),
        of_this_epoch: row.must(8),
        origin: row.must(9),
        ending: row.get::<String>(10).map(|kind| (kind, row.must(11), row.get(12), row.get(13))),
        unconfirmed: row.must(14),
    }
}

impl Grant {
    /// None: it serves.
    fn why_not(&self, question: &Question<'_>, here: &str) -> Option<String> {
        let now = now();
        if let Some((kind, at, by, reason)) = &self.ending {
            let by = by.as_deref().map(|by| format!(" by {by}")).unwrap_or_default();
            let reason = reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
            return Some(format!("ended: {kind}{by} at {}{reason}", timestamp_text(*at)));
        }
        if self.ends_at <= now {
            return Some(format!("ended: expired at {}", timestamp_text(self.ends_at)));
        }
        if self.origin != here {
            return Some("void: it was made in another database".to_owned());
        }
        if !self.of_this_epoch {
            return Some("ended: the scope has been disabled since it was asked for".to_owned());
        }
        if self.starts_at > now {
            return Some(format!("not started: it starts at {}", timestamp_text(self.starts_at)));
        }
        if question.person.iter().any(|role| self.approved_by.contains(role)) {
            return Some(
                "serves nobody who approved it, or who had changed the rules of the scope".to_owned(),
            );
        }
        let covers = self.all_rows || question.key.is_some() && self.key == question.key;
        if !covers {
            return Some(format!("other key: it is for {}", self.key.as_deref().unwrap_or("no row")));
        }
        if self.unconfirmed && !super::grant::may_still_ask(&settle(Owner::enter()), self.id) {
            return Some("serves nobody: who asked may not ask any more".to_owned());
        }
        None
    }

    fn reason(&self, question: &Question<'_>, here: &str) -> Reason {
        let why_not = self.why_not(question, here);
        let via = identity::path(question.actor, self.grantee)
            .map(|path| path.into_iter().filter_map(identity::role_name).collect::<Vec<_>>().join(" > "));
        Reason {
            kind: if why_not.is_none() { "grant" } else { "other grant" },
            request: Some(self.id),
            via,
            until: Some(self.ends_at),
            detail: why_not.unwrap_or_else(|| {
                if self.all_rows { "serves: all rows".to_owned() } else { "serves: this key".to_owned() }
            }),
        }
    }
}

/// What is pending for these roles, and whom it waits for.
fn pending(owner: &Owner, question: &Question<'_>, serving: &[Oid]) -> Vec<Reason> {
    let ids = owner.query(
        "SELECT r.id FROM jit_private.requests r
          WHERE r.scope_id = $1 AND r.grantee_id = ANY ($2) AND r.state = 'pending' AND r.lapses_at > clock_timestamp()
            AND r.epoch = $3 AND ($4 IS NULL OR r.all_rows OR r.key = $4)
          ORDER BY r.id DESC LIMIT 100",
        &[
            value(question.scope.id),
            roles(serving),
            value(question.scope.epoch),
            super::args::optional(question.key.clone()),
        ],
        |row| row.must::<i64>(1),
    );
    ids.into_iter()
        .filter_map(|id| review::waits_for(owner, id).map(|waits| (id, waits)))
        .map(|(id, (lapses_at, detail))| Reason {
            kind: "pending request",
            request: Some(id),
            via: None,
            until: Some(lapses_at),
            detail,
        })
        .collect()
}

/// What row-level security does by itself, whatever anybody holds.
fn row_level_security(owner: &Owner, role: Oid, scope: &str) -> Vec<Reason> {
    let mut reasons: Vec<Reason> =
        session::bypass(owner, role).map(|why| Reason::new("row-level security", why)).into_iter().collect();
    let owned = owner.query(
        "SELECT c.oid::regclass::text
           FROM pg_class c
          WHERE c.relowner = ANY ($1) AND NOT c.relforcerowsecurity
            AND EXISTS (SELECT FROM pg_policy p
                         WHERE p.polrelid = c.oid
                           AND strpos(concat(pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)),
                                      format('jit_active(%L', $2)) > 0)
          ORDER BY 1 LIMIT 20",
        &[roles(&identity::inherited_roles(role)), value(scope)],
        |row| row.must::<String>(1),
    );
    reasons.extend(owned.into_iter().map(|table| {
        Reason::new("row-level security", format!("an owner of {table}, whom its policies do not bind"))
    }));
    reasons
}

/// Others' access is for those who decide about it.
fn subject(
    owner: &Owner,
    who: &Identity,
    scope: Option<&Scope>,
    grantee: Option<Oid>,
) -> Outcome<(Vec<Oid>, Role)> {
    let Some(id) = grantee.filter(|grantee| *grantee != who.actor.id) else {
        return Ok((who.person(), who.actor.clone()));
    };
    let entitled = scope.is_some_and(|scope| !scope.entitles(who).is_none()) && who.refuse_shared().is_ok();
    if !entitled && !session::is_admin(owner, who) {
        return Err(Refusal::not_allowed("this is about the access of others")
            .detail("It is told to approvers of the scope and to admins.")
            .hint("Leave grantee out to ask about your own."));
    }
    let name = identity::role_name(id).ok_or_else(|| {
        Refusal::unknown(format!("there is no role {}", id.to_u32()))
            .hint("grantee takes the name of a role, as in grantee => 'alice'.")
    })?;
    Ok((vec![id], Role { id, name }))
}

fn explain(name: Option<&str>, key: Option<&str>, grantee: Option<Oid>) -> Outcome<Vec<Reason>> {
    if identity::is_lent_to_maintenance() {
        return Err(super::restricted(c"jit_explain()"));
    }
    let who = Identity::current();
    let name = name.ok_or_else(|| null_argument("jit_explain", "scope"))?;
    let owner = Owner::enter()?;
    let scope = Scope::named(&owner, name);
    let (person, role) = subject(&owner, &who, scope.as_ref(), grantee)?;
    let mut reasons = Vec::new();
    if replica::is_stale(now()) {
        reasons.push(Reason::new("standby", "this standby is behind its primary, and lets nobody through"));
    }
    if identity::is_shared_login(role.id) {
        reasons.push(Reason::new("shared login", "named in jit_rls.shared_logins: it holds nothing"));
    }
    let Some(scope) = scope else {
        reasons.push(Reason::new("unknown scope", format!("there is no scope \"{}\"", shown(name))));
        reasons.extend(row_level_security(&owner, role.id, name));
        return Ok(reasons);
    };
    if !scope.enabled {
        reasons.push(Reason::new("disabled scope", "an admin has disabled it: nobody holds anything of it"));
    }
    let key = match (key, scope.key_type) {
        (Some(key), Some(key_type)) => Some(KeyType::canonical(key_type, key)?),
        (Some(_), None) => {
            return Err(Refusal::bad_value(format!("scope \"{name}\" has no keys"))
                .hint("Leave key out: a grant of this scope is for all of it."));
        }
        (None, _) => None,
    };
    let question = Question { scope: &scope, key, person, actor: role.id };
    let serving = identity::inherited_roles(role.id);
    let here = origin::current();
    let grants = owner.query(GRANTS, &[value(scope.id), roles(&serving)], read);
    let (serve, others): (Vec<Reason>, Vec<Reason>) =
        grants.iter().map(|grant| grant.reason(&question, &here)).partition(|reason| reason.kind == "grant");
    reasons.extend(serve);
    reasons.extend(others);
    reasons.extend(pending(&owner, &question, &serving));
    reasons.extend(row_level_security(&owner, role.id, name));
    if reasons.is_empty() {
        let next = if scope.may_ask(&[role.id]) {
            format!("SELECT jit_request('{name}', 'why', ...);")
        } else {
            "that role may not ask".to_owned()
        };
        reasons.push(Reason::new("nothing", format!("no grant and no request: {next}")));
    }
    Ok(reasons)
}

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)] // pgrx reads the columns from the signature
fn jit_explain(
    scope: Option<&str>,
    key: Option<&str>,
    grantee: Option<Oid>,
) -> TableIterator<
    'static,
    (
        name!(reason, &'static str),
        name!(request, Option<i64>),
        name!(via, Option<String>),
        name!(until, Option<TimestampWithTimeZone>),
        name!(detail, String),
    ),
> {
    let reasons = settle(explain(scope, key, grantee));
    TableIterator::new(reasons.into_iter().map(|reason| {
        let until = reason.until.and_then(|until| TimestampWithTimeZone::try_from(until).ok());
        (reason.kind, reason.request, reason.via, until, reason.detail)
    }))
}

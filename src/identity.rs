//! Who is asking: the login, the role it acts as, the roles that one inherits, and when two
//! acts are one person's.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::CStr;

use pgrx::pg_sys::{self, Oid};

use crate::check::invalidation;
use crate::compat;
use crate::errors::{Outcome, Refusal};
use crate::settings;

/// A role, by the OID that stays and the name it has now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    pub id: Oid,
    pub name: String,
}

/// What memberships count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Follow {
    Inherit,
    Set,
}

/// The two roles that a session acts with.
#[derive(Clone, Debug)]
pub struct Identity {
    /// `session_user`
    pub login: Role,
    /// `SET ROLE`'s, else the login. Not the `current_user` of a SECURITY DEFINER function.
    pub actor: Role,
}

impl Identity {
    /// By the memberships of this moment: inside an open transaction whose statements need no new lock, nothing else would read
    /// what others have committed.
    pub fn current() -> Self {
        invalidation::accept();
        Identity { login: named(login()), actor: named(actor()) }
    }

    /// Login and actor, without shared logins. Two acts whose sets share a role are one person's.
    pub fn person(&self) -> Vec<Oid> {
        let mut person: Vec<Oid> =
            [self.login.id, self.actor.id].into_iter().filter(|role| !is_shared_login(*role)).collect();
        person.dedup();
        person
    }

    /// A shared login acts for nobody in particular: it must become somebody first.
    pub fn refuse_shared(&self) -> Outcome<()> {
        if settings::shared_logins_forged() {
            return Err(Refusal::not_allowed("this session has tried to set jit_rls.shared_logins")
                .detail("It may not, and the value that a superuser has set is lost to it: it cannot be known who is acting.")
                .hint("Connect again without that setting."));
        }
        if !is_shared_login(self.actor.id) {
            return Ok(());
        }
        Err(Refusal::not_allowed(format!("\"{}\" is a login that many people share", self.actor.name))
            .detail("It is named in jit_rls.shared_logins: such a login never holds, asks or decides.")
            .hint("SET ROLE to the role of the person who is acting, then try again."))
    }
}

/// `session_user`. Parallel workers have their leader's (ParallelWorkerMain, parallel.c).
pub fn login() -> Oid {
    GetSessionUserId()
}

/// The role the session acts as, also inside SECURITY DEFINER functions. Parallel workers
/// have their leader's (ParallelWorkerMain, parallel.c).
pub fn actor() -> Oid {
    GetOuterUserId()
}

/// Whether what runs now was written by somebody else, and a maintenance command of this session's has come across it: ANALYZE,
/// CREATE INDEX, REFRESH MATERIALIZED VIEW and autovacuum run index expressions and materialised views of other people in a
/// security-restricted operation. It must not see what the session sees, who did not ask for it; nor must SECURITY DEFINER
/// functions of the session's own, which it could call.
#[inline(always)]
pub fn is_lent_to_maintenance() -> bool {
    InSecurityRestrictedOperation() && (GetUserId() != GetOuterUserId() || InLocalUserIdChange())
}

// Raw, since a policy asks for each row: they only read statics of miscinit.c and cannot raise,
// so that the guard around pgrx's bindings would be for nothing.
unsafe extern "C-unwind" {
    safe fn GetSessionUserId() -> Oid;
    safe fn GetOuterUserId() -> Oid;
    safe fn GetUserId() -> Oid;
    safe fn InSecurityRestrictedOperation() -> bool;
    safe fn InLocalUserIdChange() -> bool;
}

/// The name of a role, or None when it does not exist.
pub fn role_name(role: Oid) -> Option<String> {
    // SAFETY: looks up the AUTHOID syscache; noerr gives NULL for an unknown role, else a
    // palloc'd C string.
    unsafe {
        let name = pg_sys::GetUserNameFromId(role, true);
        (!name.is_null()).then(|| CStr::from_ptr(name).to_string_lossy().into_owned())
    }
}

/// The role of that name, if there is one.
pub fn role_named(name: &str) -> Option<Oid> {
    let name = std::ffi::CString::new(name).ok()?;
    // SAFETY: missing_ok gives InvalidOid.
    let role = unsafe { pg_sys::get_role_oid(name.as_ptr(), true) };
    (role != Oid::INVALID).then_some(role)
}

fn named(id: Oid) -> Role {
    Role { id, name: role_name(id).unwrap_or_else(|| format!("role {id} (dropped)", id = id.to_u32())) }
}

/// The role and all it inherits, sorted; empty when it does not exist any more. Superuserhood
/// adds nothing, so has_privs_of_role() is no use here.
pub fn inherited_roles(role: Oid) -> Vec<Oid> {
    reach_from(role, Follow::Inherit, false).into_keys().map(Oid::from_u32).collect()
}

/// Whether `member` could act with the rights of `role`: inherits it, or may SET ROLE to it or
/// to one that inherits it. ADMIN OPTION alone and superuserhood do not count, nor does what is
/// reached through another person's login only: one person's entitlement is not two people's.
pub fn qualifies(member: Oid, role: Oid) -> bool {
    path(member, role).is_some()
}

/// The memberships by which `member` qualifies for `role`, both ends included; None: it does not.
pub fn path(member: Oid, role: Oid) -> Option<Vec<Oid>> {
    let settable = reach_from(member, Follow::Set, true);
    trace(&settable, role).or_else(|| {
        settable
            .keys()
            .map(|via| Oid::from_u32(*via))
            .filter(|via| *via == member || !compat::may_log_in(*via))
            .find_map(|via| {
                let inherited = trace(&reach_from(via, Follow::Inherit, true), role)?;
                let set = trace(&settable, via)?;
                Some(set.into_iter().chain(inherited.into_iter().skip(1)).collect())
            })
    })
}

/// Whether a grant to `grantee` could come to serve `member`: membership of any kind,
/// inherited, settable or with ADMIN OPTION, since the last lets one give oneself the others.
pub fn would_serve(member: Oid, grantee: Oid) -> bool {
    // SAFETY: walks pg_auth_members through the syscache, superusers not exempt (acl.c).
    unsafe { pg_sys::is_member_of_role_nosuper(member, grantee) }
}

/// The way back from `role` to where the walk began.
fn trace(reached: &Reached, role: Oid) -> Option<Vec<Oid>> {
    let mut way = vec![role];
    let mut at = *reached.get(&role.to_u32())?;
    while let Some(from) = at {
        way.push(from);
        at = reached.get(&from.to_u32()).copied().flatten();
    }
    way.reverse();
    Some(way)
}

/// What a walk has reached, each with the role that it was reached from; the first one from none.
type Reached = BTreeMap<u32, Option<Oid>>;

/// Walks memberships, as roles_is_member_of() in acl.c does, which is static. What a role that
/// does not exist reaches is nothing. `not_through_logins`: logins on the way are reached, but what
/// they are members of is theirs.
fn reach_from(from: Oid, follow: Follow, not_through_logins: bool) -> Reached {
    let mut reached = Reached::new();
    let mut todo = vec![(from, None)];
    while let Some((role, via)) = todo.pop() {
        if reached.contains_key(&role.to_u32()) || role_name(role).is_none() {
            continue;
        }
        reached.insert(role.to_u32(), via);
        if not_through_logins && role != from && compat::may_log_in(role) {
            continue;
        }
        todo.extend(
            compat::memberships(role)
                .into_iter()
                .filter(|m| match follow {
                    Follow::Inherit => m.inherits,
                    Follow::Set => m.may_set,
                })
                .map(|m| (m.role, Some(role))),
        );
    }
    reached
}

thread_local! {
    /// The parsed setting, with the generation it was parsed at: checks ask for every load.
    static SHARED: RefCell<(Option<u64>, Vec<String>)> = const { RefCell::new((None, Vec::new())) };
}

/// Whether the role is named in `jit_rls.shared_logins`; every role, where that cannot be known.
pub fn is_shared_login(role: Oid) -> bool {
    if settings::shared_logins_forged() {
        return true;
    }
    let generation = settings::shared_logins_generation();
    if SHARED.with_borrow(|shared| shared.0 != Some(generation)) {
        let names = settings::shared_logins();
        SHARED.with_borrow_mut(|shared| *shared = (Some(generation), names));
    }
    if SHARED.with_borrow(|shared| shared.1.is_empty()) {
        return false;
    }
    role_name(role).is_some_and(|name| SHARED.with_borrow(|shared| shared.1.contains(&name)))
}

/// Splits a list of role names as PostgreSQL reads identifiers: unquoted ones are folded to
/// lower case, quoted ones kept, `""` inside quotes is one quote. None when malformed.
pub fn parse_role_list(text: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = text.trim_start();
    if rest.is_empty() {
        return Some(names);
    }
    loop {
        let name;
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut taken = String::new();
            let mut chars = quoted.char_indices().peekable();
            let mut end = None;
            while let Some((at, c)) = chars.next() {
                match c {
                    '"' if chars.peek().is_some_and(|(_, next)| *next == '"') => {
                        chars.next();
                        taken.push('"');
                    }
                    '"' => {
                        end = Some(at + 1);
                        break;
                    }
                    c => taken.push(c),
                }
            }
            rest = quoted.get(end?..)?.trim_start();
            name = taken;
        } else {
            let end = rest.find(|c: char| c == ',' || c == '"' || c.is_whitespace()).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            name = word.to_ascii_lowercase();
            rest = after.trim_start();
        }
        if name.is_empty() {
            return None;
        }
        names.push(name);
        if rest.is_empty() {
            return Some(names);
        }
        rest = rest.strip_prefix(',')?.trim_start();
    }
}

#[cfg(test)]
mod tests {
    use super::parse_role_list;

    fn parsed(text: &str) -> Option<Vec<String>> {
        parse_role_list(text)
    }

    #[test]
    fn role_lists_read_as_postgresql_reads_identifiers() {
        let names = |list: &[&str]| Some(list.iter().map(|s| s.to_string()).collect::<Vec<_>>());
        assert_eq!(parsed(""), names(&[]));
        assert_eq!(parsed(" pooler "), names(&["pooler"]));
        assert_eq!(parsed("Pooler, \"App User\" ,x"), names(&["pooler", "App User", "x"]));
        assert_eq!(parsed("\"a\"\"b\""), names(&["a\"b"]));
    }

    #[test]
    fn malformed_role_lists_are_refused() {
        for bad in [",", "a,", "a,,b", "\"a", "a b", "\"\"", "a\"b\""] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
    }
}

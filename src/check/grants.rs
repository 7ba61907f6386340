//! What the grants of one actor open in one scope, and which of them the transaction has used.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use super::cache::Who;
use super::clock;
use super::family::uuid_text;
use super::key_table::{Hashed, KeyTable, Window, last_open, next_change};
use super::{replica, uses};
use crate::lifecycle::options::OnEnd;

/// The keys that grants of one scope open.
#[derive(Debug)]
pub enum Keys {
    None,
    Int(KeyTable<i64>),
    Uuid(KeyTable<[u8; 16]>),
    Text(KeyTable<Box<[u8]>>),
}

impl Keys {
    pub fn windows(&self) -> Box<dyn Iterator<Item = &Window> + '_> {
        match self {
            Keys::None => Box::new(std::iter::empty()),
            Keys::Int(table) => Box::new(table.windows()),
            Keys::Uuid(table) => Box::new(table.windows()),
            Keys::Text(table) => Box::new(table.windows()),
        }
    }
}

/// Which windows the transaction at hand has used, one bit each.
#[derive(Debug, Default)]
struct Marks {
    /// The transaction that the bits are about, see [`uses::transaction`].
    transaction: Cell<u64>,
    bits: OnceCell<Box<[Cell<u64>]>>,
}

impl Marks {
    /// Whether this is the first use of that window in the transaction; the next one is not.
    #[inline]
    fn first_use(&self, position: usize, windows: usize) -> bool {
        let bits = self.bits.get_or_init(|| vec![Cell::new(0); windows.div_ceil(64)].into());
        let transaction = uses::transaction();
        if self.transaction.replace(transaction) != transaction {
            bits.iter().for_each(|word| word.set(0));
        }
        let Some(word) = bits.get(position / 64) else { return true };
        let bit = 1 << (position % 64);
        let first = word.get() & bit == 0;
        word.set(word.get() | bit);
        first
    }
}

/// What is needed of the scope once it has been resolved.
#[derive(Debug)]
pub struct OfScope {
    pub id: i32,
    pub name: Rc<str>,
    pub on_end: OnEnd,
}

/// A grant, for a message.
#[derive(Clone)]
pub struct Described {
    pub scope: Rc<str>,
    pub key: Option<String>,
    /// Not for a scope without keys.
    pub all_rows: bool,
    pub end: i64,
}

/// What the grants of one scope open.
#[derive(Debug)]
pub struct ScopeGrants {
    pub scope: OfScope,
    who: Who,
    /// In which the load began.
    generation: u64,
    pub keys: Keys,
    all_rows: Box<[Window]>,
    windows: usize,
    /// When a window begins or ends next.
    next_change: i64,
    marks: Marks,
}

impl ScopeGrants {
    /// `generation` and `now`: of the load; windows that have ended by then are not in it.
    pub fn new(
        scope: OfScope,
        who: Who,
        generation: u64,
        keys: Keys,
        all_rows: Vec<Window>,
        now: i64,
    ) -> Self {
        let all_rows = all_rows.into_boxed_slice();
        let windows = keys.windows().count() + all_rows.len();
        let next_change = next_change(keys.windows().chain(&all_rows), now);
        ScopeGrants { scope, who, generation, keys, all_rows, windows, next_change, marks: Marks::default() }
    }

    /// All of them, open or not.
    pub fn windows(&self) -> impl Iterator<Item = &Window> {
        self.keys.windows().chain(&self.all_rows)
    }

    /// What is known of a grant. Calls nothing of PostgreSQL's.
    pub fn describe(&self, grant: i64) -> Option<Described> {
        let all_rows =
            self.all_rows.iter().find(|window| window.grant == grant).map(|window| (None, window.end));
        let (key, end) = all_rows.or_else(|| match &self.keys {
            Keys::None => None,
            Keys::Int(table) => table.key_of(grant).map(|(key, end)| (Some(key.to_string()), end)),
            Keys::Uuid(table) => table.key_of(grant).map(|(key, end)| (Some(uuid_text(key)), end)),
            Keys::Text(table) => {
                table.key_of(grant).map(|(key, end)| (Some(String::from_utf8_lossy(key).into_owned()), end))
            }
        })?;
        Some(Described {
            scope: self.scope.name.clone(),
            all_rows: key.is_none() && !matches!(self.keys, Keys::None),
            key,
            end,
        })
    }

    /// Whether a grant for all rows is open, or will be.
    pub fn has_all_rows(&self) -> bool {
        !self.all_rows.is_empty()
    }

    /// Whether a row with this key is open now; what opens it has been used then. None: something has
    /// ended in this moment, and it must be decided again.
    ///
    /// # Safety
    /// As [`uses::record`]. So for the others.
    #[inline(always)]
    pub unsafe fn use_key<K, Q>(&self, table: &KeyTable<K>, key: &Q) -> Option<bool>
    where
        K: Ord + std::borrow::Borrow<Q>,
        Q: Hashed + Eq + ?Sized,
    {
        // Most rows are nobody's who asks: those need no clock.
        let first = table.first_of(key);
        if first.is_none() && self.all_rows.is_empty() {
            return Some(false);
        }
        let Some(now) = self.now() else { return Some(false) };
        // SAFETY: the caller's promise.
        unsafe {
            match first.and_then(|first| table.open_from(first, now)) {
                Some((position, window)) => self.used(position, window),
                None => self.use_all_rows_at(now),
            }
        }
    }

    /// Whether every row is open now.
    ///
    /// # Safety
    /// As `use_key`.
    #[inline(always)]
    pub unsafe fn use_all_rows(&self) -> Option<bool> {
        if self.all_rows.is_empty() {
            return Some(false);
        }
        let Some(now) = self.now() else { return Some(false) };
        // SAFETY: the caller's promise.
        unsafe { self.use_all_rows_at(now) }
    }

    /// A time that is as good as now for every window. None: this standby cannot say what has ended.
    #[inline(always)]
    fn now(&self) -> Option<i64> {
        let now = clock::now_before(self.next_change.min(replica::trusted_until()));
        (!replica::is_stale(now)).then_some(now)
    }

    #[inline(always)]
    unsafe fn use_all_rows_at(&self, now: i64) -> Option<bool> {
        match last_open(self.all_rows.iter().enumerate(), now) {
            Some((position, window)) => {
                // After those of the keys.
                let keyed = self.windows - self.all_rows.len();
                // SAFETY: the caller's promise.
                unsafe { self.used(keyed + position, window) }
            }
            None => Some(false),
        }
    }

    /// Everything that is open now is used: its keys are given away. None as in `use_key`.
    ///
    /// # Safety
    /// As `use_key`. An error leaks the iterator.
    pub unsafe fn use_open_keys(&self, now: i64) -> Option<()> {
        for (position, window) in self.keys.windows().enumerate() {
            if window.covers(now) {
                // SAFETY: the caller's promise.
                unsafe { self.used(position, window)? };
            }
        }
        Some(())
    }

    /// Never false. A planner that asks uses nothing.
    #[inline(always)]
    unsafe fn used(&self, position: usize, window: &Window) -> Option<bool> {
        // SAFETY: the caller's promise.
        let stands = uses::planning()
            || !self.marks.first_use(position, self.windows)
            || unsafe { uses::record(self.who, window, self.scope.on_end, self.generation) };
        stands.then_some(true)
    }
}
